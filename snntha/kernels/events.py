"""From packed spikes to event rows, and event rows sorted by input.

Rows are those of `spec.Events`: row `t * B + b` lists what fired. An index takes 16 bits where the layer is small
enough.
"""

import math
from dataclasses import dataclass

import numpy as np
from numba import njit, prange

from snntha.kernels.spec import Events, Static
from snntha.kernels.vector import TILE, count_ones, lowest_one
from snntha.kernels.workspace import workspace


@dataclass(frozen=True)
class Rows:
    """Events as numpy arrays; `index` is the workspace's buffer of that name, if any."""

    indptr: np.ndarray  # int64, (T * B + 1,)
    index: np.ndarray  # uint16 or int32
    time_steps: int
    batch: int
    buffer: str | None

    @classmethod
    def of(cls, events: Events | Static) -> "Rows":
        """The events of a batch; images cause none."""
        if isinstance(events, Static):
            return cls(np.zeros(1, np.int64), np.empty(0, np.uint16), events.time_steps, events.batch, None)
        size = math.prod(events.shape)
        assert len(events.index) == 0 or int(events.index.max()) < size, f"an event outside the {size} inputs"
        index = events.index.numpy().astype(index_dtype(size))
        return cls(np.ascontiguousarray(events.indptr.numpy()), index, events.time_steps, events.batch, None)

    def release(self) -> None:
        if self.buffer is not None:
            workspace.give(self.buffer, self.index)


def index_dtype(size: int) -> type[np.generic]:
    """The smallest of two integer dtypes that can address so many elements; two, to compile few variants."""
    return np.uint16 if size <= 2**16 else np.int32


def unpack(words_BKT: np.ndarray, neurons: int, buffer: str) -> Rows:
    """Rows of a layer whose spikes are packed, in a buffer of the workspace.

    Bit j of words_BKT[b, k, t] is neuron k * TILE + j.
    """
    batch, _, steps = words_BKT.shape
    indptr = np.zeros(steps * batch + 1, np.int64)
    _count_rows(words_BKT, indptr)
    np.cumsum(indptr, out=indptr)
    index = workspace.take(buffer, (int(indptr[-1]),), index_dtype(neurons))
    _fill_rows(words_BKT, indptr, index)
    return Rows(indptr, index, steps, batch, buffer)


def by_input(rows: Rows, inputs: int) -> tuple[np.ndarray, np.ndarray]:
    """(first_BI, step): sample b's input i fired at steps step[first_BI[b, i] : first_BI[b, i + 1]], ascending."""
    first_BI = np.zeros((rows.batch, inputs + 1), np.int64)
    _count_inputs(rows.indptr, rows.index, first_BI)
    np.cumsum(first_BI, axis=None, out=first_BI.reshape(-1))  # the next sample begins where this one ends
    step = workspace.take("steps", (len(rows.index),), index_dtype(rows.time_steps))
    _fill_steps(rows.indptr, rows.index, first_BI, step)
    return first_BI, step


@njit(parallel=True, cache=True, nogil=True)
def _count_rows(words_BKT, indptr):
    batch, tiles, steps = words_BKT.shape
    for b in prange(batch):
        for tile in range(tiles):
            for t in range(steps):
                indptr[t * batch + b + 1] += count_ones(words_BKT[b, tile, t])


@njit(parallel=True, cache=True, nogil=True)
def _fill_rows(words_BKT, indptr, index):
    batch, tiles, steps = words_BKT.shape
    for b in prange(batch):
        position_T = indptr[b : steps * batch : batch].copy()
        for tile in range(tiles):
            for t in range(steps):
                word = words_BKT[b, tile, t]
                position = position_T[t]
                while word != np.uint64(0):
                    index[position] = tile * TILE + lowest_one(word)
                    word &= word - np.uint64(1)
                    position += 1
                position_T[t] = position


@njit(parallel=True, cache=True, nogil=True)
def _count_inputs(indptr, index, first_BI):
    batch = len(first_BI)
    for b in prange(batch):
        for row in range(b, len(indptr) - 1, batch):
            for event in range(indptr[row], indptr[row + 1]):
                first_BI[b, np.intp(index[event]) + 1] += 1


@njit(parallel=True, cache=True, nogil=True)
def _fill_steps(indptr, index, first_BI, step):
    batch = len(first_BI)
    for b in prange(batch):
        position_I = first_BI[b].copy()
        for row in range(b, len(indptr) - 1, batch):
            for event in range(indptr[row], indptr[row + 1]):
                i = np.intp(index[event])
                step[position_I[i]] = row // batch
                position_I[i] += 1
