"""Many short runs in one process, and one run of many epochs: neither grows nor slows down."""

import io
import json
import os
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

import pytest
from rich.console import Console

from snntha import run as runs
from snntha.config import compose

TINY = [
    *("debug=smoke", "backend=reference", "dataset.limit=4", "dataset.time_steps=4", "plots=false", "patience=null"),
    *("model.topology=64Dense10", "hparams.threshold.start=[1]", "hparams.threshold.rise=[1]"),
    *("hparams.threshold.rate=[0.1]", "hparams.batch_norm=false", "hparams.dropout=[]", "epochs=1"),
]
MEMORY, SPEED = 1.02, 1.05  # the last hundredth against the first


class Course:
    """Memory in pages, open files and CPU time of each of many equal steps.

    Time is divided by that of a fixed piece of work after the step, which other work on the machine slows down as much.
    """

    def __init__(self):
        self.memory: list[int] = []
        self.files: list[int] = []
        self.time: list[float] = []
        self._before = time.process_time()

    def step(self, *_) -> None:
        done = time.process_time()
        json.loads(json.dumps([{str(number): number / 7} for number in range(3000)]))
        self.time.append((done - self._before) / (time.process_time() - done))
        self.memory.append(int(Path("/proc/self/statm").read_text().split()[1]))
        self.files.append(len(os.listdir("/proc/self/fd")))
        self._before = time.process_time()

    def check(self) -> None:
        part = len(self.memory) // 100
        begin, end = slice(part, 2 * part), slice(-part, None)  # without the first steps, in which modules are loaded
        for values, allowed in ((self.memory, MEMORY), (self.files, 1.0), (self.time, SPEED)):
            first, last = median(values[begin]), median(values[end])
            print(f"{first:.5g} at first, {last:.5g} at last, {last / first:.4f} times as much")
            assert last <= allowed * first


@pytest.mark.slow
def test_two_thousand_short_runs(tmp_path: Path, count: int = 2000):
    course, config = Course(), compose(TINY)
    for number in range(count):
        runs.run(replace(config, output_dir=str(tmp_path / str(number))), console=Console(file=io.StringIO()))
        course.step()
    course.check()


@pytest.mark.slow
def test_one_run_of_many_epochs(tmp_path: Path, count: int = 20_000):
    course, config = Course(), compose([*TINY, f"output_dir={tmp_path / 'run'}"])
    runs.run(replace(config, epochs=count), console=Console(file=io.StringIO()), report=course.step)
    course.check()
    assert (tmp_path / "run/trial_0/metrics.jsonl").stat().st_size < 1000 * count
