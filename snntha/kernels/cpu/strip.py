"""Leaky integrate-and-fire on one strip: LANES neighbouring neurons of one sample, over all time steps.

The functions here are inlined into the parallel kernels of `dense` and `scan`. They say for a strip what
`reference.scan` says for a layer, in the same order of operations. A strip is float32 (T, LANES), small enough for the
fastest cache; its state stays in registers. The backward scan turns membranes into gradients of the currents, in place.
A tile is STRIPS neighbouring strips.

More axis legend: G tile, J neuron within a tile, F strip (of a tile or of the layer), L neuron within a strip, P the
neurons of a layer padded to whole tiles, M the neurons of the layer above.
"""

import math
from typing import NamedTuple

import numpy as np
from numba import njit

from snntha.kernels.cpu.vector import (
    LANES,
    TILE,
    absolute,
    count_where,
    counting,
    fill,
    from_bits,
    load,
    load_row,
    multiply_add,
    select,
    store,
    store_row,
    to_bits,
    to_float,
)
from snntha.kernels.cpu.workspace import workspace
from snntha.kernels.spec import Dropout
from snntha.neuron import Neuron

STRIPS = TILE // LANES  # of a tile


class NeuronConstants(NamedTuple):
    """`Neuron` in float32. It fires at u >= level: the threshold, or the next larger number where `strict`."""

    beta_P: np.ndarray
    threshold: np.float32
    level: np.float32
    slope: np.float32
    centre: np.float32

    @classmethod
    def of(cls, neuron: Neuron, neurons: int) -> "NeuronConstants":
        """Of so many neurons, channels-last: a beta for each channel is repeated."""
        beta_P = pad_to_tiles(np.resize(np.float32(neuron.beta), neurons))
        threshold = np.float32(neuron.threshold)
        level = np.nextafter(threshold, np.float32(np.inf)) if neuron.strict else threshold
        return cls(beta_P, threshold, level, np.float32(neuron.slope), np.float32(neuron.centre))


class DropoutConstants(NamedTuple):
    """`spec.Dropout` as numbers: keeps an element whose hash is at least `limit`."""

    active: bool
    key: np.uint32
    limit: np.uint32
    scale: np.float32
    before: int  # samples of the minibatch that other processes have before those here
    others: int  # and all that they have

    @classmethod
    def of(cls, drop: Dropout | None) -> "DropoutConstants":
        if drop is None:
            return cls(False, np.uint32(0), np.uint32(0), np.float32(1), 0, 0)
        limit = min(round(drop.probability * 2**32), 2**32 - 1)
        scale = np.float32(1 / (1 - drop.probability))
        return cls(True, np.uint32(drop.key), np.uint32(limit), scale, drop.share.before, drop.share.others)


class GradientSource(NamedTuple):
    """Where a layer's spike gradients come from; arrays that do not apply have length 0.

    Output layer: the gradient of each spike is that of its count, constant_BP, and membranes may have one of their own.
    Below a dense layer: gradients of its currents, with the weights they went through. Below a convolution: those of
    the spikes themselves, for the samples at hand, with one row more than steps.
    """

    constant_BP: np.ndarray = np.zeros((0, 0), np.float32)
    membrane_TBP: np.ndarray = np.zeros((0, 0, 0), np.float32)
    dense_BTM: np.ndarray = np.zeros((0, 0, 0), np.float32)
    weights_FML: np.ndarray = np.zeros((0, 0, 0), np.float32)
    delay_P: np.ndarray = np.zeros(0, np.int64)  # of dense: steps that the spikes take to get there
    spikes_BTN: np.ndarray = np.zeros((0, 0, 0), np.float32)


class LayerOutput(NamedTuple):
    """What a layer's forward kernel fills."""

    bits_BGTF: np.ndarray  # uint16, bit l: neuron g * TILE + f * LANES + l fired
    count_BP: np.ndarray  # int32, spikes of each neuron
    membrane_TBN: np.ndarray  # no steps unless asked for

    @classmethod
    def empty(cls, time_steps: int, batch: int, neurons: int, membrane: bool, number: int) -> "LayerOutput":
        tiles = tile_count(neurons)
        bits_BGTF = workspace.take(f"{number} spikes", (batch, tiles, time_steps, STRIPS), np.uint16)
        bits_BGTF[:, -1] = 0  # of which strips without a neuron stay so
        count_BP = np.zeros((batch, tiles * TILE), np.int32)
        return cls(bits_BGTF, count_BP, np.empty((time_steps if membrane else 0, batch, neurons), np.float32))


class Strip(NamedTuple):
    """Which one: neurons first ... first + width - 1 of `neurons`, sample b of `batch`; strip `part` of its tile."""

    b: int
    batch: int
    first: int
    width: int
    neurons: int
    tile: int
    part: int


