"""The live display in a pseudo-terminal, as a screen of that many columns shows it."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

pyte = pytest.importorskip("pyte")

# A run of three layers that does nothing but show itself; a line on standard input lets it draw on.
SHOWN = """
import os, sys
from types import SimpleNamespace as Name
import numpy as np
from rich.console import Console
from snntha import display
from snntha.config import compose
from snntha.progress import Progress, Totals

class Count:
    def double(self): return self
    def mean(self): return np.float64(3.5)

display.REFRESH_SECONDS = 0
config = compose(["dataset=fashion_mnist", "epochs=500", "trials=3"])
progress = Progress([5.0] * 3, [5.0] * 3, epoch=123, batch=321, iteration=58_000, train_accuracy=91.25,
                    totals=Totals(12.5, 90, 128, 1.0))
layer = Name(spike_count_N=Count())
metrics = {"epoch": 123, "train_loss": 0.51, "train_accuracy": 91.25, "validation_accuracy": 88.5,
           "selection": "validation", "dead_fraction": [0.134] * 3, "firing_rate": [0.02] * 3,
           "thresholds": [5.0] * 3, "seconds": 216.0, "warnings": []}
with display.Display(config, Console()) as shown:
    shown.start_seed(7, 422, progress)
    shown.epoch(metrics)
    for _ in range(3):
        progress.iteration += 1
        shown.minibatch(progress, Name(layers=[layer] * 3), 128)
        os.write(2, b"drawn\\n")  # past rich, which shows sys.stderr above the live lines
        sys.stdin.readline()
os.write(2, b"end\\n")
"""

# A study of 500 trials, of which one ends at each line on standard input.
SEARCHED = """
import json, os, sys
import optuna
from snntha.search.report import live_line, say

optuna.logging.set_verbosity(optuna.logging.WARNING)
study = optuna.create_study(direction="maximize")
study.set_user_attr("n_trials", 500)
study.set_user_attr("config", json.dumps({}))
with live_line(study) as live:
    for number in range(3):
        trial = study.ask()
        live.refresh()
        os.write(2, b"drawn\\n")
        sys.stdin.readline()
        study.tell(trial, 90.5 + number)
        say(f"trial {number:>3}  {90.5 + number}")
    live.refresh()
os.write(2, b"end\\n")
"""


class Terminal:
    """A program in a pseudo-terminal, and the screen that its output makes."""

    def __init__(self, columns: int, program: str):
        self.master, slave = pty.openpty()
        self.screen = pyte.Screen(columns, 40)
        self.stream = pyte.ByteStream(self.screen)
        self.resize(columns)
        environment = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": str(Path(__file__).parents[1])}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            environment.pop(name, None)
        self.program = subprocess.Popen(
            [sys.executable, "-c", program],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=slave,
            stderr=subprocess.PIPE,
        )
        os.close(slave)

    def resize(self, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.screen.resize(40, columns)
        if hasattr(self, "program"):
            self.program.send_signal(signal.SIGWINCH)

    def draw(self) -> list[str]:
        """Wait until it has drawn, and what is on the screen then."""
        assert self.program.stderr is not None
        assert self.program.stderr.readline().strip() in (b"drawn", b"end")
        os.set_blocking(self.master, False)
        time.sleep(0.05)
        try:
            while data := os.read(self.master, 65536):
                self.stream.feed(data)
        except (BlockingIOError, OSError):  # nothing more, or the program has ended
            pass
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def go_on(self) -> None:
        assert self.program.stdin is not None
        self.program.stdin.write(b"\n")
        self.program.stdin.flush()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_nothing_is_cropped_and_a_smaller_window_leaves_no_debris(columns):
    terminal = Terminal(columns, SHOWN)
    try:
        for width in (columns, columns, 60):
            terminal.resize(width)
            lines = terminal.draw()
            text = "\n".join(lines)
            for word in ("epoch 124 of 500", "minibatch 321 of 422", "left", "loss 0.09", "accuracy 70.31 %"):
                assert text.count(word) == 1, text
            assert "last epoch: loss 0.5100, train 91.25 %, validation 88.50 %" in text
            assert len([line for line in lines if "5.0000" in line and "13.4%" in line]) == 3
            assert max(map(len, lines)) <= 60 and "…" not in text
            assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in lines[1] and "epoch" not in lines[1]  # the bar has its line
            terminal.go_on()
        assert terminal.draw() == ["seed 7 (trial_0 of 3), going on after iteration 58000"]
    finally:
        terminal.program.kill()
        terminal.program.communicate()
        os.close(terminal.master)


def test_a_search_has_one_live_line_below_its_trials():
    terminal = Terminal(120, SEARCHED)
    try:
        for number, width in enumerate((120, 80, 60)):
            terminal.resize(width)
            *trials, live = terminal.draw()
            assert trials == [f"trial   {ended}  {90.5 + ended}" for ended in range(number)]
            best = f"{89.5 + number:.2f}" if number else "none yet"
            assert live.startswith(f"{number} of 500 done, 1 running, best {best}, left ") and len(live) <= 60
            terminal.go_on()
        assert terminal.draw() == ["trial   0  90.5", "trial   1  91.5", "trial   2  92.5"]
    finally:
        terminal.program.kill()
        terminal.program.communicate()
        os.close(terminal.master)
