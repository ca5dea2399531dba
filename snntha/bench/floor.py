"""The least time that the arithmetic and the memory traffic of a training step allow on this machine.

Work is counted from the events and spikes of the batch itself, in operations on one float32 lane of a vector register:
an addition, a multiplication or a fused multiply-add is 1; an addition of +-1 weights in int8, four to a lane, 1/4.
Each part takes the longer of operations / peak rate and bytes / bandwidth, and the parts follow one another. The rates
are measured right here, with the threads of the run: half the flop rate of a large `torch.mm` (a fused multiply-add is
two flops), and the bytes that copying a large array reads and writes.

What an implementation could avoid is not counted: padding, sorting of events, packing of weights, allocation. The
backward pass needs the membranes of the forward pass: either they are written and read, or computed again, and the
cheaper one counts.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snntha.bench.steps import OurStep
from snntha.bench.timing import seconds
from snntha.kernels.spec import Events, Static
from snntha.topology import LayerShape
from snntha.train import forward

PARTS = ("synapses", "scan", "weight grad", "input grad", "optimizer")
INT8_LANES = 4  # per float32 lane
FORWARD_OPERATIONS = 6  # per neuron and step: decay, add, reset, compare, select, count
BACKWARD_OPERATIONS = 17  # distance 2, its square 2, division (as long as 10), decayed sum 2, and its slope 1
DROPOUT_OPERATIONS = 20  # ten of the hash, in the forward and in the backward pass
NORM_OPERATIONS = 7  # two sums and a scaling forward, two sums and two scalings backward
FLOAT_BYTES = 4
ADAM_FLOATS = 7  # a parameter's value, gradient and two moments are read, all but the gradient written
SGD_FLOATS = 5  # the same with one moment
CLIP_FLOATS = 2  # read and written
MATRIX = 1536  # rows and columns of the product that measures the flop rate
COPY_BYTES = 2**28  # larger than any cache
TRIALS = 5


@dataclass(frozen=True)
class Peaks:
    """What the machine can do."""

    flops: float  # float32 per second
    bytes: float  # per second

    def seconds(self, operations: float, traffic: float = 0.0) -> float:
        """Time of lane operations and bytes that overlap perfectly."""
        return max(2 * operations / self.flops, traffic / self.bytes)


def measure_peaks() -> Peaks:
    """The best of a few short trials of each."""
    factor = torch.rand(MATRIX, MATRIX)
    product = torch.empty_like(factor)
    source = torch.ones(COPY_BYTES // FLOAT_BYTES)
    target = torch.zeros_like(source)
    multiply = min(seconds(lambda: torch.mm(factor, factor, out=product)) for _ in range(TRIALS))
    copy = min(seconds(lambda: target.copy_(source)) for _ in range(TRIALS))
    return Peaks(flops=2 * MATRIX**3 / multiply, bytes=2 * COPY_BYTES / copy)


@dataclass(frozen=True)
class Activity:
    """What flows into and out of one layer during a minibatch."""

    events_X: Tensor | None  # how often each input fired, in the shape of the input; None: a static image
    steps: int  # time steps times samples
    batch: int


def activity(step: OurStep) -> tuple[list[Activity], list[float]]:
    """Counted in one forward pass of the network as it is; also spikes per neuron and step of each layer."""
    inputs = step.batch.inputs
    with torch.no_grad():
        _, result = forward(step.network, step.batch, step.progress.thresholds, iteration=0)
    counts: list[Tensor | None] = [None if isinstance(inputs, Static) else _events_of_input(inputs)]
    for layer, spec in zip(result.layers[:-1], step.network.specs, strict=False):
        counts.append(layer.spike_count_N.view(spec.output_shape))
    steps = inputs.time_steps * inputs.batch
    rates = [float(layer.spike_count_N.double().mean()) / steps for layer in result.layers]
    return [Activity(count, steps, inputs.batch) for count in counts], rates


def floor_seconds(step: OurStep, flows: list[Activity], peaks: Peaks) -> dict[str, float]:
    """Least time of each part of a training step; the floor is their sum."""
    parts: dict[str, float] = dict.fromkeys(PARTS, 0.0)
    for number, (spec, flow) in enumerate(zip(step.network.specs, flows, strict=True)):
        additions = synapse_additions(spec, flow)
        lanes = INT8_LANES if spec.binary and flow.events_X is not None else 1
        neuron_steps = flow.steps * spec.neurons
        integrate = neuron_steps * FORWARD_OPERATIONS
        if spec.dropout > 0:
            integrate += neuron_steps * DROPOUT_OPERATIONS
        if spec.batch_norm:
            integrate += (neuron_steps if flow.events_X is not None else flow.batch * spec.neurons) * NORM_OPERATIONS
        again = integrate + (additions / lanes if flow.events_X is not None else 0)
        kept = 2 * FLOAT_BYTES * neuron_steps

        parts["synapses"] += peaks.seconds(additions / lanes, spec.weights)
        parts["scan"] += peaks.seconds(integrate + neuron_steps * BACKWARD_OPERATIONS)
        parts["scan"] += min(peaks.seconds(again), peaks.seconds(0, kept))
        parts["weight grad"] += peaks.seconds(additions, FLOAT_BYTES * spec.weights)
        if number > 0:
            parts["input grad"] += peaks.seconds(flow.steps * gradient_products(spec))
    parts["optimizer"] += peaks.seconds(0, FLOAT_BYTES * _parameter_floats(step))
    return parts


def synapse_additions(shape: LayerShape, flow: Activity) -> float:
    """Weights that the events of a batch add to currents; convolution and pooling count as one kernel."""
    if flow.events_X is None:
        return flow.batch * dense_products(shape)
    if shape.kind == "dense":
        return float(flow.events_X.sum()) * shape.neurons
    _, height, width = shape.input_shape
    filters, out_height, out_width = shape.output_shape
    rows_H = _reach(height, out_height, shape)
    columns_W = _reach(width, out_width, shape)
    return float((flow.events_X * rows_H[:, None] * columns_W).sum()) * filters


def dense_products(shape: LayerShape) -> float:
    """Multiply-adds of one step of one sample if every input counts."""
    if shape.kind == "dense":
        return shape.inputs * shape.neurons
    return shape.neurons * shape.input_shape[0] * _taps(shape) ** 2


def gradient_products(shape: LayerShape) -> float:
    """Multiply-adds of one step of one sample from gradients of currents to those of inputs: before the pooling is
    folded in, a kernel has fewer taps, and inputs of a pool share what it adds up."""
    if shape.kind == "dense":
        return shape.inputs * shape.neurons
    return shape.neurons * shape.input_shape[0] * shape.kernel**2


def _reach(extent: int, outputs: int, shape: LayerShape) -> Tensor:
    """Along one axis, how many outputs each input position reaches."""
    offset = torch.arange(extent)[:, None] - torch.arange(outputs) * shape.pool
    return ((offset >= 0) & (offset < _taps(shape))).sum(1)


def _taps(shape: LayerShape) -> int:
    """Side of the kernel with the pooling folded in."""
    return shape.kernel + shape.pool - 1


def _events_of_input(events: Events) -> Tensor:
    count_N = torch.bincount(events.index, minlength=math.prod(events.shape))
    if len(events.shape) == 1:
        return count_N
    channels, height, width = events.shape
    return count_N.view(height, width, channels).movedim(-1, 0)


def _parameter_floats(step: OurStep) -> float:
    """Floats that clips, optimizer and binarization move."""
    config = step.network.config
    moved = ADAM_FLOATS if config.optimizer.name == "adam" else SGD_FLOATS
    moved += 1  # the norm of the gradient
    moved += CLIP_FLOATS * ((config.hparams.grad_clip is not None) + (config.hparams.weight_clip is not None))
    moved += config.mode.binarize  # the latent weight is read once more
    return moved * sum(parameter.numel() for parameter in step.network.parameters())
