"""Who works on a trial, and whether that process still lives."""

import os
import socket
import threading
import time
from pathlib import Path

from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial


def this_worker() -> str:
    """`host:pid:start`; the start of the process tells it from a later one with the same pid."""
    return f"{socket.gethostname()}:{os.getpid()}:{_process_start(os.getpid())}"


def is_alive(trial: FrozenTrial, stale_s: float) -> bool:
    """Whether the worker of a running trial lives: on this host by its process, elsewhere by its last heartbeat."""
    host, pid, start = trial.user_attrs.get("worker", "::").rsplit(":", 2)
    if host == socket.gethostname():
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
    """Marks this worker's trials as alive from a thread, every `interval_s` seconds; a context."""

    def __init__(self, storage: BaseStorage, interval_s: float):
        self.storage = storage
        self.interval_s = interval_s
        self.trial_ids: set[int] = set()  # begun here and not known to have ended
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
