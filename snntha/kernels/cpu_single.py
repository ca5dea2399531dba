"""One synapse, or one layer's neurons, on the compiled CPU kernels: for `snntha.nn`, whose modules stand alone.

`dense` and `convolution` take the place of `reference.synapse`, `lif` that of `reference.scan`, with their arguments
and their results: equal bits forward for weights of +1 and -1, gradients within rounding.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snntha.kernels.cpu import conv, scan
from snntha.kernels.cpu.conv import Geometry
from snntha.kernels.cpu.dense import DenseLayer
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu.scan import Currents
from snntha.kernels.cpu.strip import (
    DropoutConstants,
    GradientSource,
    LayerOutput,
    NeuronConstants,
    channels_last_order,
    empty_beta_gradient,
    empty_kept,
    pad_to_tiles,
    unpacked,
)
from snntha.kernels.cpu.workspace import workspace
from snntha.kernels.cpu_layers import fold_pooling
from snntha.layers import LayerSpec
from snntha.neuron import Neuron, surrogate_gradient

_MOST_SPIKES = 255  # of one input in one step; what counts more is rather a grey value
_WIRE = Neuron(beta=0.0, threshold=float("inf"), slope=0.0, centre=0.0, strict=False)  # its membrane is its current
_NO_DROPOUT = DropoutConstants.of(None)


def are_spikes(values: Tensor) -> bool:
    """Whether these are spike counts, whole numbers from 0 to 255, which the kernels read as events."""
    return bool(((values == values.round()) & (values >= 0) & (values <= _MOST_SPIKES)).all())


def dense(spikes_TBX: Tensor, weight_NI: Tensor, bias_N: Tensor | None, spec: LayerSpec) -> Tensor:
    """Currents_TBN of spike counts through a dense layer."""
    return _Dense.apply(spikes_TBX, weight_NI, bias_N, spec)


def convolution(spikes_TBCHW: Tensor, weight_OIkk: Tensor, spec: LayerSpec) -> Tensor:
    """Currents_TBCHW of spike counts through a convolution and its average pooling."""
    return _Convolution.apply(spikes_TBCHW, fold_pooling(weight_OIkk, spec.pool), weight_OIkk.detach(), spec)


def lif(currents_TBX: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
    """Spikes_TBX and membrane_TBX of currents."""
    return _Lif.apply(currents_TBX, neuron)


class _Dense(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spikes_TBX: Tensor, weight_NI: Tensor, bias_N: Tensor | None, spec: LayerSpec) -> Tensor:
        layer = DenseLayer(spec, weight_NI.numpy(), None if bias_N is None else bias_N.numpy(), _WIRE, None, number=0)
        output = layer.forward(_events(spikes_TBX), membrane=True)
        workspace.give("0 spikes", output.bits_BGTF)
        ctx.save_for_backward(weight_NI)
        ctx.layer, ctx.shape, ctx.has_bias = layer, spikes_TBX.shape, bias_N is not None
        return torch.from_numpy(output.membrane_TBN)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_TBN,), (weight_NI,), (_, batch, *_) = grad_outputs, ctx.saved_tensors, ctx.shape
        grad_spikes = grad_TBN @ weight_NI if ctx.needs_input_grad[0] else None
        none_BP = pad_to_tiles(np.zeros((batch, len(weight_NI)), np.float32))
        through = GradientSource(constant_BP=none_BP, membrane_TBP=pad_to_tiles(grad_TBN.numpy()))
        gradients = ctx.layer.backward(through)
        return (
            None if grad_spikes is None else grad_spikes.view(ctx.shape),
            torch.from_numpy(gradients["weight"]),
            torch.from_numpy(gradients["bias_N"]) if ctx.has_bias else None,
            None,
        )


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spikes_TBCHW: Tensor, kernel_KKIO: Tensor, weight_OIkk: Tensor, spec: LayerSpec) -> Tensor:
        ctx.geometry = Geometry.of(spec)
        ctx.spikes, ctx.spec, ctx.shape = _events(spikes_TBCHW), spec, kernel_KKIO.shape
        ctx.save_for_backward(weight_OIkk)
        taps = conv.narrowest(kernel_KKIO.numpy(), spec.binary, spec.pool)
        outputs, rows, columns = spec.output_shape
        steps, batch = spikes_TBCHW.shape[:2]
        currents_BHWTO = np.empty((batch, rows, columns, steps, outputs), np.float32)
        conv.conv_currents(ctx.spikes, taps, ctx.geometry, currents_BHWTO)
        return torch.from_numpy(currents_BHWTO).permute(3, 0, 4, 1, 2).contiguous()

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:
        (grad_TBOHW,), (weight_OIkk,), spec = grad_outputs, ctx.saved_tensors, ctx.spec
        grad_BHWTO = np.ascontiguousarray(grad_TBOHW.permute(1, 3, 4, 0, 2).numpy())
        grad_kernel_KKIO = np.empty(ctx.shape, np.float32)
        conv.conv_weight_gradient(ctx.spikes, grad_BHWTO, ctx.geometry, grad_kernel_KKIO)
        grad_spikes = None
        if ctx.needs_input_grad[0]:
            grad_spikes = _input_gradient(grad_TBOHW, weight_OIkk, spec)
        return grad_spikes, torch.from_numpy(grad_kernel_KKIO), None, None


def _input_gradient(grad_TBOHW: Tensor, weight_OIkk: Tensor, spec: LayerSpec) -> Tensor:
    """Back through the average pooling, which drops what is left over, and the convolution."""
    shared = grad_TBOHW.flatten(0, 1) / spec.pool**2
    spread = shared.repeat_interleave(spec.pool, 2).repeat_interleave(spec.pool, 3)
    rows, columns = (extent - spec.kernel + 1 for extent in spec.input_shape[1:])
    spread = F.pad(spread, (0, columns - spread.shape[3], 0, rows - spread.shape[2]))
    return F.conv_transpose2d(spread, weight_OIkk).unflatten(0, grad_TBOHW.shape[:2])


class _Lif(torch.autograd.Function):
    @staticmethod
    def forward(ctx, currents_TBX: Tensor, neuron: Neuron) -> tuple[Tensor, Tensor]:
        steps, batch, *shape = currents_TBX.shape
        values_B1TN = currents_TBX.flatten(2).transpose(0, 1).contiguous().unsqueeze(1).numpy()
        size = steps, batch, values_B1TN.shape[3]
        currents, constants = Currents.of(values_B1TN), NeuronConstants.of(neuron, size[2])
        output = LayerOutput.empty(*size, True, 0)
        kept_BGTF = empty_kept(_NO_DROPOUT, *size, 0)
        scan.scan(currents, constants, _NO_DROPOUT, kept_BGTF, *output)
        workspace.give("0 kept", kept_BGTF)
        spikes_TBX = torch.from_numpy(unpacked(output.bits_BGTF, size[2])).float().view(steps, batch, *shape)
        membrane_TBX = torch.from_numpy(output.membrane_TBN).view(steps, batch, *shape)
        workspace.give("0 spikes", output.bits_BGTF)
        ctx.save_for_backward(membrane_TBX)
        ctx.currents, ctx.neuron, ctx.constants = currents, neuron, constants
        return spikes_TBX, membrane_TBX

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (membrane_TBX,), (grad_spikes_TBX, grad_membrane_TBX) = ctx.saved_tensors, grad_outputs
        surrogate = surrogate_gradient(membrane_TBX, ctx.neuron.centre, ctx.neuron.slope, grad_spikes_TBX)
        values_B1TN = ctx.currents.values_BVSC
        batch, _, steps, neurons = values_B1TN.shape
        # What a spike and the loss say of a membrane is one gradient; the kernel carries it back through time.
        source = GradientSource(
            constant_BP=pad_to_tiles(np.zeros((batch, neurons), np.float32)),
            membrane_TBP=pad_to_tiles((surrogate + grad_membrane_TBX).flatten(2).numpy()),
        )
        grad_B1TN = np.empty_like(values_B1TN)
        kept_BGTF = empty_kept(_NO_DROPOUT, steps, batch, neurons, 0)
        shape_HWC = (1, 1, neurons)
        of_layer = ctx.currents, ctx.constants, _NO_DROPOUT, kept_BGTF
        scan.scan_back(*of_layer, source, shape_HWC, steps, grad_B1TN, empty_beta_gradient(False, batch, neurons))
        workspace.give("0 kept", kept_BGTF)
        return torch.from_numpy(grad_B1TN[:, 0]).transpose(0, 1).reshape(membrane_TBX.shape), None


def _events(spikes_TBX: Tensor) -> Spikes:
    """Spike counts as events, channels-last."""
    steps, batch, *shape = spikes_TBX.shape
    counts_RN = spikes_TBX.reshape(steps * batch, -1)[:, torch.from_numpy(channels_last_order(tuple(shape)))]
    row, index = counts_RN.nonzero(as_tuple=True)
    counts = counts_RN[row, index].long()
    indptr = torch.zeros(steps * batch + 1, dtype=torch.int64)
    torch.cumsum(torch.zeros(steps * batch, dtype=torch.int64).index_add_(0, row, counts), 0, out=indptr[1:])
    events = index.repeat_interleave(counts).int().numpy()
    return Spikes.of_input(indptr.numpy(), events, steps, batch, counts_RN.shape[1])
