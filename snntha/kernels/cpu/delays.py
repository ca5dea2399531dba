"""Dense layers whose inputs arrive later (numba): the lists of events are delayed, the rest is `dense.DenseLayer`.

The gradient of a delay, `reference.delayed`, is taken through the weights: with g = dL/dI of the layer's currents, what
the loss says of an arrival is e_i = sum over n of w_ni g_n, so that

    dL/dd_i = sum over n of w_ni h_ni,   h_ni = sum over the arrivals t of i of (g_n[t + 1] - g_n[t - 1]) / 2

and h is added up as the weight gradient is, event by event.
"""

import numpy as np
from numba import njit

from snntha.kernels.cpu.conv import Above
from snntha.kernels.cpu.dense import DenseLayer
from snntha.kernels.cpu.events import BySample, Spikes, list_bounds
from snntha.kernels.cpu.strip import GradientSource, LayerOutput, pad_to_tiles
from snntha.kernels.cpu.sums import add_steps
from snntha.kernels.cpu.threads import run
from snntha.kernels.cpu.vector import PAIR, at, load_pair, store
from snntha.kernels.cpu.workspace import workspace


class DelayedLayer:
    """A dense layer with a delay for each input.

    Args:
        layer: what receives the delayed spikes.
        delay_I: whole steps, inputs ordered as PyTorch flattens (C, H, W).
        learns: whether the delays get a gradient.
    """

    patterns_from = DenseLayer.patterns_from

    def __init__(self, layer: DenseLayer, delay_I: np.ndarray, *, learns: bool):
        self.layer = layer
        self.neurons = layer.neurons
        self.delay_I = np.rint(delay_I[layer.order_I]).astype(np.int64)
        self.learns = learns
        layer.keeps_currents |= learns

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Integrate the events when they arrive, and fire."""
        arrived = delayed(spikes, self.delay_I, f"{self.layer.number} arrived")
        spikes.release()
        return self.layer.forward(arrived, membrane=membrane)

    def backward(self, source: Above) -> dict[str, np.ndarray]:
        """Gradients of the layer, and of the delays."""
        gradients = self.layer.backward(source)
        if self.learns:
            gradients["delay_I"] = self._delay_gradient()
        return gradients

    def _delay_gradient(self) -> np.ndarray:
        layer, events = self.layer, self.layer.spikes.by_input()
        parts_AI = np.empty((-(-self.neurons // PAIR), len(layer.order_I)), np.float32)
        run(_delay_gradient, len(parts_AI), events, layer.grad_BTN, layer.weight_NI, layer.order_I, parts_AI)
        workspace.give("steps", events.step)
        grad_I = np.empty(len(layer.order_I), np.float32)
        grad_I[layer.order_I] = parts_AI.sum(0)
        return grad_I

    def gradient_source(self) -> GradientSource:
        """As without delays, and by how much each spike of the layer below arrived later."""
        delay_P = pad_to_tiles(self.delay_I).astype(np.int64)
        return self.layer.gradient_source()._replace(delay_P=delay_P)

    def release(self) -> None:
        self.layer.release()


def delayed(spikes: Spikes, delay_I: np.ndarray, name: str) -> Spikes:
    """The spikes as they arrive, under a name of their own; delay_I is int64, inputs in the order of the events."""
    count_BT = np.zeros((spikes.batch, spikes.time_steps), np.int64)
    run(_count_arrivals, spikes.batch, spikes.events, delay_I, count_BT)
    first_BT = list_bounds(count_BT, spare=0)
    inputs = workspace.take(f"{name} events", (int(first_BT[-1, -1]),), spikes.events.inputs.dtype)
    run(_list_arrivals, spikes.batch, spikes.events, delay_I, first_BT, inputs)
    return Spikes(spikes.time_steps, spikes.batch, spikes.inputs, BySample(first_BT, inputs), None, None, name)


@njit(cache=True, nogil=True)
def _count_arrivals(first_sample, end_sample, events, delay_I, count_BT):
    steps = count_BT.shape[1]
    for b in range(first_sample, end_sample):
        for t in range(steps):
            for event in range(events.first_BT[b, t], events.first_BT[b, t + 1]):
                arrives = t + delay_I[at(events.inputs, event)]
                if arrives < steps:
                    count_BT[b, arrives] += 1


@njit(cache=True, nogil=True)
def _list_arrivals(first_sample, end_sample, events, delay_I, first_BT, inputs):
    """Events of one step in the order in which they were fired."""
    steps = first_BT.shape[1] - 1
    for b in range(first_sample, end_sample):
        position_T = first_BT[b].copy()
        for t in range(steps):
            for event in range(events.first_BT[b, t], events.first_BT[b, t + 1]):
                i = at(events.inputs, event)
                arrives = t + delay_I[i]
                if arrives < steps:
                    inputs[position_T[arrives]] = i
                    position_T[arrives] += 1


@njit(cache=True, nogil=True)
def _delay_gradient(first_task, end_task, events, grad_BTN, weight_NI, order_I, parts_AI):
    """Tasks are pairs of strips, each with a part of the sum over neurons; inputs in the order of the events."""
    batch, steps, neurons = grad_BTN.shape
    inputs = len(order_I)
    slope_TD = np.zeros((steps, PAIR), np.float32)
    for task in range(first_task, end_task):
        first, width = task * PAIR, min(PAIR, neurons - task * PAIR)
        slope_TD[:] = 0
        sum_ID = np.zeros((inputs, PAIR), np.float32)
        for b in range(batch):
            for t in range(steps):
                for n in range(width):
                    later = grad_BTN[b, t + 1, first + n] if t + 1 < steps else np.float32(0)
                    earlier = grad_BTN[b, t - 1, first + n] if t > 0 else np.float32(0)
                    slope_TD[t, n] = np.float32(0.5) * (later - earlier)
            first_I = events.first_BI[b]
            for i in range(inputs):
                begin, end = at(first_I, i), at(first_I, i + 1)
                if begin < end:
                    store(sum_ID, i * PAIR, add_steps(events.step, begin, end, slope_TD, load_pair(sum_ID, i * PAIR)))
        for i in range(inputs):
            total = np.float32(0)
            for n in range(width):
                total += weight_NI[first + n, order_I[i]] * sum_ID[i, n]
            parts_AI[task, i] = total
