"""Leaky integrate-and-fire on one tile: TILE neighbouring neurons of one sample, over all time steps.

The functions here are inlined into the parallel kernels of `dense` and `scan`. They say for a tile what
`reference.lif_scan` and `reference.dropout` say for a layer, in the same order of operations. A tile is float32
(T, TILE); the forward scan turns its currents into membranes in place, the backward scan these into gradients of the
currents.

More axis legend: K tile, J neuron within a tile, P the neurons of a layer padded to whole tiles.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from snntha.kernels.spec import Dropout, Neuron
from snntha.kernels.vector import (
    LANES,
    TILE,
    absolute,
    count_where,
    counting,
    fill,
    load,
    load_tile,
    multiply_add,
    select,
    store,
    to_bits,
    zero_tile,
)
from snntha.kernels.workspace import workspace


class Cell(NamedTuple):
    """`spec.Neuron` in float32. It fires at u >= level: the threshold, or the next larger number where `strict`."""

    beta: np.float32
    threshold: np.float32
    level: np.float32
    slope: np.float32
    centre: np.float32

    @classmethod
    def of(cls, neuron: Neuron) -> "Cell":
        threshold = np.float32(neuron.threshold)
        level = np.nextafter(threshold, np.float32(np.inf)) if neuron.strict else threshold
        return cls(np.float32(neuron.beta), threshold, level, np.float32(neuron.slope), np.float32(neuron.centre))


class Mask(NamedTuple):
    """`spec.Dropout` as numbers: keeps an element whose hash is at least `limit`."""

    active: bool
    key: np.uint32
    limit: np.uint32
    scale: np.float32

    @classmethod
    def of(cls, drop: Dropout | None) -> "Mask":
        if drop is None:
            return cls(False, np.uint32(0), np.uint32(0), np.float32(1))
        limit = min(round(drop.probability * 2**32), 2**32 - 1)
        return cls(True, np.uint32(drop.key), np.uint32(limit), np.float32(1 / (1 - drop.probability)))


class Above(NamedTuple):
    """Where a layer's spike gradients come from; arrays that do not apply have length 0.

    Output layer: the gradient of each spike is that of its count, constant_BP, and membranes may have one of their own.
    Otherwise gradients of the currents above, with the weights they went through.
    """

    constant_BP: np.ndarray = np.zeros((0, 0), np.float32)
    membrane_TBP: np.ndarray = np.zeros((0, 0, 0), np.float32)
    dense_TBM: np.ndarray = np.zeros((0, 0, 0), np.float32)
    weights_KMJ: np.ndarray = np.zeros((0, 0, 0), np.float32)
    conv_TBHWO: np.ndarray = np.zeros((0, 0, 0, 0, 0), np.float32)
    panels: np.ndarray = np.zeros((0, 0, 0, 0), np.float32)  # of `conv.input_gradient_kernel`
    stride: int = 1


class Fired(NamedTuple):
    """What a layer's forward kernel fills."""

    words_BKT: np.ndarray  # uint64, bit j of tile k: neuron k * TILE + j fired
    count_BP: np.ndarray  # int32, spikes of each neuron
    membrane_TBN: np.ndarray  # no steps unless asked for

    @classmethod
    def empty(cls, time_steps: int, batch: int, neurons: int, membrane: bool) -> "Fired":
        tiles = tile_count(neurons)
        words_BKT = workspace.take("words", (batch, tiles, time_steps), np.uint64)
        count_BP = np.zeros((batch, tiles * TILE), np.int32)
        return cls(words_BKT, count_BP, np.empty((time_steps if membrane else 0, batch, neurons), np.float32))


class Place(NamedTuple):
    """Which tile: neurons first ... first + width - 1 of `neurons`, sample b of `batch`."""

    b: int
    batch: int
    first: int
    width: int
    neurons: int


