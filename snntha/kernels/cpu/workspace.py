"""Large buffers that one minibatch leaves to the next, so that the operating system need not clear them anew."""

import math

import numpy as np
from numpy.typing import DTypeLike


class Workspace:
    """Keeps at most one free buffer for each name. A buffer that was taken belongs to the taker until it is given back:
    two minibatches under way at once never share one."""

    def __init__(self):
        self._free: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """An uninitialised array; allocated where no free buffer of that name is large enough."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        buffer = self._free.pop(name, None)
        if buffer is None or len(buffer) < size:
            buffer = np.empty(size, np.uint8)
        return buffer[:size].view(dtype).reshape(shape)

    def give(self, name: str, array: np.ndarray) -> None:
        """Hand back an array that came from `take`; nobody may use it any more."""
        buffer = array
        while isinstance(buffer.base, np.ndarray):
            buffer = buffer.base
        self._free[name] = buffer


workspace = Workspace()
