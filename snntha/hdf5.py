"""HDF5 files of others: damaged ones may make the library crash, read for ever, deaf to signals, or take all memory."""

import os
import resource
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

# Far more than a sound file takes: CPU time, and memory for what it says it holds.
_LEAST_S, _BYTES_A_SECOND = 10, 1_000_000
_LEAST_BYTES, _TIMES_ITS_SIZE = 2**30, 20

T = TypeVar("T")


def read_twice(read: Callable[[], T], size: int) -> T:
    """What `read` returns, which a process of its own calls first, with limits.

    Args:
        size: of the file in bytes.

    Raises:
        ValueError: that process crashed, or did not come to an end.
        Exception: what `read` raises, also where memory is short for what a damaged file says it holds.
    """
    limit_s, memory = _LEAST_S + size // _BYTES_A_SECOND, _LEAST_BYTES + _TIMES_ITS_SIZE * size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child has nothing to do with
        child = os.fork()
    if child == 0:
        failed = True
        try:
            _lower(resource.RLIMIT_CPU, limit_s)
            with _limited(memory):
                read()
            failed = False
        finally:
            os._exit(failed)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise ValueError(f"HDF5's library crashes or reads it for ever (signal {os.WTERMSIG(status)})")
    if status == 0:
        return read()
    with _limited(memory):  # where it fails as it did there
        return read()


@contextmanager
def _limited(memory: int) -> Iterator[None]:
    """Let this process take so many bytes more than it has; without a limit where the system does not tell that."""
    statm, before = Path("/proc/self/statm"), resource.getrlimit(resource.RLIMIT_AS)
    if statm.exists():
        taken = int(statm.read_text().split()[0]) * resource.getpagesize()
        _lower(resource.RLIMIT_AS, taken + memory)
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def _lower(kind: int, limit: int) -> None:
    """Set this process a limit, unless it has a lower one already, as clusters set them."""
    before = resource.getrlimit(kind)
    known = [bound for bound in before if bound != resource.RLIM_INFINITY]
    resource.setrlimit(kind, (min([limit, *known]), before[1]))