def tile_count(neurons: int) -> int:
    return -(-neurons // TILE)


def pad_to_tiles(values_XN: np.ndarray) -> np.ndarray:
    """float32 values_XP: zeros for the neurons that are missing in the last tile."""
    neurons = values_XN.shape[-1]
    padded_XP = np.zeros((*values_XN.shape[:-1], tile_count(neurons) * TILE), np.float32)
    padded_XP[..., :neurons] = values_XN
    return padded_XP


def channels_last_order(shape: tuple[int, ...]) -> np.ndarray:
    """Where PyTorch's flat (C, H, W) keeps the value that stands at i in channels-last order."""
    order = np.arange(math.prod(shape))
    return order if len(shape) == 1 else np.ascontiguousarray(order.reshape(shape).transpose(1, 2, 0).ravel())


@njit(forceinline=True)
def place_of(tile, b, batch, neurons):
    first = tile * TILE
    return Place(b, batch, first, min(TILE, neurons - first), neurons)


@njit(forceinline=True)
def counter(place, t):
    """Number of the element (t, b, first) of a (T, B, N) array; its low 32 bits are what dropout hashes."""
    return np.uint32((t * place.batch + place.b) * place.neurons + place.first)


@njit(forceinline=True)
def drop(values, mask, first):
    """Dropout of LANES values, the first of which has the counter `first`; see `reference.dropout_mask`."""
    word = fill(np.uint32(first)) + counting()
    word = (word ^ (word >> fill(np.uint32(16)))) * fill(np.uint32(0x7FEB352D))
    word = word ^ fill(mask.key)
    word = (word ^ (word >> fill(np.uint32(15)))) * fill(np.uint32(0x846CA68B))
    word = word ^ (word >> fill(np.uint32(16)))
    return select(word >= fill(mask.limit), values * fill(mask.scale), fill(np.float32(0)))


@njit(forceinline=True)
def integrate_and_fire(currents_TJ, cell, mask, place, words_T, count_J):
    """Currents become membranes, u_t = beta u_{t-1} + I_t - z_{t-1} threshold, before the reset.

    Fills words_T with the spikes of each step and adds them to count_J.
    """
    beta, threshold, level = fill(cell.beta), fill(cell.threshold), fill(cell.level)
    none = fill(np.float32(0))
    state = np.zeros((2, TILE), np.float32)  # membrane and reset of the step before
    inside = np.uint64(0xFFFFFFFFFFFFFFFF) >> np.uint64(TILE - place.width)
    for t in range(len(currents_TJ)):
        word = np.uint64(0)
        first = counter(place, t)
        for lane in range(0, TILE, LANES):
            current = load(currents_TJ, t * TILE + lane)
            if mask.active:
                current = drop(current, mask, first + np.uint32(lane))
            membrane = beta * load(state, lane) + current - load(state, TILE + lane)
            fires = membrane >= level
            store(state, lane, membrane)
            store(state, TILE + lane, select(fires, threshold, none))
            store(currents_TJ, t * TILE + lane, membrane)
            store(count_J, lane, count_where(fires, load(count_J, lane)))
            word |= to_bits(fires) << np.uint64(lane)
        words_T[t] = word & inside


@njit(forceinline=True)
def integrate_back(membranes_TJ, grad_spikes_TJ, grad_membrane_TBP, cell, mask, place):
    """Membranes become gradients of the currents; grad_membrane_TBP may have no steps.

    dL/du_t = dL/dz_t / (1 + slope |u_t - centre|)^2 + beta dL/du_{t+1} + what the loss says of u_t itself. With dropout
    the current is that before it.
    """
    beta, slope, centre, one = fill(cell.beta), fill(cell.slope), fill(cell.centre), fill(np.float32(1))
    later = np.zeros(TILE, np.float32)
    for t in range(len(membranes_TJ) - 1, -1, -1):
        first = counter(place, t)
        for lane in range(0, TILE, LANES):
            distance = one + slope * absolute(load(membranes_TJ, t * TILE + lane) - centre)
            grad = load(grad_spikes_TJ, t * TILE + lane) / (distance * distance) + beta * load(later, lane)
            if len(grad_membrane_TBP) > 0:
                row = t * place.batch + place.b
                grad = grad + load(grad_membrane_TBP, row * grad_membrane_TBP.shape[2] + place.first + lane)
            store(later, lane, grad)
            if mask.active:
                grad = drop(grad, mask, first + np.uint32(lane))
            store(membranes_TJ, t * TILE + lane, grad)


@njit(forceinline=True)
def spread(above, place, grad_spikes_TJ):
    """Gradients of the tile's spikes from what is above; a convolution's come for a whole sample, see `scan`."""
    if len(above.constant_BP) > 0:
        for t in range(len(grad_spikes_TJ)):
            first = place.b * above.constant_BP.shape[1] + place.first
            store(grad_spikes_TJ, t * TILE, load_tile(above.constant_BP, first))
        return
    outputs = above.weights_KMJ.shape[1]
    weights_MJ = above.weights_KMJ[place.first // TILE]
    for t in range(len(grad_spikes_TJ)):
        grads_M = above.dense_TBM[t, place.b]
        total = zero_tile(weights_MJ)
        for m in range(outputs):
            total = multiply_add(grads_M[m], load_tile(weights_MJ, m * TILE), total)
        store(grad_spikes_TJ, t * TILE, total)


@njit(forceinline=True)
def copy_out(values_TJ, place, target_TBN):
    """The tile's values into their places of a whole layer's array."""
    for t in range(len(values_TJ)):
        for neuron in range(place.width):
            target_TBN[t, place.b, place.first + neuron] = values_TJ[t, neuron]