def unpacked(bits_BGTF: np.ndarray, neurons: int) -> np.ndarray:
    """Spikes_TBN, uint8 0 or 1, of the bits of `LayerOutput`; neurons channels-last."""
    batch, _, steps, _ = bits_BGTF.shape
    bits_BGTJ = np.unpackbits(bits_BGTF.view(np.uint8), bitorder="little").reshape(batch, -1, steps, TILE)
    return bits_BGTJ.transpose(2, 0, 1, 3).reshape(steps, batch, -1)[..., :neurons]


def tile_count(neurons: int) -> int:
    return -(-neurons // TILE)


def strip_count(neurons: int) -> int:
    return -(-neurons // LANES)


def empty_kept(drop: DropoutConstants, time_steps: int, batch: int, neurons: int, number: int) -> np.ndarray:
    """kept_BGTF, bits as in `LayerOutput`: which currents of a layer dropout leaves; no steps without dropout."""
    shape = batch, tile_count(neurons), time_steps if drop.active else 0, STRIPS
    return workspace.take(f"{number} kept", shape, np.uint16)


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


def empty_beta_gradient(learns: bool, batch: int, neurons: int) -> np.ndarray:
    """grad_beta_BP, what each sample says of each neuron's beta; no samples where beta is not learned."""
    return np.empty((batch if learns else 0, tile_count(neurons) * TILE), np.float32)


def beta_gradient(grad_beta_BP: np.ndarray, neurons: int, channels: int) -> dict[str, np.ndarray]:
    """The gradient of each channel's beta by its name: over samples and pixels in this order, in float64."""
    if len(grad_beta_BP) == 0:
        return {}
    grad_BVC = grad_beta_BP[:, :neurons].reshape(len(grad_beta_BP), -1, channels)
    return {"beta_C": grad_BVC.sum((0, 1), dtype=np.float64).astype(np.float32)}


@njit(forceinline=True)
def strip_at(number, b, batch, neurons):
    first = number * LANES
    return Strip(b, batch, first, min(LANES, neurons - first), neurons, number // STRIPS, number % STRIPS)


@njit(forceinline=True)
def draw_kept(drop, strip, t):
    """Which of the strip's currents stay at step t; see `reference.dropout_mask`."""
    first = np.uint32((t * (strip.batch + drop.others) + drop.before + strip.b) * strip.neurons + strip.first)
    word = fill(first) + counting()
    word = (word ^ (word >> fill(np.uint32(16)))) * fill(np.uint32(0x7FEB352D))
    word = word ^ fill(drop.key)
    word = (word ^ (word >> fill(np.uint32(15)))) * fill(np.uint32(0x846CA68B))
    word = word ^ (word >> fill(np.uint32(16)))
    return word >= fill(drop.limit)


@njit(forceinline=True)
def integrate_and_fire(currents_TL, bias, membranes_TL, neuron, drop, strip, kept_BGTF, bits_BGTF, count_BP):
    """Fill membranes_TL (before the reset), what dropout keeps, and the spikes, which are also counted.

    u_t = beta u_{t-1} + I_t - z_{t-1} threshold, I_t = dropout of (current + bias). currents_TL may be integers, and
    may be membranes_TL itself.
    """
    beta, threshold, level = load(neuron.beta_P, strip.first), fill(neuron.threshold), fill(neuron.level)
    scale, none = fill(drop.scale), fill(np.float32(0))
    kept_TF, bits_TF = kept_BGTF[strip.b, strip.tile], bits_BGTF[strip.b, strip.tile]
    inside = np.uint16((1 << strip.width) - 1)
    membrane = reset = none
    count = load(count_BP, strip.b * count_BP.shape[1] + strip.first)
    for t in range(len(currents_TL)):
        current = to_float(load_row(currents_TL, t)) + bias
        if drop.active:
            keep = draw_kept(drop, strip, t)
            kept_TF[t, strip.part] = to_bits(keep)
            current = select(keep, current * scale, none)
        membrane = beta * membrane + current - reset
        fires = membrane >= level
        reset = select(fires, threshold, none)
        store_row(membranes_TL, t, membrane)
        count = count_where(fires, count)
        bits_TF[t, strip.part] = to_bits(fires) & inside
    store(count_BP, strip.b * count_BP.shape[1] + strip.first, count)


@njit(forceinline=True)
def integrate_again(currents_TL, bias, membranes_TL, neuron, drop, strip, kept_BGTF):
    """Fill membranes_TL as in `integrate_and_fire`, with the dropout drawn there."""
    beta, threshold, level = load(neuron.beta_P, strip.first), fill(neuron.threshold), fill(neuron.level)
    scale, none = fill(drop.scale), fill(np.float32(0))
    kept_TF = kept_BGTF[strip.b, strip.tile]
    membrane = reset = none
    for t in range(len(currents_TL)):
        current = to_float(load_row(currents_TL, t)) + bias
        if drop.active:
            current = select(from_bits(kept_TF[t, strip.part]), current * scale, none)
        membrane = beta * membrane + current - reset
        reset = select(membrane >= level, threshold, none)
        store_row(membranes_TL, t, membrane)


@njit(forceinline=True)
def integrate_back(membranes_TL, grad_spikes_TL, grad_membrane_TBP, neuron, drop, strip, kept_BGTF, grad_beta_BP):
    """Membranes become gradients of the currents; grad_membrane_TBP may have no steps, and grad_beta_BP no samples.

    dL/du_t = dL/dz_t / (1 + slope |u_t - centre|)^2 + beta dL/du_{t+1} + what the loss says of u_t itself. With dropout
    the current is that before it. dL/dbeta is the sum over t of dL/du_t u_{t-1}: no reset has beta as a factor.
    """
    beta, one = load(neuron.beta_P, strip.first), fill(np.float32(1))
    slope, centre = fill(neuron.slope), fill(neuron.centre)
    scale, none = fill(drop.scale), fill(np.float32(0))
    kept_TF = kept_BGTF[strip.b, strip.tile]
    grad = grad_beta = none
    for t in range(len(membranes_TL) - 1, -1, -1):
        distance = one + slope * absolute(load_row(membranes_TL, t) - centre)
        grad = load_row(grad_spikes_TL, t) / (distance * distance) + beta * grad
        if len(grad_membrane_TBP) > 0:
            row = t * strip.batch + strip.b
            grad = grad + load(grad_membrane_TBP, row * grad_membrane_TBP.shape[2] + strip.first)
        if len(grad_beta_BP) > 0 and t > 0:
            grad_beta = grad_beta + grad * load_row(membranes_TL, t - 1)
        if drop.active:
            kept = from_bits(kept_TF[t, strip.part])
            store_row(membranes_TL, t, select(kept, grad * scale, none))
        else:
            store_row(membranes_TL, t, grad)
    if len(grad_beta_BP) > 0:
        store(grad_beta_BP, strip.b * grad_beta_BP.shape[1] + strip.first, grad_beta)


@njit(forceinline=True)
def spike_gradients(source, strip, grad_spikes_TL):
    """Gradients of the strip's spikes from what is above; a convolution's come for a whole sample, see `scan`.

    A dense layer's are sum over m of grad[t, m] weight[m]: four steps at a time share a loaded weight.
    """
    steps = len(grad_spikes_TL)
    if len(source.constant_BP) > 0:
        for t in range(steps):
            first = strip.b * source.constant_BP.shape[1] + strip.first
            store_row(grad_spikes_TL, t, load(source.constant_BP, first))
        return
    grads_TM = source.dense_BTM[strip.b]
    weights_ML = source.weights_FML[strip.first // LANES]
    for t in range(0, steps - 3, 4):
        sum0 = sum1 = sum2 = sum3 = fill(np.float32(0))
        for m in range(len(weights_ML)):
            weights = load(weights_ML, m * LANES)
            sum0 = multiply_add(grads_TM[t, m], weights, sum0)
            sum1 = multiply_add(grads_TM[t + 1, m], weights, sum1)
            sum2 = multiply_add(grads_TM[t + 2, m], weights, sum2)
            sum3 = multiply_add(grads_TM[t + 3, m], weights, sum3)
        store_row(grad_spikes_TL, t, sum0)
        store_row(grad_spikes_TL, t + 1, sum1)
        store_row(grad_spikes_TL, t + 2, sum2)
        store_row(grad_spikes_TL, t + 3, sum3)
    for t in range(steps - steps % 4, steps):
        total = fill(np.float32(0))
        for m in range(len(weights_ML)):
            total = multiply_add(grads_TM[t, m], load(weights_ML, m * LANES), total)
        store_row(grad_spikes_TL, t, total)
    if len(source.delay_P) > 0:
        _back_to_departure(source.delay_P, strip, grad_spikes_TL)


@njit(forceinline=True)
def _back_to_departure(delay_P, strip, grad_spikes_TL):
    """Gradients of spikes as they arrive become those of spikes as they are fired, in place."""
    steps = len(grad_spikes_TL)
    for lane in range(strip.width):
        delay = delay_P[strip.first + lane]
        for t in range(steps):
            arrives = t + delay
            grad_spikes_TL[t, lane] = grad_spikes_TL[arrives, lane] if arrives < steps else np.float32(0)


@njit(forceinline=True)
def copy_out(values_TL, strip, target_TN):
    """The strip's values into their places of a sample's array."""
    if strip.width == LANES:
        target_TL = target_TN[:, strip.first : strip.first + LANES]
        for t in range(len(values_TL)):
            store_row(target_TL, t, load_row(values_TL, t))
    else:
        for t in range(len(values_TL)):
            for neuron in range(strip.width):
                target_TN[t, strip.first + neuron] = values_TL[t, neuron]
