"""The events that a layer receives: listed by step for the forward pass, by input for the weight gradient.

What a layer fired is kept as bits, and both lists are derived from these, eight bits at a time, when they are needed.
The events of the network's input may count an input twice in one step: they come as lists and are sorted. An index
takes 16 bits where the layer is small enough.

Where a layer fires often, its bits are listed four at a time instead, as patterns: the bits of FOUR neighbouring inputs
in one step, or of one input in FOUR steps, are a number from 0 to 15 that looks up their sum in a table of all sixteen
sums (the "four Russians" of Arlazarov et al., 1970). The same kernels add up rows of that table; how many does not
depend on the activity.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

from snntha.kernels.cpu.threads import run
from snntha.kernels.cpu.vector import OCTET, PAIR, TILE, at, count_ones, load_octet, lowest_one, raised, store
from snntha.kernels.cpu.workspace import workspace

FOUR = 4
SUMS = 2**FOUR  # of the subsets of FOUR rows
POSITIONS = np.array([sorted(range(OCTET), key=lambda bit: not byte >> bit & 1) for byte in range(2**OCTET)])
POSITIONS.flags.writeable = False  # for each byte, the places of its ones in front


class BySample(NamedTuple):
    """Sample after sample: b's events of step t are inputs[first_BT[b, t] : first_BT[b, t + 1]], ascending.

    As patterns: group * SUMS + pattern, group the number of FOUR neighbouring inputs.
    """

    first_BT: np.ndarray  # int64, (batch, time_steps + 1)
    inputs: np.ndarray


class ByInput(NamedTuple):
    """By input: sample b's input i fired at steps step[first_BI[b, i] : first_BI[b, i + 1]] / PAIR, ascending.

    As patterns: (group * SUMS + pattern) * PAIR, group the number of FOUR steps.
    """

    first_BI: np.ndarray  # int64, (batch, inputs + 1)
    step: np.ndarray  # in elements of a (T, PAIR) array


@dataclass(frozen=True)
class Spikes:
    """What a layer receives during a minibatch. `events` and `bits_BGTF` are buffers of the workspace.

    `patterns`: both lists are of patterns.
    """

    time_steps: int
    batch: int
    inputs: int
    events: BySample
    bits_BGTF: np.ndarray | None  # as in `strip.LayerOutput`; None for the network's input
    count_BP: np.ndarray | None  # how often each input fired; None for the network's input
    name: str
    patterns: bool = False

    @classmethod
    def of_input(cls, indptr: np.ndarray, index: np.ndarray, time_steps: int, batch: int, inputs: int) -> "Spikes":
        """The events of a batch, rows as in `spec.Events`, of so many inputs."""
        assert len(index) == 0 or int(index.max()) < inputs, f"an event outside the {inputs} inputs"
        first_BT = list_bounds(np.diff(indptr).reshape(time_steps, batch).T, spare=0)
        sorted_index = workspace.take("input events", index.shape, index_dtype(inputs))
        run(_copy_rows, batch, np.ascontiguousarray(indptr), index, first_BT, sorted_index)
        return cls(time_steps, batch, inputs, BySample(first_BT, sorted_index), None, None, "input")

    @classmethod
    def of_layer(
        cls, bits_BGTF: np.ndarray, count_BP: np.ndarray, neurons: int, number: int, patterns_from: float = math.inf
    ) -> "Spikes":
        """What layer `number` fired, as patterns from this share of its neurons and steps."""
        words_BGT = bits_BGTF.view(np.uint64)[..., 0]  # bit j: neuron g * TILE + j
        batch, _, steps = words_BGT.shape
        patterns = bool(count_BP.sum() >= patterns_from * batch * steps * neurons)
        if patterns:
            count_BT = np.full((batch, steps), neurons // FOUR)
        else:
            count_BT = np.zeros((batch, steps), np.int64)
            run(_count_steps, batch, words_BGT, count_BT)
        first_BT = list_bounds(count_BT, spare=OCTET)
        index = workspace.take(
            f"{number} events", (int(first_BT[-1, -1]) + OCTET,), index_dtype(SUMS // FOUR * neurons)
        )
        if patterns:
            run(_list_patterns, batch, words_BGT, first_BT, index)
        else:
            run(_list_events, batch, words_BGT, POSITIONS.astype(index.dtype), first_BT, index)
        return cls(steps, batch, neurons, BySample(first_BT, index), bits_BGTF, count_BP, str(number), patterns)

    @classmethod
    def none(cls, time_steps: int, batch: int) -> "Spikes":
        """Images cause no events."""
        events = BySample(np.zeros((batch, time_steps + 1), np.int64), np.empty(0, np.uint16))
        return cls(time_steps, batch, 0, events, None, None, "input")

    @property
    def fullest_step(self) -> int:
        """The largest number of events of one sample in one step."""
        return int(np.diff(self.events.first_BT).max())

    def by_input(self) -> ByInput:
        """Sorted by input; `step` is the workspace's buffer "steps"."""
        if self.bits_BGTF is None:
            return self._sorted()
        assert self.count_BP is not None
        words_BGT = self.bits_BGTF.view(np.uint64)[..., 0]
        groups = -(-self.time_steps // FOUR)
        count_BI = np.full((self.batch, self.inputs), groups) if self.patterns else self.count_BP[:, : self.inputs]
        first_BI = list_bounds(count_BI, spare=OCTET)
        step = workspace.take("steps", (int(first_BI[-1, -1]) + OCTET,), index_dtype(groups * SUMS * PAIR))
        places = (POSITIONS * PAIR).astype(step.dtype)
        run(_list_steps, self.batch, words_BGT, self.patterns, places, first_BI, step)
        return ByInput(first_BI, step)

    def _sorted(self) -> ByInput:
        count_BI = np.zeros((self.batch, self.inputs), np.int64)
        run(_count_inputs, self.batch, self.events, count_BI)
        first_BI = list_bounds(count_BI, spare=0)
        step = workspace.take("steps", self.events.inputs.shape, index_dtype(self.time_steps * PAIR))
        run(_sort_steps, self.batch, self.events, first_BI, step)
        return ByInput(first_BI, step)

    def release_events(self) -> None:
        """Hand back the list of a layer's spikes, which the forward pass was the last to need."""
        if self.bits_BGTF is not None:
            workspace.give(f"{self.name} events", self.events.inputs)

    def release(self) -> None:
        """Hand back what the backward pass needed."""
        if self.bits_BGTF is not None:
            workspace.give(f"{self.name} spikes", self.bits_BGTF)
        else:
            workspace.give("input events", self.events.inputs)


def index_dtype(size: int) -> type[np.generic]:
    """The smallest of two integer dtypes that can address so many elements; two, to compile few variants."""
    return np.uint16 if size <= 2**16 else np.int32


def list_bounds(count_BN: np.ndarray, spare: int) -> np.ndarray:
    """Where each of the N lists of a sample begins, and the last one ends; `spare` places are left behind a sample."""
    batch, lists = count_BN.shape
    first_BN = np.zeros((batch, lists + 1), np.int64)
    np.cumsum(count_BN, axis=1, out=first_BN[:, 1:])
    first_BN[1:] += np.cumsum(first_BN[:-1, -1] + spare)[:, None]
    return first_BN


@njit(cache=True, nogil=True)
def _copy_rows(first_sample, end_sample, indptr, index, first_BT, copied):
    batch = len(first_BT)
    for b in range(first_sample, end_sample):
        for t in range(first_BT.shape[1] - 1):
            source, target = indptr[t * batch + b], first_BT[b, t]
            for event in range(first_BT[b, t + 1] - target):
                copied[target + event] = index[source + event]


@njit(cache=True, nogil=True)
def _count_steps(first_sample, end_sample, words_BGT, count_BT):
    _, tiles, steps = words_BGT.shape
    for b in range(first_sample, end_sample):
        for tile in range(tiles):
            for t in range(steps):
                count_BT[b, t] += count_ones(words_BGT[b, tile, t])


@njit(cache=True, nogil=True)
def _list_events(first_sample, end_sample, words_BGT, places, first_BT, index):
    """`places`: POSITIONS in the dtype of `index`."""
    _, tiles, steps = words_BGT.shape
    for b in range(first_sample, end_sample):
        for t in range(steps):
            position = first_BT[b, t]
            for tile in range(tiles):
                position = _list_ones(words_BGT[b, tile, t], places, tile * TILE, 1, index, position)


@njit(cache=True, nogil=True)
def _list_patterns(first_sample, end_sample, words_BGT, first_BT, index):
    _, tiles, steps = words_BGT.shape
    for b in range(first_sample, end_sample):
        for t in range(steps):
            first, groups = first_BT[b, t], first_BT[b, t + 1] - first_BT[b, t]
            for tile in range(tiles):
                word = words_BGT[b, tile, t]
                for group in range(tile * TILE // FOUR, min((tile + 1) * TILE // FOUR, groups)):
                    index[first + group] = group * SUMS + np.intp(word & np.uint64(SUMS - 1))
                    word >>= np.uint64(FOUR)


@njit(cache=True, nogil=True)
def _list_steps(first_sample, end_sample, words_BGT, patterns, places, first_BI, step):
    """`places`: PAIR times POSITIONS in the dtype of `step`."""
    _, tiles, steps = words_BGT.shape
    inputs = first_BI.shape[1] - 1
    words_AT = np.zeros(((steps + TILE - 1) // TILE, TILE), np.uint64)
    for task in range(first_sample * tiles, end_sample * tiles):
        b, tile = task // tiles, task % tiles
        _by_neuron(words_BGT[b, tile], words_AT)
        for neuron in range(min(TILE, inputs - tile * TILE)):
            position = first_BI[b, tile * TILE + neuron]
            if patterns:
                for group in range((steps + FOUR - 1) // FOUR):
                    word = words_AT[group * FOUR // TILE, neuron] >> np.uint64(group * FOUR % TILE)
                    step[position + group] = (group * SUMS + np.intp(word & np.uint64(SUMS - 1))) * PAIR
            else:
                for block in range(len(words_AT)):
                    first = block * TILE * PAIR
                    position = _list_ones(words_AT[block, neuron], places, first, PAIR, step, position)


@njit(forceinline=True)
def _by_neuron(words_T, words_AT):
    """What a tile fired, turned round: bit t of words_AT[a, j] is step a * TILE + t of neuron j."""
    for block in range(len(words_AT)):
        for t in range(TILE):
            step = block * TILE + t
            words_AT[block, t] = words_T[step] if step < len(words_T) else np.uint64(0)
        _transpose(words_AT[block])


@njit(forceinline=True)
def _list_ones(word, places, first, scale, numbers, position):
    """numbers[position], ... become first + scale * the positions of the ones, ascending; returns the next position.

    Whole octets are written: up to OCTET - 1 numbers behind those are overwritten.
    """
    while word != np.uint64(0):
        zeros = lowest_one(word) & ~(OCTET - 1)
        word >>= np.uint64(zeros)
        first += zeros * scale
        byte = word & np.uint64(0xFF)
        store(numbers, position, raised(load_octet(places, np.intp(byte) * OCTET), first))
        position += count_ones(byte)
        word &= ~np.uint64(0xFF)
    return position


@njit(forceinline=True)
def _transpose(words):
    """64 words of 64 bits in place: bit j of word i becomes bit i of word j. Quadrants are swapped, then theirs."""
    width = np.uint64(32)
    mask = np.uint64(0xFFFFFFFF)
    while width != np.uint64(0):
        row = 0
        while row < 64:
            other = row + np.intp(width)
            swapped = ((words[row] >> width) ^ words[other]) & mask
            words[row] ^= swapped << width
            words[other] ^= swapped
            row = (other + 1) & ~np.intp(width)
        width >>= np.uint64(1)
        mask ^= mask << width


@njit(cache=True, nogil=True)
def _count_inputs(first_sample, end_sample, events, count_BI):
    for b in range(first_sample, end_sample):
        for event in range(events.first_BT[b, 0], events.first_BT[b, -1]):
            count_BI[b, at(events.inputs, event)] += 1


@njit(cache=True, nogil=True)
def _sort_steps(first_sample, end_sample, events, first_BI, step):
    first_BT = events.first_BT
    for b in range(first_sample, end_sample):
        position_I = first_BI[b].copy()
        for t in range(first_BT.shape[1] - 1):
            for event in range(first_BT[b, t], first_BT[b, t + 1]):
                i = at(events.inputs, event)
                step[position_I[i]] = t * PAIR
                position_I[i] += 1
