"""Who works on a trial, and whether that process still lives."""

import hashlib
import os
import socket
import threading
import time
from functools import cache
from pathlib import Path

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial


def this_worker() -> str:
    """`host:pid:start`; the start of the process tells it from a later one with the same pid."""
    return f"{this_host()}:{os.getpid()}:{_process_start(os.getpid())}"


@cache
def this_host() -> str:
    """The host's name, with a mark of its boot and pid namespace: containers may share a name and not their pids."""
    try:
        marks = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")
    except OSError:  # not Linux
        return socket.gethostname()
    return f"{socket.gethostname()}-{hashlib.sha256(marks.encode()).hexdigest()[:6]}"


def is_alive(trial: FrozenTrial, stale_s: float) -> bool:
    """Whether a running trial's worker lives, or the job that its launcher began, which may outlive it."""
    return has_live_worker(trial, stale_s) or has_live_job(trial, stale_s)


def has_live_worker(trial: FrozenTrial, stale_s: float) -> bool:
    """Whether the process lives that began the trial and will tell its value."""
    return _lives(trial, "worker", stale_s)


def has_live_job(trial: FrozenTrial, stale_s: float) -> bool:
    """Whether another process than the worker, begun by a launcher, trains the trial."""
    job = trial.user_attrs.get("job")
    return job not in (None, trial.user_attrs.get("worker")) and _lives(trial, "job", stale_s)


def _lives(trial: FrozenTrial, role: str, stale_s: float) -> bool:
    """On this host by the process itself, elsewhere by the last heartbeat."""
    host, pid, start = trial.user_attrs.get(role, "::").rsplit(":", 2)
    if host == this_host():
        return _process_start(int(pid)) == start
    began = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return time.time() - trial.user_attrs.get("heartbeat", began) < stale_s


def _process_start(pid: int) -> str | None:
    """When a process began, in the kernel's ticks; empty where the system does not tell; None: no such process."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives and is someone else's
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    state, start = fields[0], fields[19]
    return None if state == "Z" else start


class Heartbeat:
    """Marks trials as alive from a thread, every `interval_s` seconds; a context."""

    def __init__(self, storage: BaseStorage, interval_s: float):
        self.storage = storage
        self.interval_s = interval_s
        self.trial_ids: set[int] = set()  # not known to have ended
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def __enter__(self) -> "Heartbeat":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._end.set()
        self._thread.join()

    def watch(self, trial_id: int) -> None:
        """Take a trial that this worker has begun."""
        self.trial_ids.add(trial_id)

    def _run(self) -> None:
        while not self._end.wait(self.interval_s):
            for trial_id in list(self.trial_ids):
                try:
                    self.storage.set_trial_user_attr(trial_id, "heartbeat", time.time())
                except UpdateFinishedTrialError:
                    self.trial_ids.discard(trial_id)
                except StorageInternalError:
                    pass  # the storage is away for the moment: the next beat tries again
