"""The CPU backend: event-driven, fused over time, in compiled numba kernels.

Same arguments and results as `reference.run_network`. Layer after layer runs over all time steps: events make currents,
currents make spikes, spikes are packed and become the next layer's events. One autograd node holds the network; its
backward pass walks the stages from output to input.
"""

import numpy as np
import torch
from torch import Tensor

from snntha.kernels.compiled import discard_outdated
from snntha.kernels.dense import DenseStage
from snntha.kernels.events import Rows, unpack
from snntha.kernels.spec import Events, Layer, LayerRecord, Result, Static
from snntha.kernels.stages import ConvStage, StaticStage
from snntha.kernels.tile import TILE, Above, Fired, channels_last_order, pad_to_tiles
from snntha.kernels.workspace import workspace

Stage = StaticStage | ConvStage | DenseStage

discard_outdated()


def run_network(
    inputs: Events | Static, layers: list[Layer], *, record: bool = False, membrane: bool = False
) -> Result:
    """Run all time steps of one minibatch through the layers; see `reference.run_network`."""
    network = _Network(inputs, layers, record=record, membrane=membrane)
    tensors = network.tensors()
    if torch.is_grad_enabled() and any(tensor is not None and tensor.requires_grad for tensor in tensors):
        count_BN, membrane_TBN = _Differentiable.apply(network, *tensors)
    else:
        count_BN, membrane_TBN = network.forward(keep=False)
    shape = layers[-1].output_shape
    return Result(
        _channels_first(count_BN, shape), _channels_first(membrane_TBN, shape) if membrane else None, network.records
    )


class _Network:
    """One minibatch on its way through the layers and back."""

    def __init__(self, inputs: Events | Static, layers: list[Layer], *, record: bool, membrane: bool):
        shape = inputs.shape if isinstance(inputs, Events) else tuple(inputs.image_BX.shape[1:])
        assert shape == layers[0].input_shape, f"inputs {shape}; the first layer expects {layers[0].input_shape}"
        self.inputs = inputs
        self.layers = layers
        self.record = record
        self.membrane = membrane
        self.records: list[LayerRecord] = []
        self.stages = [_stage(inputs, layer, number) for number, layer in enumerate(layers)]

    def tensors(self) -> list[Tensor | None]:
        """What gradients belong to."""
        return [tensor for stage in self.stages for tensor in stage.tensors]

    def forward(self, *, keep: bool) -> tuple[Tensor, Tensor]:
        """Output spike counts_BN and membrane_TBN (no steps unless asked for); `keep` what the backward pass needs."""
        rows = Rows.of(self.inputs)
        last = len(self.stages) - 1
        stage, fired = self.stages[last], None
        for number, (stage, layer) in enumerate(zip(self.stages, self.layers, strict=True)):
            fired = stage.forward(rows, membrane=self.record or (self.membrane and number == last))
            if not keep:
                stage.release()
            self.records.append(_layer_record(fired, layer, self.record))
            if number < last:
                rows = unpack(fired.bits_BKTR, stage.neurons, f"events {number}")
            workspace.give("spikes", fired.bits_BKTR)
        assert fired is not None, "a network has at least one layer"
        count_BN = torch.from_numpy(fired.count_BP[:, : stage.neurons].astype(np.float32))
        return count_BN, torch.from_numpy(fired.membrane_TBN)

    def backward(self, grad_count_BN: Tensor | None, grad_membrane_TBN: Tensor | None) -> list[Tensor | None]:
        """Gradients of `tensors()`."""
        shape_BN = self.inputs.batch, self.stages[-1].neurons
        above = Above(constant_BP=pad_to_tiles(np.zeros(shape_BN) if grad_count_BN is None else grad_count_BN.numpy()))
        if self.membrane and grad_membrane_TBN is not None:
            above = above._replace(membrane_TBP=pad_to_tiles(grad_membrane_TBN.numpy()))
        gradients: list[Tensor | None] = []
        upper = None
        for stage in reversed(self.stages):
            if upper is not None:
                assert not isinstance(upper, StaticStage), "images are the input of the first layer"
                above = upper.above()
            arrays = stage.backward(above)
            if upper is not None:
                upper.release()
            of_stage = [
                None if tensor is None else torch.from_numpy(array)
                for tensor, array in zip(stage.tensors, arrays, strict=True)
            ]
            gradients = of_stage + gradients
            upper = stage
        self.stages[0].release()
        return gradients


def _stage(inputs: Events | Static, layer: Layer, number: int) -> Stage:
    if number == 0 and isinstance(inputs, Static):
        return StaticStage(inputs, layer)
    return DenseStage(layer, number) if layer.weight.dim() == 2 else ConvStage(layer, number)


class _Differentiable(torch.autograd.Function):
    """The network as one node of the graph."""

    @staticmethod
    def forward(ctx, network: _Network, *tensors: Tensor | None) -> tuple[Tensor, Tensor]:
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


def _layer_record(fired: Fired, layer: Layer, everything: bool) -> LayerRecord:
    order = channels_last_order(layer.output_shape)
    count_N = torch.empty(len(order), dtype=torch.int64)
    count_N[torch.from_numpy(order)] = torch.from_numpy(fired.count_BP[:, : len(order)].sum(0, dtype=np.int64))
    if not everything:
        return LayerRecord(count_N, None, None)
    membrane_TBN = torch.from_numpy(fired.membrane_TBN)
    bits = np.unpackbits(fired.bits_BKTR.view(np.uint8), bitorder="little").reshape(*fired.bits_BKTR.shape[:3], TILE)
    spikes_TBN = torch.from_numpy(bits.transpose(2, 0, 1, 3).reshape(*membrane_TBN.shape[:2], -1)[..., : len(order)])
    shape = layer.output_shape
    return LayerRecord(count_N, _channels_first(spikes_TBN.float(), shape), _channels_first(membrane_TBN, shape))


def _channels_first(values_XN: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A flat channels-last axis as PyTorch's (C, H, W)."""
    if len(shape) == 1:
        return values_XN
    channels, height, width = shape
    return values_XN.unflatten(-1, (height, width, channels)).movedim(-1, -3)
