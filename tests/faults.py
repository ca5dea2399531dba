"""Faults at random moments: kill, starve and disturb snntha, go on, and compare with what undisturbed work leaves.

`scripts/faults [TRIES] [SEED] [WORD]` prints the table of docs/reliability.md, with WORD its rows that contain it. Each
command is a fork of this process, so that a try takes less than a second; everything happens in a temporary folder.
"""

import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from postgresql import INITDB, server
from recordings import write_shd

from snntha import cli, closing, plots
from snntha.data import prepare
from snntha.export import command as export
from snntha.folder import RunFolder
from snntha.report import page
from snntha.search import pictures, trial_job, worker

IMPORTED = (closing, export, plots, prepare, page, pictures, trial_job, worker)  # before the first fork, once for all
TINY = [
    *("debug=smoke", "dataset.limit=16", "dataset.time_steps=4", "threads=1", "plots=false"),
    *("model.topology=2Conv3-AP2-18Dense10", "trials=2", "epochs=8"),
]
SHD = [
    *("dataset=shd", "mode=bsnn", "backend=reference", "threads=1", "plots=false", "epochs=1", "dataset.limit=8"),
    *("dataset.time_steps=60", "dataset.bin_ms=10.0", "model.topology=700Dense4Dense20"),
]
SEARCH = [
    *("search=tpe", "backend=reference", "dataset.time_steps=4", "search.limit=16", "search.epochs=2"),
    *("search.n_trials=3", "search.heartbeat_s=1", "search.stale_s=2", "model.topology=2Conv3-AP2-18Dense10"),
]
Seen = tuple[bool, int]  # whether it ended as it should, and how many recorded epochs, trials or files are lost


