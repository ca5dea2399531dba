"""From packed spikes to event rows, and event rows sorted by input.

Rows are those of `spec.Events`: row `t * B + b` lists what fired. An index takes 16 bits where the layer is small
enough.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit, prange

from snntha.kernels.cpu.vector import PAIR, TILE, at, count_ones, lowest_one
from snntha.kernels.cpu.workspace import workspace


@dataclass(frozen=True)
class Rows:
    """Events as numpy arrays; `index` is the workspace's buffer of that name, if any."""

    indptr: np.ndarray  # int64, (T * B + 1,)
    index: np.ndarray  # uint16 or int32
    time_steps: int
    batch: int
    buffer: str | None

    @classmethod
    def of(cls, indptr: np.ndarray, index: np.ndarray, time_steps: int, batch: int, inputs: int) -> "Rows":
        """The events of a batch, as in `spec.Events`, of so many inputs."""
        assert len(index) == 0 or int(index.max()) < inputs, f"an event outside the {inputs} inputs"
        return cls(np.ascontiguousarray(indptr), index.astype(index_dtype(inputs)), time_steps, batch, None)

    @classmethod
    def none(cls, time_steps: int, batch: int) -> "Rows":
        """Images cause no events."""
        return cls(np.zeros(1, np.int64), np.empty(0, np.uint16), time_steps, batch, None)

    def release(self) -> None:
        if self.buffer is not None:
            workspace.give(self.buffer, self.index)


def index_dtype(size: int) -> type[np.generic]:
    """The smallest of two integer dtypes that can address so many elements; two, to compile few variants."""
    return np.uint16 if size <= 2**16 else np.int32


def unpack(bits_BGTF: np.ndarray, neurons: int, buffer: str) -> Rows:
    """Rows of a layer whose spikes are packed as in `strip.LayerOutput`, in a buffer of the workspace."""
    words_BGT = bits_BGTF.view(np.uint64)[..., 0]  # bit j: neuron g * TILE + j
    batch, _, steps = words_BGT.shape
    indptr = np.zeros(steps * batch + 1, np.int64)
    _count_rows(words_BGT, indptr)
    np.cumsum(indptr, out=indptr)
    index = workspace.take(buffer, (int(indptr[-1]),), index_dtype(neurons))
    _fill_rows(words_BGT, indptr, index)
    return Rows(indptr, index, steps, batch, buffer)


class ByInput(NamedTuple):
    """The same events, for each sample sorted by input.

    Sample b's input i fired at steps step[first_BI[b, i] : first_BI[b, i + 1]] / PAIR, ascending.
    """

    first_BI: np.ndarray  # int64, (batch, inputs + 1)
    step: np.ndarray  # in elements of a (T, PAIR) array


class BySample(NamedTuple):
    """The same events, sample after sample: b's events of step t are inputs[first_BT[b, t] : first_BT[b, t + 1]]."""

    first_BT: np.ndarray  # int64, (batch, time_steps + 1)
    inputs: np.ndarray


def by_sample(rows: Rows, buffer: str) -> BySample:
    """Copy into a buffer of the workspace."""
    count_TB = np.diff(rows.indptr).reshape(rows.time_steps, rows.batch)
    first_BT = np.zeros((rows.batch, rows.time_steps + 1), np.int64)
    first_BT[:, 1:] = count_TB.T
    np.cumsum(first_BT, axis=None, out=first_BT.reshape(-1))  # the next sample begins where this one ends
    index = workspace.take(buffer, rows.index.shape, rows.index.dtype)
    _copy_rows(rows.indptr, rows.index, first_BT, index)
    return BySample(first_BT, index)


def by_input(events: BySample, inputs: int) -> ByInput:
    """Sort; `step` is the workspace's buffer "steps"."""
    batch, steps = len(events.first_BT), events.first_BT.shape[1] - 1
    first_BI = np.zeros((batch, inputs + 1), np.int64)
    _count_inputs(events, first_BI)
    np.cumsum(first_BI, axis=None, out=first_BI.reshape(-1))
    step = workspace.take("steps", events.inputs.shape, index_dtype(steps * PAIR))
    _fill_steps(events, first_BI, step)
    return ByInput(first_BI, step)


@njit(parallel=True, cache=True, nogil=True)
def _count_rows(words_BGT, indptr):
    batch, tiles, steps = words_BGT.shape
    for b in prange(batch):
        count_T = np.zeros(steps, np.int64)
        for tile in range(tiles):
            for t in range(steps):
                count_T[t] += count_ones(words_BGT[b, tile, t])
        for t in range(steps):
            indptr[t * batch + b + 1] = count_T[t]


@njit(parallel=True, cache=True, nogil=True)
def _fill_rows(words_BGT, indptr, index):
    batch, tiles, steps = words_BGT.shape
    for b in prange(batch):
        position_T = indptr[b : steps * batch : batch].copy()
        for tile in range(tiles):
            for t in range(steps):
                word = words_BGT[b, tile, t]
                position = position_T[t]
                while word != np.uint64(0):
                    index[position] = tile * TILE + lowest_one(word)
                    word &= word - np.uint64(1)
                    position += 1
                position_T[t] = position


@njit(parallel=True, cache=True, nogil=True)
def _copy_rows(indptr, index, first_BT, copied):
    batch = len(first_BT)
    for b in prange(batch):
        for t in range(first_BT.shape[1] - 1):
            source, target = indptr[t * batch + b], first_BT[b, t]
            for event in range(first_BT[b, t + 1] - target):
                copied[target + event] = index[source + event]


@njit(parallel=True, cache=True, nogil=True)
def _count_inputs(events, first_BI):
    """Counts go one place to the right of their input."""
    for b in prange(len(first_BI)):
        for event in range(events.first_BT[b, 0], events.first_BT[b, -1]):
            first_BI[b, at(events.inputs, event) + 1] += 1


@njit(parallel=True, cache=True, nogil=True)
def _fill_steps(events, first_BI, step):
    first_BT = events.first_BT
    for b in prange(len(first_BT)):
        position_I = first_BI[b].copy()
        for t in range(first_BT.shape[1] - 1):
            for event in range(first_BT[b, t], first_BT[b, t + 1]):
                i = at(events.inputs, event)
                step[position_I[i]] = t * PAIR
                position_I[i] += 1
