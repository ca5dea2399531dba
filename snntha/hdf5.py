"""HDF5 files of others. On some damaged ones the library crashes, or reads for ever and hears no signal."""

import os
import resource
import warnings
from collections.abc import Callable
from typing import TypeVar

_LEAST_S, _BYTES_A_SECOND = 10, 1_000_000  # of CPU time, far more than a sound file takes

T = TypeVar("T")


def read_twice(read: Callable[[], T], size: int) -> T:
    """What `read` returns, which a process of its own calls first, with a limit.

    Args:
        size: of the file in bytes.

    Raises:
        ValueError: that process crashed, or did not come to an end.
    """
    limit_s = _LEAST_S + size // _BYTES_A_SECOND
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads, which the child has nothing to do with
        child = os.fork()
    if child == 0:
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (limit_s, limit_s))
            read()
        finally:
            os._exit(0)  # whatever it raised, it will again here
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        raise ValueError(f"HDF5's library crashes or reads it for ever (signal {os.WTERMSIG(status)})")
    return read()