def begin(arguments: list[str], log: Path, before: Callable[[], Any] = lambda: None) -> int:
    """Start `snntha` in a fork with its output in a file; returns its process."""
    if pid := os.fork():
        return pid
    status = 99
    try:
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, 1)
        os.dup2(file, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["snntha", *arguments]
        before()
        status = cli.main()
    except BaseException as error:
        print(f"Traceback of {type(error).__name__}: {error}", flush=True)
    finally:
        os._exit(status)


def end(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def call(arguments: list[str], log: Path, before: Callable[[], Any] = lambda: None) -> tuple[int, str]:
    """Run to the end; its status and output."""
    status = end(begin(arguments, log, before))
    return status, log.read_text(errors="replace")


def is_one_message(status: int, text: str) -> bool:
    return status == 0 or ("Traceback" not in text and "snntha " in text)


def outcome(run: Path) -> list[Any]:
    """What a run came to, without what a clock wrote: entries, epochs and weights, bit for bit."""
    record = RunFolder(run)
    told = [entry for seed in record.seeds for entry in (seed.entry, *seed.metrics)]
    kept: list[Any] = [{key: value for key, value in entry.items() if key != "seconds"} for entry in told]
    for path in sorted(run.glob("trial_*/checkpoints/*.pt")):
        network = torch.load(path, weights_only=True)["network"]
        kept.append([path.name, {name: tensor.numpy().tobytes() for name, tensor in network.items()}])
    return kept


def epochs_of(run: Path) -> list[dict[str, Any]]:
    return [line for path in sorted(run.glob("trial_*/metrics.jsonl")) for line in read_lines(path)]


def read_lines(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text(errors="replace").split("\n")[:-1]
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def turn_read_only(folder: Path, after_s: float) -> None:
    """From that time on, let this process write nothing below the folder, as on a disk that has had an error.

    A disk cannot be turned so from outside while a file is open for writing, such as the lock of a run.
    """
    begin, place = time.monotonic() + after_s, str(folder)

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        written = event in ("os.mkdir", "os.rename", "os.remove", "os.truncate", "os.rmdir")
        written |= event == "open" and bool((arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if written and str(arguments[0]).startswith(place) and time.monotonic() > begin:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), arguments[0])

    sys.addaudithook(refuse)


class Faults:
    """The tries of each kind, in a folder of their own."""

    def __init__(self, home: Path):
        self.home, self.rng, self.log = home, random.Random(0), home / "log.txt"
        self.run = home / "run"
        self.killed = 0  # processes that a SIGKILL has ended
        self.first = ["train", *TINY, "backend=reference", f"output_dir={self.run}"]
        self.length, self.whole = self.undisturbed("whole")
        write_shd(home / "data", train_each=30, test_each=20)

    def undisturbed(self, name: str) -> tuple[float, list[Any]]:
        """How long a run takes that nothing disturbs, in seconds, and what it comes to."""
        started = time.perf_counter()
        status, text = call([*self.first, f"output_dir={self.home / name}"], self.log)
        assert status == 0, text
        return time.perf_counter() - started, outcome(self.home / name)

    def kill(self, pid: int, longest: float, kind: int = signal.SIGKILL) -> int:
        time.sleep(self.rng.uniform(0, longest))
        os.kill(pid, kind)
        status = end(pid)
        self.killed += status == -signal.SIGKILL
        return status

    def go_on(self) -> Seen:
        """Go on with the run as far as it came; whether it ends as an undisturbed one, and epochs that are lost."""
        there = (self.run / "config.yaml").exists()
        before = epochs_of(self.run) if there else []
        status, text = call(["train", f"resume={self.run}"] if there else self.first, self.log)
        after = epochs_of(self.run) if status == 0 else []
        right = status == 0 and outcome(self.run) == self.whole and not list(self.run.rglob("*.partial"))
        if not right:
            print(text[-2000:], file=sys.stderr)
        return right, sum(line not in after for line in before)

    def training_killed(self) -> Seen:
        self.kill(begin(self.first, self.log), self.length)
        if (self.run / "config.yaml").exists():
            self.kill(begin(["train", f"resume={self.run}"], self.log), self.length)
        return self.go_on()

    def compiled_training_killed(self) -> Seen:
        """The same on the compiled kernels, which are loaded, or compiled ahead, meanwhile."""
        before = self.first, self.length, self.whole
        self.first = [*self.first, "backend=numba"]
        self.length, self.whole = self.undisturbed(f"compiled_{self.rng.random()}")
        try:
            return self.training_killed()
        finally:
            self.first, self.length, self.whole = before

    def training_stopped(self) -> Seen:
        kind = self.rng.choice([2, 15, 1])
        status = self.kill(begin(self.first, self.log), self.length, kind)
        right, lost = self.go_on()
        return right and status in (0, 128 + kind, -kind), lost

    def cache_killed(self) -> Seen:
        cache = self.home / "cache"
        shutil.rmtree(cache, ignore_errors=True)
        data = [*SHD, f"dataset.root={self.home / 'data'}", f"dataset.cache={cache}"]
        self.kill(begin(["train", *data, f"output_dir={self.run}"], self.log), 1.0)
        shutil.rmtree(self.run, ignore_errors=True)
        status, text = call(["train", *data, f"output_dir={self.run}"], self.log)
        names = sorted(path.name.rpartition("-")[0] for path in cache.iterdir())
        return is_one_message(status, text) and status == 0 and names == ["shd-test", "shd-train"], 0

    def search_killed(self) -> Seen:
        first = ["train", *SEARCH, f"search.dir={self.run}"]
        self.kill(begin(first, self.log), 2.5)
        return self.is_searched(*call(first, self.log)), 0

    def is_searched(self, status: int, text: str) -> bool:
        """Whether a search has ended with all its trials."""
        study = next(self.run.glob("*/trials.csv"), None)
        complete = study.read_text().count(",COMPLETE,") if study else 0
        right = status == 0 and complete >= 3 and "Traceback" not in text
        if not right:
            print(complete, text[-2000:], file=sys.stderr)
        return right

    def database_left(self) -> Seen:
        """A server that is away when the search begins is one message; later it is waited for."""
        if INITDB is None:
            raise FileNotFoundError("needs PostgreSQL's initdb")
        first = ["train", *SEARCH, f"search.dir={self.run}", f"search.study_name=study_{self.rng.random()}"]
        with ExitStack() as stack:
            place = Path(stack.enter_context(TemporaryDirectory()))
            database = stack.enter_context(server(place))
            first.append(f"search.storage={database.url}")
            pid = begin(first, self.log)
            time.sleep(self.rng.uniform(0, 2.5))
            database.control("-m", "immediate", "stop")
            time.sleep(self.rng.uniform(0, 5))
            database.control("start")
            status, text = end(pid), self.log.read_text(errors="replace")
            if status == 1 and is_one_message(status, text) and "does not answer" in text:
                status, text = call(first, self.log)
            return self.is_searched(status, text), 0

    def plot_killed(self) -> Seen:
        drawn = ["plot", f"run={self.home / 'whole'}", "figure=curves,weights", f"output={self.run}"]
        self.kill(begin(drawn, self.log), 2.0)
        status, _ = call(drawn, self.log)
        return status == 0 and len(list(self.run.glob("*.[ps][nv]g"))) == 4, 0

    def report_killed(self) -> Seen:
        written = self.run / "page.html"
        return self.written_anew(["report", str(self.home / "whole"), "--html", str(written)], written)

    def export_killed(self) -> Seen:
        written = self.run / "network.safetensors"
        return self.written_anew(["export", f"run={self.home / 'whole'}", f"output={written}"], written)

    def written_anew(self, command: list[str], written: Path) -> Seen:
        """Kill a command that writes a file which is there: it stays as it was, but for the minute that pages tell."""

        def content() -> bytes:
            return re.sub(rb"\d{4}-\d\d-\d\dT\d\d:\d\d", b"", written.read_bytes())

        call(command, self.log)
        before = content()
        self.kill(begin(command, self.log), 1.0)
        lost = content() != before
        return call(command, self.log)[0] == 0 and content() == before, int(lost)

    def disk_full(self) -> Seen:
        room = self.rng.randrange(200, 20_000)
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # noqa: E731
        status, text = call(self.first, self.log.with_name("full.txt"), limit)
        right, lost = self.go_on()
        return right and "Traceback" not in text and status in (0, 1), lost

    def disk_read_only(self) -> Seen:
        after_s = self.rng.uniform(0, self.length)
        status, text = call(self.first, self.log.with_name("read_only.txt"), lambda: turn_read_only(self.home, after_s))
        told = status == 0 or (status == 1 and "Read-only file system" in text)
        right, lost = self.go_on()
        return right and told and "Traceback" not in text, lost

    def folder_vanished(self) -> Seen:
        pid = begin(self.first, self.log)
        time.sleep(self.rng.uniform(0, self.length))
        gone = self.home / f"gone_{self.rng.random()}"
        if self.run.exists():
            self.run.rename(gone)
        end(pid)
        text = self.log.read_text(errors="replace")
        torso = gone.exists() and self.run.exists() and self.run.is_dir()
        return not torso and "Traceback" not in text, 0

    def clock_turned_back(self) -> Seen:
        real = time.time
        jump = lambda: setattr(time, "time", lambda: 2e9 - real() - 3600 * self.rng.random())  # noqa: E731
        call(self.first, self.log, jump)
        return self.go_on()

    def record_damaged(self) -> Seen:
        """A file of a run is cut, filled with zeros, flipped or replaced: each command works or says what is wrong."""
        shutil.copytree(self.home / "whole", self.run)
        files = sorted(path for path in self.run.rglob("*") if path.is_file() and path.name != ".lock")
        path = self.rng.choice(files)
        content = np.frombuffer(path.read_bytes(), np.uint8).copy()
        place = self.rng.randrange(len(content))
        kind = self.rng.choice(["cut", "zeros", "flip", "other"])
        if kind == "flip":
            content[place] ^= 1 << self.rng.randrange(8)
        elif kind == "other":
            content = np.frombuffer(self.rng.choice(files).read_bytes(), np.uint8)
        else:
            content = content[:place] if kind == "cut" else np.append(content[:place], np.zeros(99, np.uint8))
        path.write_bytes(content.tobytes())
        right = True
        for command in (
            ["eval", f"run={self.run}"],
            ["report", str(self.run)],
            ["train", f"resume={self.run}", "epochs=9"],
        ):
            status, text = call(command, self.log)
            if not is_one_message(status, text):
                print(path.name, kind, command, text[-1500:], file=sys.stderr)
                right = False
        return right, 0


KINDS = {  # what happens, and its share of the tries
    "SIGKILL in training, and again while it goes on": (Faults.training_killed, 1.0),
    "SIGKILL in training on compiled kernels, and again": (Faults.compiled_training_killed, 0.05),
    "SIGTERM, SIGHUP or Ctrl-C in training": (Faults.training_stopped, 0.5),
    "SIGKILL while events are binned": (Faults.cache_killed, 0.3),
    "SIGKILL in a search": (Faults.search_killed, 0.1),
    "SIGKILL in an export": (Faults.export_killed, 0.2),
    "SIGKILL while figures are drawn": (Faults.plot_killed, 0.2),
    "SIGKILL while a page is written": (Faults.report_killed, 0.2),
    "full disk (a limit on the size of files)": (Faults.disk_full, 0.5),
    "the disk turns read-only": (Faults.disk_read_only, 0.5),
    "the run's folder is moved away": (Faults.folder_vanished, 0.5),
    "the search's database leaves and returns": (Faults.database_left, 0.1),
    "the clock runs backwards": (Faults.clock_turned_back, 0.1),
    "a damaged file in a run's folder: eval, report, resume": (Faults.record_damaged, 1.0),
}


def main(tries: int, seed: int, word: str) -> int:
    """Print the table; the status is 0 where every try is right and nothing is lost."""
    torch.set_num_threads(1)
    bad = False
    with TemporaryDirectory() as home:
        faults = Faults(Path(home))
        print("| fault | tried | right | lost |\n|---|---:|---:|---:|")
        for name, (kind, share) in KINDS.items():
            if word not in name:
                continue
            faults.rng, seen = random.Random(f"{seed} {name}"), []
            for _ in range(max(1, round(share * tries))):
                seen.append(kind(faults))
                shutil.rmtree(faults.run, ignore_errors=True)
            right, lost = sum(right for right, _ in seen), sum(lost for _, lost in seen)
            print(f"| {name} | {len(seen)} | {right} | {lost} |", flush=True)
            bad |= right < len(seen) or lost > 0
    print(f"SIGKILL has ended {faults.killed} processes before they ended themselves")
    return int(bad)


if __name__ == "__main__":
    tries, seed, word = (sys.argv[1:] + ["100", "0", ""][len(sys.argv) - 1 :])[:3]
    sys.exit(main(int(tries), int(seed), word))
