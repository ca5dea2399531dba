"""Peak memory of a training step, in a process of its own.

`python -m snntha.bench.memory FILE ours 2` prints the bytes of a step on two threads, or null; the file is a workload.
"""

import ctypes
import gc
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch

from snntha.bench.steps import LoopStep, OurStep
from snntha.bench.workload import Workload
from snntha.kernels.backend import set_threads

Which = Literal["ours", "loop"]
STEPS = 2  # the second one finds the optimizer's state and the buffers of the first
_RESET_PEAK = "5"  # proc(5), clear_refs


def step_bytes(workload: Workload, which: Which, threads: int | None) -> int | None:
    """Peak of what network, optimizer and two steps hold at once, beyond libraries, inputs and compiled code.

    None where the system does not tell.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "workload.pt"
        torch.save(workload, path)
        command = [sys.executable, "-m", "snntha.bench.memory", str(path), which, str(threads or "")]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)


def peak_bytes(action: Callable[[], object]) -> int | None:
    """How far resident memory rises above its present level while `action` runs; None where /proc does not tell."""
    gc.collect()
    _trim()
    try:
        before = _resident("VmRSS")
        Path("/proc/self/clear_refs").write_text(_RESET_PEAK)
    except OSError:
        return None
    action()
    return _resident("VmHWM") - before


def main(path: str, which: str, threads: str) -> None:
    """Measure in this process and print the number."""
    set_threads(int(threads) if threads else None)
    workload: Workload = torch.load(path, weights_only=False)  # written by the process that called this one
    make = OurStep if which == "ours" else LoopStep
    _run(make, workload.shrunk())  # compiles, which takes memory of its own
    print(json.dumps(peak_bytes(lambda: _run(make, workload))))


def _run(make: type[OurStep] | type[LoopStep], workload: Workload) -> None:
    step = make(workload)
    for _ in range(STEPS):
        step()


def _resident(key: str) -> int:
    """VmRSS (now) or VmHWM (the peak) in bytes."""
    found = re.search(rf"^{key}:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    if found is None:
        raise OSError(f"/proc/self/status has no {key}")
    return int(found[1]) * 1024


def _trim() -> None:
    """Give freed memory back to the system where the C library can (glibc)."""
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
