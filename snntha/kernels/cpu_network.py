"""The CPU backend: event-driven, fused over time, in compiled numba kernels.

A `backend.Backend`. Layer after layer runs over all time steps: events make currents, currents make spikes, spikes are
packed and become the next layer's events. One autograd node holds the network; its backward pass walks the layers from
output to input.
"""

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from snntha.kernels.cpu.delays import DelayedLayer
from snntha.kernels.cpu.dense import DenseLayer
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu.recurrent import RecurrentLayer
from snntha.kernels.cpu.strip import GradientSource, LayerOutput, channels_last_order, pad_to_tiles, unpacked
from snntha.kernels.cpu.workspace import workspace
from snntha.kernels.cpu_layers import ConvLayer, FusedLayer, ImageLayer, fold_pooling
from snntha.kernels.spec import Events, Layer, LayerRecord, Result, Static


def run_network(
    inputs: Events | Static, layers: list[Layer], *, record: bool = False, membrane: bool = False
) -> Result:
    """Run all time steps of one minibatch through the layers; see `backend.Backend`."""
    network = _Network(inputs, layers, record=record, membrane=membrane)
    tensors = [tensor for of_layer in network.trained for tensor in of_layer.values()]
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        count_BN, membrane_TBN = _Differentiable.apply(network, *tensors)
    else:
        count_BN, membrane_TBN = network.forward(keep=False)
    shape = layers[-1].spec.output_shape
    return Result(
        _channels_first(count_BN, shape), _channels_first(membrane_TBN, shape) if membrane else None, network.records
    )


class _Network:
    """One minibatch on its way through the layers and back."""

    def __init__(self, inputs: Events | Static, layers: list[Layer], *, record: bool, membrane: bool):
        expected = layers[0].spec.input_shape
        assert inputs.shape == expected, f"inputs {inputs.shape}; the first layer expects {expected}"
        self.inputs = inputs
        self.layers = layers
        self.record = record
        self.membrane = membrane
        self.records: list[LayerRecord] = []
        self.fused: list[FusedLayer] = []
        self.trained: list[dict[str, Tensor]] = []  # of each layer, what gradients belong to
        for number, layer in enumerate(layers):
            fused, trained = _fuse(inputs, layer, number)
            self.fused.append(fused)
            self.trained.append(trained)

    def forward(self, *, keep: bool) -> tuple[Tensor, Tensor]:
        """Output spike counts_BN and membrane_TBN (no steps unless asked for); `keep` what the backward pass needs."""
        spikes, output = _input_spikes(self.inputs), None
        last = len(self.layers) - 1
        for number, (fused, layer) in enumerate(zip(self.fused, self.layers, strict=True)):
            output = fused.forward(spikes, membrane=self.record or (self.membrane and number == last))
            spikes.release_events()
            if not keep:
                fused.release()
            self.records.append(_layer_record(output, layer.spec.output_shape, self.record))
            if number < last:
                limit = self.fused[number + 1].patterns_from
                spikes = Spikes.of_layer(output.bits_BGTF, output.count_BP, fused.neurons, number, limit)
        assert output is not None, "a network has at least one layer"
        workspace.give(f"{last} spikes", output.bits_BGTF)
        count_BN = torch.from_numpy(output.count_BP[:, : self.fused[last].neurons].astype(np.float32))
        return count_BN, torch.from_numpy(output.membrane_TBN)

    def backward(self, grad_count_BN: Tensor | None, grad_membrane_TBN: Tensor | None) -> list[Tensor]:
        """Gradients of all tensors of `trained`, in their order."""
        shape_BN = self.inputs.batch, self.fused[-1].neurons
        grad_BN = np.zeros(shape_BN) if grad_count_BN is None else grad_count_BN.numpy()
        source = GradientSource(constant_BP=pad_to_tiles(grad_BN))
        if self.membrane and grad_membrane_TBN is not None:
            source = source._replace(membrane_TBP=pad_to_tiles(grad_membrane_TBN.numpy()))
        gradients: list[Tensor] = []
        above: FusedLayer | None = None
        for fused, trained in zip(reversed(self.fused), reversed(self.trained), strict=True):
            if above is not None:
                source = above.gradient_source()
            by_name = fused.backward(source)
            if above is not None:
                above.release()
            gradients = [torch.from_numpy(by_name[name]) for name in trained] + gradients
            above = fused
        self.fused[0].release()
        return gradients


