"""Peak memory of a training step, in a process of its own.

`python -m snntha.bench.memory '{"which": "ours", "threads": 2, "case": {...}}'` prints the bytes, or null.
"""

import ctypes
import gc
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from snntha.bench.cases import Case
from snntha.bench.steps import LoopStep, OurStep
from snntha.data.batch import Batch
from snntha.kernels.backend import set_threads

Which = Literal["ours", "loop"]
STEPS = 2  # the second one finds the optimizer's state and the buffers of the first
_RESET_PEAK = "5"  # proc(5), clear_refs


def step_bytes(case: Case, which: Which, threads: int | None) -> int | None:
    """Peak of what network, optimizer and two steps hold at once, beyond libraries, inputs and compiled code.

    None where the system does not tell.
    """
    request = json.dumps({"which": which, "threads": threads, "case": asdict(case)})
    command = [sys.executable, "-m", "snntha.bench.memory", request]
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


def main(request: str) -> None:
    """Measure in this process and print the number."""
    asked = json.loads(request)
    set_threads(asked["threads"])
    case = Case(**{**asked["case"], "overrides": tuple(asked["case"]["overrides"])})
    make = OurStep if asked["which"] == "ours" else LoopStep
    small = case.shrunk()
    _run(make, small, small.batch())  # compiles, which takes memory of its own
    batch = case.batch()
    print(json.dumps(peak_bytes(lambda: _run(make, case, batch))))


def _run(make: type[OurStep] | type[LoopStep], case: Case, batch: Batch) -> None:
    step = make(case, batch)
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
    main(sys.argv[1])
