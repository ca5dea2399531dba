"""Dense layers on the CPU (numba): for each event add a row of the weight matrix, then integrate and fire.

A task owns a tile of neurons. Its weights, (inputs, TILE) in int8 for +-1 weights, stay in the cache; currents and
membranes exist only for the tile and sample at work. The backward pass computes the membranes again, walks back through
time, and adds to the tile's weight gradient with the sample's events sorted by input, so that a sum stays in registers.
"""

import numpy as np
from numba import njit, prange
from torch import Tensor

from snntha.kernels.events import Rows, by_input
from snntha.kernels.spec import Layer
from snntha.kernels.tile import (
    Above,
    Cell,
    Fired,
    Mask,
    channels_last_order,
    copy_out,
    integrate_and_fire,
    integrate_back,
    pad_to_tiles,
    place_of,
    spread,
    tile_count,
)
from snntha.kernels.vector import TILE, load_tile, store, to_float, zero_tile
from snntha.kernels.workspace import workspace

EXACT_INT8 = 127  # so many weights of +-1 fit into an int8 sum
BACKWARD_TASKS = 16  # where there are fewer tiles, samples are split into blocks with gradients of their own


@njit(parallel=True, cache=True, nogil=True)
def _forward(indptr, index, weights_KIJ, bias_P, cell, mask, words_BKT, count_BP, membrane_TBN):
    """Tasks are (sample, tile). membrane_TBN is filled if it has any steps."""
    batch, tiles, steps = words_BKT.shape
    for task in prange(batch * tiles):
        b, tile = task // tiles, task % tiles
        place = place_of(tile, b, batch, membrane_TBN.shape[2])
        currents_TJ = np.empty((steps, TILE), np.float32)
        count_J = count_BP[b, tile * TILE : (tile + 1) * TILE]
        _add_events(indptr, index, weights_KIJ, bias_P, place, currents_TJ)
        integrate_and_fire(currents_TJ, cell, mask, place, words_BKT[b, tile], count_J)
        if len(membrane_TBN) > 0:
            copy_out(currents_TJ, place, membrane_TBN)


@njit(parallel=True, cache=True, nogil=True)
def _backward(
    indptr,
    index,
    first_BI,
    step,
    weights_KIJ,
    bias_P,
    cell,
    mask,
    above,
    order_I,
    grad_weight_SNI,
    grad_bias_SN,
    grad_current_TBN,
):
    """Tasks are (tile, block s of samples). grad_current_TBN is filled if it has any steps."""
    blocks, neurons, inputs = grad_weight_SNI.shape
    batch = len(first_BI)
    steps = (len(indptr) - 1) // batch
    for task in prange(len(weights_KIJ) * blocks):
        tile, block = task // blocks, task % blocks
        work_TJ = np.empty((steps, TILE), np.float32)
        grad_spikes_TJ = np.empty((steps, TILE), np.float32)
        grad_IJ = np.zeros((inputs, TILE), np.float32)
        grad_J = np.zeros((1, TILE), np.float32)
        words_T = np.empty(steps, np.uint64)
        count_J = np.zeros(TILE, np.int32)
        for b in range(batch * block // blocks, batch * (block + 1) // blocks):
            place = place_of(tile, b, batch, neurons)
            _add_events(indptr, index, weights_KIJ, bias_P, place, work_TJ)
            integrate_and_fire(work_TJ, cell, mask, place, words_T, count_J)
            spread(above, place, grad_spikes_TJ)
            integrate_back(work_TJ, grad_spikes_TJ, above.membrane_TBP, cell, mask, place)
            if len(grad_current_TBN) > 0:
                copy_out(work_TJ, place, grad_current_TBN)
            _add_gradients(first_BI[b], step, work_TJ, grad_IJ, grad_J)
        for neuron in range(min(TILE, neurons - tile * TILE)):
            for i in range(inputs):
                grad_weight_SNI[block, tile * TILE + neuron, order_I[i]] = grad_IJ[i, neuron]
            grad_bias_SN[block, tile * TILE + neuron] = grad_J[0, neuron]


@njit(forceinline=True)
def _add_events(indptr, index, weights_KIJ, bias_P, place, currents_TJ):
    """currents = sum of the weights of the step's events, + bias; EXACT_INT8 events at a time in the weights' dtype."""
    weights_IJ = weights_KIJ[place.first // TILE]
    for t in range(len(currents_TJ)):
        row = t * place.batch + place.b
        total = zero_tile(bias_P)
        for start in range(indptr[row], indptr[row + 1], EXACT_INT8):
            part = zero_tile(weights_IJ)
            for event in range(start, min(start + EXACT_INT8, indptr[row + 1])):
                part = part + load_tile(weights_IJ, np.intp(index[event]) * TILE)
            total = total + to_float(part)
        store(currents_TJ, t * TILE, total + load_tile(bias_P, place.first))


@njit(forceinline=True)
def _add_gradients(first_I, step, grad_currents_TJ, grad_IJ, grad_J):
    """For each input add the current gradients of the steps at which it fired; for the bias those of all steps."""
    for i in range(len(grad_IJ)):
        total = load_tile(grad_IJ, i * TILE)
        for event in range(first_I[i], first_I[i + 1]):
            total = total + load_tile(grad_currents_TJ, np.intp(step[event]) * TILE)
        store(grad_IJ, i * TILE, total)
    total = load_tile(grad_J, 0)
    for t in range(len(grad_currents_TJ)):
        total = total + load_tile(grad_currents_TJ, t * TILE)
    store(grad_J, 0, total)


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
        self.first = number == 0
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
        fired = Fired.empty(rows.time_steps, rows.batch, self.neurons, membrane)
        _forward(rows.indptr, rows.index, self.weights_KIJ, self.bias_P, self.cell, self.mask, *fired)
        return fired

    def backward(self, above: Above) -> list[np.ndarray]:
        """Gradients of `tensors`; those of the currents stay for `above` unless this is the first layer."""
        rows, neurons, inputs = self.rows, self.neurons, len(self.order_I)
        first_BI, step = by_input(rows, inputs)
        blocks = max(1, min(rows.batch, BACKWARD_TASKS // len(self.weights_KIJ)))
        grad_weight_SNI = np.empty((blocks, neurons, inputs), np.float32)
        grad_bias_SN = np.empty((blocks, neurons), np.float32)
        kept_steps = 0 if self.first else rows.time_steps
        self.grad_TBN = np.empty((kept_steps, rows.batch, neurons), np.float32)
        _backward(
            rows.indptr,
            rows.index,
            first_BI,
            step,
            self.weights_KIJ,
            self.bias_P,
            self.cell,
            self.mask,
            above,
            self.order_I,
            grad_weight_SNI,
            grad_bias_SN,
            self.grad_TBN,
        )
        workspace.give("steps", step)
        return [_sum_blocks(grad_weight_SNI), _sum_blocks(grad_bias_SN)]

    def above(self) -> Above:
        """What the layer below needs after this one's `backward`: the weights are cut into tiles of its neurons."""
        weights_MP = pad_to_tiles(self.weight_NI[:, self.order_I])
        weights_KMJ = np.ascontiguousarray(weights_MP.reshape(self.neurons, -1, TILE).transpose(1, 0, 2))
        return Above(dense_TBM=self.grad_TBN, weights_KMJ=weights_KMJ)

    def release(self) -> None:
        self.rows.release()


def _sum_blocks(parts: np.ndarray) -> np.ndarray:
    """Blocks of samples added in their order, however many threads computed them."""
    return parts[0] if len(parts) == 1 else parts.sum(0)
