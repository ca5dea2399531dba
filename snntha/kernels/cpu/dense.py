"""Dense layers on the CPU (numba): for each event add a row of the weight matrix, then integrate and fire.

The sums of a tile's weights, in int8 for +-1 weights, are kept for the backward pass, currents and membranes exist only
for the strip and sample at work. The backward pass computes the membranes again, walks back through time, and adds to
the strip's weight gradient with the sample's events sorted by input, so that a sum stays in registers.
"""

import math

import numpy as np
from numba import njit

from snntha.kernels.cpu.conv import Above
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu.strip import (
    STRIPS,
    DropoutConstants,
    GradientSource,
    LayerOutput,
    NeuronConstants,
    beta_gradient,
    channels_last_order,
    copy_out,
    empty_beta_gradient,
    empty_kept,
    integrate_again,
    integrate_and_fire,
    integrate_back,
    pad_to_tiles,
    spike_gradients,
    strip_at,
    strip_count,
    tile_count,
)
from snntha.kernels.cpu.sums import add_rows, add_steps
from snntha.kernels.cpu.threads import run
from snntha.kernels.cpu.vector import (
    LANES,
    PAIR,
    TILE,
    at,
    load,
    load_pair,
    store,
    zero_tile,
)
from snntha.kernels.cpu.workspace import workspace
from snntha.kernels.spec import Dropout
from snntha.layers import LayerSpec
from snntha.neuron import Neuron

EXACT_INT8 = 127  # so many weights of +-1 fit into an int8 sum
BACKWARD_TASKS = 16  # where there are fewer strips, samples are split into blocks with gradients of their own
TRANSPOSED = 64  # inputs whose gradients are written at once, so that they are read from the fastest cache


