"""Kernels on several threads.

A kernel is a compiled function `kernel(first, end, ...)` that does tasks first ... end - 1 and holds no interpreter
lock. Which thread does a task changes no result: every task writes what no other one does, and adds up in its own
order. Numba can do this itself (`parallel=True`), but compiles such a kernel three times as long.
"""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

PARTS = 8  # that the tasks are cut into for each thread, so that one that is held up leaves the rest to the others

_threads = os.cpu_count() or 1
_pool = ThreadPoolExecutor(_threads, thread_name_prefix="snntha")
_instead: Callable[[Any, tuple[Any, ...]], None] | None = None


def set_threads(count: int) -> None:
    """How many threads run a kernel, the calling one among them."""
    global _threads, _pool
    if count != _threads:
        _pool.shutdown()
        _threads, _pool = count, ThreadPoolExecutor(count, thread_name_prefix="snntha")


def instead_of_running(action: Callable[[Any, tuple[Any, ...]], None]) -> None:
    """From now on hand kernels and their arguments to `action`: for a process that only compiles."""
    global _instead
    _instead = action


def run(kernel: Callable[..., None], tasks: int, *arguments: Any) -> None:
    """Do all tasks."""
    if _instead is not None:
        _instead(kernel, arguments)
        return
    if _threads == 1 or tasks == 1:
        kernel(0, tasks, *arguments)
        return
    parts = min(PARTS * _threads, tasks)
    bounds = iter([(tasks * part // parts, tasks * (part + 1) // parts) for part in range(parts)])
    others = [_pool.submit(_work, kernel, bounds, arguments) for _ in range(_threads - 1)]
    _work(kernel, bounds, arguments)
    for other in others:
        other.result()


def _work(kernel: Callable[..., None], bounds: Iterator[tuple[int, int]], arguments: tuple[Any, ...]) -> None:
    """Take parts until another thread has taken the last."""
    for first, end in bounds:
        kernel(first, end, *arguments)
