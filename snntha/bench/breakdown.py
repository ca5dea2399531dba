"""Where the time of a training step goes.

The kernels are fused, so parts are found as differences of medians. Each layer also runs alone, as a network of one
layer with the events that it really gets, and with none:

    scan         forward and backward pass of the layers alone, without events
    synapses     what events add to the forward pass of the layers alone
    weight grad  what events add to the backward pass of the layers alone, currents computed again included
    input grad   backward pass of the network less those of the layers alone
    optimizer    the step less forward and backward pass: clips, optimizer, thresholds
    rest         forward pass of the network less those of the layers alone: binarization, spikes into events, loss

Their sum is the step. As differences, small parts may come out slightly negative. For a static image the first layer's
synapse acts once, not at every step; an image of zeros does not spare that, so it counts as scan.
"""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from snntha.bench.cases import events_of
from snntha.bench.steps import OurStep
from snntha.bench.timing import median_seconds, seconds
from snntha.kernels.backend import run_network
from snntha.kernels.spec import Events, Layer, Static
from snntha.train import forward


@dataclass(frozen=True)
class _Pass:
    """Median seconds of a forward and of a backward pass."""

    forward: float
    backward: float


def part_seconds(step: OurStep, repeats: int) -> dict[str, float]:
    """Median seconds of each part, see above."""
    whole_step = median_seconds(step, repeats)
    network = _time_network(step, repeats)
    layers = [_detached(layer) for layer in step.network.layers(step.progress.thresholds)]
    inputs = _layer_inputs(step)
    busy, idle = [], []
    for layer, events in zip(layers, inputs, strict=True):
        busy.append(_time_layer(layer, events, step.network.config.backend, repeats))
        idle.append(_time_layer(layer, _emptied(events), step.network.config.backend, repeats))
    busy_forward, busy_backward = sum(p.forward for p in busy), sum(p.backward for p in busy)
    idle_forward, idle_backward = sum(p.forward for p in idle), sum(p.backward for p in idle)
    return {
        "synapses": busy_forward - idle_forward,
        "scan": idle_forward + idle_backward,
        "weight grad": busy_backward - idle_backward,
        "input grad": network.backward - busy_backward,
        "optimizer": whole_step - network.forward - network.backward,
        "rest": network.forward - busy_forward,
    }


def _time_network(step: OurStep, repeats: int) -> _Pass:
    parameters = list(step.network.parameters())

    def loss() -> Tensor:
        return forward(step.network, step.batch, step.progress.thresholds, step.progress.iteration)[0]

    return _time_passes(loss, parameters, repeats)


def _time_layer(layer: Layer, inputs: Events | Static, backend: str, repeats: int) -> _Pass:
    """A network of this layer alone; what is differentiated is the sum of its spikes."""
    trained = [tensor for tensor in (layer.weight, layer.bias_N) if tensor is not None]

    def spikes() -> Tensor:
        return run_network(inputs, [layer], backend=backend).spike_count_BN.sum()

    return _time_passes(spikes, trained, repeats)


def _time_passes(scalar: Callable[[], Tensor], trained: Sequence[Tensor], repeats: int) -> _Pass:
    """Forward pass to a scalar, and its gradients; one pass of each before them is not counted."""
    forwards, backwards, values = [], [], []
    for _ in range(repeats + 1):
        forwards.append(seconds(lambda: values.append(scalar())))
        backwards.append(seconds(lambda: torch.autograd.grad(values.pop(), trained)))
    return _Pass(statistics.median(forwards[1:]), statistics.median(backwards[1:]))


def _layer_inputs(step: OurStep) -> list[Events | Static]:
    """What each layer gets: the batch, then the spikes of the layer below."""
    with torch.no_grad():
        result = step.network(step.batch.inputs, step.progress.thresholds, record=True)
    inputs: list[Events | Static] = [step.batch.inputs]
    for record in result.layers[:-1]:
        assert record.spikes_TBX is not None
        inputs.append(events_of(record.spikes_TBX))
    return inputs


def _emptied(inputs: Events | Static) -> Events | Static:
    """The same size without an event, or a black image."""
    if isinstance(inputs, Static):
        return replace(inputs, image_BX=torch.zeros_like(inputs.image_BX))
    return replace(inputs, indptr=torch.zeros_like(inputs.indptr), index=inputs.index[:0])


def _detached(layer: Layer) -> Layer:
    """Weights as leaves of their own, so that only the kernels are timed."""
    bias_N = None if layer.bias_N is None else layer.bias_N.detach().requires_grad_()
    return replace(layer, weight=layer.weight.detach().requires_grad_(), bias_N=bias_N)