@njit(cache=True, nogil=True)
def _forward(
    first_task,
    end_task,
    events,
    weights_GIJ,
    bias_P,
    sums_BGTJ,
    neuron,
    drop,
    kept_BGTF,
    bits_BGTF,
    count_BP,
    membrane_TBN,
):
    """Tasks are (tile, sample). membrane_TBN is filled if it has any steps."""
    batch, _, steps, _ = sums_BGTJ.shape
    neurons = membrane_TBN.shape[2]
    work_TL = np.empty((steps, LANES), np.float32)
    for task in range(first_task, end_task):
        tile, b = task // batch, task % batch
        add_events(events, weights_GIJ[tile], b, sums_BGTJ[b, tile])
        for number in range(tile * STRIPS, min((tile + 1) * STRIPS, (neurons + LANES - 1) // LANES)):
            strip = strip_at(number, b, batch, neurons)
            currents_TL, bias = _strip_sums(sums_BGTJ, strip), load(bias_P, strip.first)
            integrate_and_fire(currents_TL, bias, work_TL, neuron, drop, strip, kept_BGTF, bits_BGTF, count_BP)
            if len(membrane_TBN) > 0:
                copy_out(work_TL, strip, membrane_TBN[:, b])


@njit(cache=True, nogil=True)
def _backward(
    first_task,
    end_task,
    events,
    sums_BGTJ,
    bias_P,
    neuron,
    drop,
    kept_BGTF,
    source,
    order_I,
    grad_weight_ANI,
    grad_bias_AN,
    grad_current_BTN,
    grad_beta_BP,
):
    """Tasks are (pair of strips, block a of samples). The last two are filled if they have any samples."""
    blocks, neurons, inputs = grad_weight_ANI.shape
    batch, _, steps, _ = sums_BGTJ.shape
    strips = (neurons + LANES - 1) // LANES
    work_TD = np.zeros((steps, PAIR), np.float32)
    grad_spikes_TL = np.empty((steps, LANES), np.float32)
    for task in range(first_task, end_task):
        pair, block = task // blocks, task % blocks
        grad_ID = np.zeros((inputs, PAIR), np.float32)
        grad_D = np.zeros((1, PAIR), np.float32)
        for b in range(batch * block // blocks, batch * (block + 1) // blocks):
            for number in range(2 * pair, min(2 * pair + 2, strips)):
                strip = strip_at(number, b, batch, neurons)
                work_TL = work_TD[:, number % 2 * LANES : (number % 2 + 1) * LANES]
                currents_TL, bias = _strip_sums(sums_BGTJ, strip), load(bias_P, strip.first)
                integrate_again(currents_TL, bias, work_TL, neuron, drop, strip, kept_BGTF)
                spike_gradients(source, strip, grad_spikes_TL)
                integrate_back(
                    work_TL, grad_spikes_TL, source.membrane_TBP, neuron, drop, strip, kept_BGTF, grad_beta_BP
                )
                if len(grad_current_BTN) > 0:
                    copy_out(work_TL, strip, grad_current_BTN[b])
            add_gradients(events, b, work_TD, grad_ID, grad_D)
        first, width = pair * PAIR, min(PAIR, neurons - pair * PAIR)
        write_gradients(grad_ID, order_I, grad_weight_ANI[block, first : first + width])
        for number in range(width):
            grad_bias_AN[block, first + number] = grad_D[0, number]


@njit(forceinline=True)
def add_events(events, weights_IJ, b, sums_TJ):
    """Sums of the weights of each step's events; EXACT_INT8 events at a time in the weights' dtype."""
    first_T = events.first_BT[b]
    for t in range(len(sums_TJ)):
        first, end = at(first_T, t), at(first_T, t + 1)
        total = add_rows(events.inputs, first, end, 0, weights_IJ, EXACT_INT8, zero_tile(sums_TJ), sums_TJ)
        store(sums_TJ, t * TILE, total)


@njit(forceinline=True)
def _strip_sums(sums_BGTJ, strip):
    """The strip's part of a tile's sums."""
    return sums_BGTJ[strip.b, strip.tile][:, strip.part * LANES : (strip.part + 1) * LANES]


@njit(forceinline=True)
def add_gradients(events, b, grad_currents_TD, grad_ID, grad_D):
    """For each input add the current gradients of the steps at which it fired; for the bias those of all steps."""
    first_I = events.first_BI[b]
    for i in range(len(first_I) - 1):
        first, end = at(first_I, i), at(first_I, i + 1)
        if first < end:
            total = add_steps(events.step, first, end, grad_currents_TD, load_pair(grad_ID, i * PAIR))
            store(grad_ID, i * PAIR, total)
    total = load_pair(grad_D, 0)
    for t in range(len(grad_currents_TD)):
        total = total + load_pair(grad_currents_TD, t * PAIR)
    store(grad_D, 0, total)


@njit(forceinline=True)
def write_gradients(grad_ID, order_I, grad_weight_NI):
    """The pair's rows of the weight gradient, inputs in the order of the weights."""
    neurons, inputs = grad_weight_NI.shape
    for start in range(0, inputs, TRANSPOSED):
        for neuron in range(neurons):
            for i in range(start, min(start + TRANSPOSED, inputs)):
                grad_weight_NI[neuron, order_I[i]] = grad_ID[i, neuron]


@njit(cache=True, nogil=True)
def pack(first_tile, end_tile, weight_NI, order_I, weights_GIJ):
    """Cut the weights into tiles of neurons, inputs in the order of the events; what is missing in the last is 0."""
    neurons, inputs = weight_NI.shape
    for tile in range(first_tile, end_tile):
        for strip in range(TILE):
            neuron = tile * TILE + strip
            for i in range(inputs):
                weights_GIJ[tile, i, strip] = weight_NI[neuron, order_I[i]] if neuron < neurons else 0


class DenseLayer:
    """One dense layer in one minibatch, and what its backward pass needs.

    Args:
        spec: its row.
        weight_NI: float32, inputs ordered as PyTorch flattens (C, H, W).
        bias_N: float32; None: without.
        neuron: with the threshold of this minibatch.
        drop: of the currents; None: without.
        number: of the layer, from 0 at the input.
        learns_beta: whether `backward` gives the gradient of each neuron's beta.
    """

    patterns_from = math.inf

    def __init__(
        self,
        spec: LayerSpec,
        weight_NI: np.ndarray,
        bias_N: np.ndarray | None,
        neuron: Neuron,
        drop: Dropout | None,
        number: int,
        *,
        learns_beta: bool = False,
    ):
        neurons, inputs = weight_NI.shape
        self.neurons = neurons
        self.number, self.learns_beta = number, learns_beta
        self.keeps_currents = number > 0  # their gradients, for the layer below
        self.order_I = channels_last_order(spec.input_shape)
        self.neuron, self.drop = NeuronConstants.of(neuron, neurons), DropoutConstants.of(drop)
        self.weight_NI = np.ascontiguousarray(weight_NI)
        self.weights_GIJ = np.empty((tile_count(neurons), inputs, TILE), np.int8 if spec.binary else np.float32)
        run(pack, len(self.weights_GIJ), self.weight_NI, self.order_I, self.weights_GIJ)
        self.bias_P = pad_to_tiles(np.zeros(neurons, np.float32) if bias_N is None else bias_N)

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Integrate the events and fire."""
        fired = self.begin(spikes, membrane)
        run(
            _forward,
            spikes.batch * len(self.weights_GIJ),
            spikes.events,
            self.weights_GIJ,
            self.bias_P,
            self.sums_BGTJ,
            self.neuron,
            self.drop,
            self.kept_BGTF,
            *fired,
        )
        return fired

    def begin(self, spikes: Spikes, membrane: bool) -> LayerOutput:
        """Take the buffers of a forward pass."""
        self.spikes = spikes
        size = spikes.time_steps, spikes.batch, self.neurons
        shape_BGTJ = spikes.batch, len(self.weights_GIJ), spikes.time_steps, TILE
        dtype = _sum_dtype(self.weights_GIJ, spikes.fullest_step)
        self.sums_BGTJ = workspace.take(f"{self.number} sums", shape_BGTJ, dtype)
        self.kept_BGTF = empty_kept(self.drop, *size, self.number)
        return LayerOutput.empty(*size, membrane, self.number)

    def backward(self, source: Above) -> dict[str, np.ndarray]:
        """Gradients of weight and bias; those of the currents are kept where `keeps_currents`."""
        assert isinstance(source, GradientSource), "no convolution is above a dense layer"
        spikes, neurons, inputs = self.spikes, self.neurons, len(self.order_I)
        events = spikes.by_input()
        blocks = max(1, min(spikes.batch, BACKWARD_TASKS // strip_count(neurons)))
        grad_weight_ANI = np.empty((blocks, neurons, inputs), np.float32)
        grad_bias_AN = np.empty((blocks, neurons), np.float32)
        grad_beta_BP = empty_beta_gradient(self.learns_beta, spikes.batch, neurons)
        kept_samples = spikes.batch if self.keeps_currents else 0
        self.grad_BTN = np.empty((kept_samples, spikes.time_steps, neurons), np.float32)
        run(
            _backward,
            -(-neurons // PAIR) * blocks,
            events,
            self.sums_BGTJ,
            self.bias_P,
            self.neuron,
            self.drop,
            self.kept_BGTF,
            source,
            self.order_I,
            grad_weight_ANI,
            grad_bias_AN,
            self.grad_BTN,
            grad_beta_BP,
        )
        workspace.give("steps", events.step)
        gradients = {"weight": sum_blocks(grad_weight_ANI), "bias_N": sum_blocks(grad_bias_AN)}
        return gradients | beta_gradient(grad_beta_BP, neurons, neurons)

    def gradient_source(self) -> GradientSource:
        """What the layer below needs after this one's `backward`: the weights are cut into strips of its neurons."""
        return GradientSource(dense_BTM=self.grad_BTN, weights_FML=in_strips(self.weight_NI[:, self.order_I]))

    def release(self) -> None:
        self.spikes.release()
        workspace.give(f"{self.number} sums", self.sums_BGTJ)
        workspace.give(f"{self.number} kept", self.kept_BGTF)


def in_strips(weight_MN: np.ndarray) -> np.ndarray:
    """weights_FML of `strip.GradientSource`: the weights of neurons M, those of a strip of inputs N side by side."""
    weight_MP = pad_to_tiles(weight_MN)
    return np.ascontiguousarray(weight_MP.reshape(len(weight_MN), -1, LANES).transpose(1, 0, 2))


def _sum_dtype(weights_GIJ: np.ndarray, most: int) -> type[np.generic]:
    """The narrower of two integer dtypes that holds sums of that many +-1 weights; float32 for float weights."""
    if weights_GIJ.dtype != np.int8:
        return np.float32
    return np.int8 if most <= EXACT_INT8 else np.int32


def sum_blocks(parts: np.ndarray) -> np.ndarray:
    """Blocks of samples added in their order, however many threads computed them."""
    return parts[0] if len(parts) == 1 else parts.sum(0)