def _fuse(inputs: Events | Static, layer: Layer, number: int) -> tuple[FusedLayer, dict[str, Tensor]]:
    """A layer as the kernels run it, and the tensors that they give gradients to."""
    trained = layer.trained()
    learns_beta = "beta_C" in trained
    if isinstance(layer.neuron.beta, Tensor):
        layer = replace(layer, neuron=replace(layer.neuron, beta=layer.neuron.beta.detach().numpy()))
    if number == 0 and isinstance(inputs, Static):
        return ImageLayer(inputs, layer, learns_beta=learns_beta), trained
    if layer.spec.kind == "dense":
        bias_N = None if layer.bias_N is None else layer.bias_N.detach().numpy()
        weight_NI = layer.weight.detach().numpy()
        row = layer.spec, weight_NI, bias_N, layer.neuron, layer.dropout, number
        if layer.recurrent_NM is None:
            dense = DenseLayer(*row, learns_beta=learns_beta)
        else:
            dense = RecurrentLayer(*row, layer.recurrent_NM.detach().numpy(), learns_beta=learns_beta)
        if layer.delay_I is None:
            return dense, trained
        return DelayedLayer(dense, layer.delay_I.detach().numpy(), learns="delay_I" in trained), trained
    del trained["weight"]
    kernel_KKIO = fold_pooling(layer.weight, layer.spec.pool)
    return ConvLayer(layer, kernel_KKIO, number, learns_beta=learns_beta), {"kernel_KKIO": kernel_KKIO, **trained}


def _input_spikes(inputs: Events | Static) -> Spikes:
    if isinstance(inputs, Static):
        return Spikes.none(inputs.time_steps, inputs.batch)
    size = math.prod(inputs.shape)
    return Spikes.of_input(inputs.indptr.numpy(), inputs.index.numpy(), inputs.time_steps, inputs.batch, size)


class _Differentiable(torch.autograd.Function):
    """The network as one node of the graph."""

    @staticmethod
    def forward(ctx, network: _Network, *tensors: Tensor) -> tuple[Tensor, Tensor]:
        ctx.network = network
        ctx.set_materialize_grads(False)
        return network.forward(keep=True)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor | None) -> tuple[Tensor | None, ...]:
        network, ctx.network = ctx.network, None
        if network is None:
            raise RuntimeError(
                "second backward pass of one minibatch: the numba backend freed its events; run it again"
            )
        return None, *network.backward(*grad_outputs)


def _layer_record(output: LayerOutput, shape: tuple[int, ...], everything: bool) -> LayerRecord:
    order = channels_last_order(shape)
    count_N = torch.empty(len(order), dtype=torch.int64)
    count_N[torch.from_numpy(order)] = torch.from_numpy(output.count_BP[:, : len(order)].sum(0, dtype=np.int64))
    if not everything:
        return LayerRecord(count_N, None, None)
    membrane_TBN = torch.from_numpy(output.membrane_TBN)
    spikes_TBN = torch.from_numpy(unpacked(output.bits_BGTF, len(order))).float()
    return LayerRecord(count_N, _channels_first(spikes_TBN, shape), _channels_first(membrane_TBN, shape))


def _channels_first(values_XN: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A flat channels-last axis as PyTorch's (C, H, W)."""
    if len(shape) == 1:
        return values_XN
    channels, height, width = shape
    return values_XN.unflatten(-1, (height, width, channels)).movedim(-1, -3)
