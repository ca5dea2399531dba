"""Dense layers on the CPU (numba): for each event add a row of the weight matrix, then integrate and fire.

The sums of a tile's weights, in int8 for +-1 weights, are kept for the backward pass, currents and membranes exist only
for the strip and sample at work. The backward pass computes the membranes again, walks back through time, and adds to
the strip's weight gradient with the sample's events sorted by input, so that a sum stays in registers.
"""

import numpy as np
from numba import njit, prange
from torch import Tensor

from snntha.kernels.events import Rows, by_input, by_sample
from snntha.kernels.spec import Layer
from snntha.kernels.tile import (
    STRIPS,
    Above,
    Cell,
    Fired,
    Mask,
    channels_last_order,
    copy_out,
    empty_kept,
    integrate_again,
    integrate_and_fire,
    integrate_back,
    pad_to_tiles,
    place_of,
    spread,
    strip_count,
    tile_count,
)
from snntha.kernels.vector import (
    LANES,
    PAIR,
    TILE,
    at,
    load,
    load_pair,
    load_tile,
    store,
    to_dtype,
    zero_tile,
)
from snntha.kernels.workspace import workspace

EXACT_INT8 = 127  # so many weights of +-1 fit into an int8 sum
BACKWARD_TASKS = 16  # where there are fewer strips, samples are split into blocks with gradients of their own
TRANSPOSED = 64  # inputs whose gradients are written at once, so that they are read from the fastest cache


