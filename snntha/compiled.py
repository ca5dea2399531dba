"""The numba backend before its first kernel runs: threads, and compiled code that a power cut or full disk damaged."""

import numba

from snntha.errors import UserError
from snntha.kernels.backend import set_threads
from snntha.kernels.cpu import COMPILED_CODE

_END_OF_PICKLE = b"."


def prepare(threads: int | None, backend: str) -> None:
    """Let torch and the kernels use so many threads (None: all), and discard compiled code that is cut: made anew.

    Raises:
        UserError: an environment variable keeps numba from compiling.
    """
    if backend in ("auto", "numba") and numba.config.DISABLE_JIT:  # pyright: ignore  # filled at run time
        raise UserError("NUMBA_DISABLE_JIT is set, so no kernel can be compiled: unset it, or pass backend=reference")
    set_threads(threads)
    for path in COMPILED_CODE.glob("*/*.nb[ic]"):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 1))
            if file.read() != _END_OF_PICKLE:
                path.unlink()