@njit(parallel=True, cache=True, nogil=True)
def _forward(events, weights_KIJ, bias_P, sums_BKTJ, cell, mask, kept_BKTR, bits_BKTR, count_BP, membrane_TBN):
    """Tasks are (tile, sample). membrane_TBN is filled if it has any steps."""
    batch, tiles, steps, _ = sums_BKTJ.shape
    neurons = membrane_TBN.shape[2]
    for task in prange(tiles * batch):
        tile, b = task // batch, task % batch
        work_TL = np.empty((steps, LANES), np.float32)
        _add_events(events, weights_KIJ[tile], b, sums_BKTJ[b, tile])
        for strip in range(tile * STRIPS, min((tile + 1) * STRIPS, (neurons + LANES - 1) // LANES)):
            place = place_of(strip, b, batch, neurons)
            currents_TL, bias = _strip_sums(sums_BKTJ, place), load(bias_P, place.first)
            integrate_and_fire(currents_TL, bias, work_TL, cell, mask, place, kept_BKTR, bits_BKTR, count_BP)
            if len(membrane_TBN) > 0:
                copy_out(work_TL, place, membrane_TBN[:, b])


@njit(parallel=True, cache=True, nogil=True)
def _backward(
    events,
    sums_BKTJ,
    bias_P,
    cell,
    mask,
    kept_BKTR,
    above,
    order_I,
    grad_weight_ANI,
    grad_bias_AN,
    grad_current_BTN,
):
    """Tasks are (pair of strips, block a of samples). grad_current_BTN is filled if it has any samples."""
    blocks, neurons, inputs = grad_weight_ANI.shape
    batch, _, steps, _ = sums_BKTJ.shape
    strips = (neurons + LANES - 1) // LANES
    for task in prange((strips + 1) // 2 * blocks):
        pair, block = task // blocks, task % blocks
        work_TW = np.zeros((steps, PAIR), np.float32)
        grad_spikes_TL = np.empty((steps, LANES), np.float32)
        grad_IW = np.zeros((inputs, PAIR), np.float32)
        grad_W = np.zeros((1, PAIR), np.float32)
        for b in range(batch * block // blocks, batch * (block + 1) // blocks):
            for strip in range(2 * pair, min(2 * pair + 2, strips)):
                place = place_of(strip, b, batch, neurons)
                work_TL = work_TW[:, strip % 2 * LANES : (strip % 2 + 1) * LANES]
                currents_TL, bias = _strip_sums(sums_BKTJ, place), load(bias_P, place.first)
                integrate_again(currents_TL, bias, work_TL, cell, mask, place, kept_BKTR)
                spread(above, place, grad_spikes_TL)
                integrate_back(work_TL, grad_spikes_TL, above.membrane_TBP, cell, mask, place, kept_BKTR)
                if len(grad_current_BTN) > 0:
                    copy_out(work_TL, place, grad_current_BTN[b])
            _add_gradients(events, b, work_TW, grad_IW, grad_W)
        first, width = pair * PAIR, min(PAIR, neurons - pair * PAIR)
        _write_gradients(grad_IW, order_I, grad_weight_ANI[block, first : first + width])
        grad_bias_AN[block, first : first + width] = grad_W[0, :width]


@njit(forceinline=True)
def _add_events(events, weights_IJ, b, sums_TJ):
    """Sums of the weights of each step's events; EXACT_INT8 events at a time in the weights' dtype."""
    first_T = events.first_BT[b]
    for t in range(len(sums_TJ)):
        total = zero_tile(sums_TJ)
        event, end = at(first_T, t), at(first_T, t + 1)
        while event < end:
            part = zero_tile(weights_IJ)
            stop = min(event + EXACT_INT8, end)
            for position in range(event, stop):
                part = part + load_tile(weights_IJ, at(events.inputs, position) * TILE)
            total = total + to_dtype(part, sums_TJ)
            event = stop
        store(sums_TJ, t * TILE, total)


@njit(forceinline=True)
def _strip_sums(sums_BKTJ, place):
    """The strip's part of a tile's sums."""
    return sums_BKTJ[place.b, place.tile][:, place.part * LANES : (place.part + 1) * LANES]


@njit(forceinline=True)
def _add_gradients(events, b, grad_currents_TW, grad_IW, grad_W):
    """For each input add the current gradients of the steps at which it fired; for the bias those of all steps."""
    first_I, order_I = events.first_BI[b], events.order_BI[b]
    for position in range(len(order_I)):
        i = at(order_I, position)
        total = load_pair(grad_IW, i * PAIR)
        for event in range(at(first_I, i), at(first_I, i + 1)):
            total = total + load_pair(grad_currents_TW, at(events.step, event))
        store(grad_IW, i * PAIR, total)
    total = load_pair(grad_W, 0)
    for t in range(len(grad_currents_TW)):
        total = total + load_pair(grad_currents_TW, t * PAIR)
    store(grad_W, 0, total)


@njit(forceinline=True)
def _write_gradients(grad_IW, order_I, grad_weight_NI):
    """The pair's rows of the weight gradient, inputs in the order of the weights."""
    neurons, inputs = grad_weight_NI.shape
    for start in range(0, inputs, TRANSPOSED):
        for neuron in range(neurons):
            for i in range(start, min(start + TRANSPOSED, inputs)):
                grad_weight_NI[neuron, order_I[i]] = grad_IW[i, neuron]


@njit(parallel=True, cache=True, nogil=True)
def _pack(weight_NI, order_I, weights_KIJ):
    """Cut the weights into tiles of neurons, inputs in the order of the events; what is missing in the last is 0."""
    neurons, inputs = weight_NI.shape
    for tile in prange(len(weights_KIJ)):
        for place in range(TILE):
            neuron = tile * TILE + place
            for i in range(inputs):
                weights_KIJ[tile, i, place] = weight_NI[neuron, order_I[i]] if neuron < neurons else 0


class DenseStage:
    """One dense layer in one minibatch, and what its backward pass needs."""

    def __init__(self, layer: Layer, number: int):
        neurons, inputs = layer.weight.shape
        self.tensors: list[Tensor | None] = [layer.weight, layer.bias_N]
        self.neurons = neurons
        self.number = number
        self.order_I = channels_last_order(layer.input_shape)
        self.cell, self.mask = Cell.of(layer.neuron), Mask.of(layer.dropout)
        self.weight_NI = np.ascontiguousarray(layer.weight.detach().numpy())
        self.weights_KIJ = np.empty((tile_count(neurons), inputs, TILE), np.int8 if layer.binary else np.float32)
        _pack(self.weight_NI, self.order_I, self.weights_KIJ)
        bias_N = np.zeros(neurons, np.float32) if layer.bias_N is None else layer.bias_N.detach().numpy()
        self.bias_P = pad_to_tiles(bias_N)

    def forward(self, rows: Rows, *, membrane: bool) -> Fired:
        """Integrate the events and fire."""
        self.rows = rows
        self.events = by_sample(rows, f"samples {self.number}")
        size = rows.time_steps, rows.batch, self.neurons
        shape_BKTJ = rows.batch, len(self.weights_KIJ), rows.time_steps, TILE
        self.sums_BKTJ = workspace.take(f"sums {self.number}", shape_BKTJ, _sum_dtype(self.weights_KIJ, rows))
        self.kept_BKTR = empty_kept(self.mask, *size, f"kept {self.number}")
        fired = Fired.empty(*size, membrane)
        _forward(
            self.events,
            self.weights_KIJ,
            self.bias_P,
            self.sums_BKTJ,
            self.cell,
            self.mask,
            self.kept_BKTR,
            *fired,
        )
        return fired

    def backward(self, above: Above) -> list[np.ndarray]:
        """Gradients of `tensors`; those of the currents stay for `above` unless this is the first layer."""
        rows, neurons, inputs = self.rows, self.neurons, len(self.order_I)
        events = by_input(self.events, inputs)
        blocks = max(1, min(rows.batch, BACKWARD_TASKS // strip_count(neurons)))
        grad_weight_ANI = np.empty((blocks, neurons, inputs), np.float32)
        grad_bias_AN = np.empty((blocks, neurons), np.float32)
        kept_samples = 0 if self.number == 0 else rows.batch
        self.grad_BTN = np.empty((kept_samples, rows.time_steps, neurons), np.float32)
        _backward(
            events,
            self.sums_BKTJ,
            self.bias_P,
            self.cell,
            self.mask,
            self.kept_BKTR,
            above,
            self.order_I,
            grad_weight_ANI,
            grad_bias_AN,
            self.grad_BTN,
        )
        workspace.give("steps", events.step)
        return [_sum_blocks(grad_weight_ANI), _sum_blocks(grad_bias_AN)]

    def above(self) -> Above:
        """What the layer below needs after this one's `backward`: the weights are cut into strips of its neurons."""
        weights_MP = pad_to_tiles(self.weight_NI[:, self.order_I])
        weights_RML = np.ascontiguousarray(weights_MP.reshape(self.neurons, -1, LANES).transpose(1, 0, 2))
        return Above(dense_BTM=self.grad_BTN, weights_RML=weights_RML)

    def release(self) -> None:
        self.rows.release()
        workspace.give(f"samples {self.number}", self.events.inputs)
        workspace.give(f"sums {self.number}", self.sums_BKTJ)
        workspace.give(f"kept {self.number}", self.kept_BKTR)


def _sum_dtype(weights_KIJ: np.ndarray, rows: Rows) -> type[np.generic]:
    """The narrower of two integer dtypes that holds the sums of +-1 weights; float32 for float weights."""
    if weights_KIJ.dtype != np.int8:
        return np.float32
    return np.int8 if int(np.diff(rows.indptr).max()) <= EXACT_INT8 else np.int32


def _sum_blocks(parts: np.ndarray) -> np.ndarray:
    """Blocks of samples added in their order, however many threads computed them."""
    return parts[0] if len(parts) == 1 else parts.sum(0)
