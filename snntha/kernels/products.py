"""Synapses as matrix products of the device's own library, over all time steps; `reference.synapse` defines them.

Weights of +-1 over counts are multiplied as bf16 and summed in float32, which is exact while an input counts at most
256 in a step and a sum stays below 2^24. Other weights, grey values and gradients are float32, or bf16 where
`precision` says so. A convolution gathers the inputs of each output pixel, folded with its pooling, into a row of the
product; its way back adds the rows up tap by tap, so that sums have one order. A dense layer is the 1 x 1 case.
Float weights are rounded to bf16 after they are folded, where `reference.synapse_bf16` rounds them before.
"""

import torch
from torch import Tensor

from snntha.kernels.cpu_layers import fold_pooling
from snntha.kernels.spec import Layer

TYPES = {"float32": torch.float32, "bf16": torch.bfloat16}


def synapse(spikes_TBX: Tensor, layer: Layer, precision: str = "float32") -> Tensor:
    """As `reference.synapse`, or with precision=bf16 as `reference.synapse_bf16`."""
    forward = torch.bfloat16 if layer.spec.binary else TYPES[precision]
    return _sums(spikes_TBX, layer, forward, TYPES[precision])


def image_synapse(image_1BX: Tensor, layer: Layer) -> Tensor:
    """The same of grey values, in float32; they are multiplied once, not in every step."""
    return _sums(image_1BX, layer, torch.float32, torch.float32)


def product(left: Tensor, right: Tensor, operands: torch.dtype) -> Tensor:
    """left @ right in float32, after both are rounded to `operands`; products of bf16 are exact."""
    left, right = left.to(operands), right.to(operands)
    if operands == torch.float32:
        return left @ right
    if left.is_cuda:
        return torch.mm(left, right, out_dtype=torch.float32)
    return left.float() @ right.float()  # the same arithmetic: PyTorch has this product for GPUs only


def _sums(inputs_TBX: Tensor, layer: Layer, forward: torch.dtype, backward: torch.dtype) -> Tensor:
    types, steps = (forward, backward), inputs_TBX.shape[:2]
    if layer.weight.dim() == 2:
        inputs_RYXI = inputs_TBX.reshape(steps.numel(), 1, 1, -1)
        return _Sums.apply(inputs_RYXI, layer.weight.T, 1, 1, *types).view(*steps, -1)
    inputs_RYXI = inputs_TBX.flatten(0, 1).movedim(1, -1)
    kernel_KKIO = fold_pooling(layer.weight, layer.spec.pool)
    sums_RYXO = _Sums.apply(inputs_RYXI, kernel_KKIO.flatten(0, 2), len(kernel_KKIO), layer.spec.pool, *types)
    return sums_RYXO.movedim(-1, 1).unflatten(0, steps)


class _Sums(torch.autograd.Function):
    """Sums_RYXO of inputs_RYXI, R pictures of Y x X pixels, over weight_PO, P = taps * taps * I; mean over the pool."""

    @staticmethod
    def forward(ctx, inputs_RYXI, weight_PO, taps, pool, forward_type, backward_type):
        inputs_RYXI = inputs_RYXI.to(forward_type)
        ctx.save_for_backward(inputs_RYXI, weight_PO)
        ctx.taps, ctx.pool, ctx.type = taps, pool, backward_type
        windows = _windows(inputs_RYXI, taps, pool)
        sums_QO = product(windows.flatten(0, 2).flatten(1), weight_PO, forward_type)
        return _mean(sums_QO, pool).view(*windows.shape[:3], -1)

    @staticmethod
    def backward(ctx, *grad_outputs):
        inputs_RYXI, weight_PO = ctx.saved_tensors
        taps, pool = ctx.taps, ctx.pool
        windows = _windows(inputs_RYXI, taps, pool)
        grad_QO = grad_outputs[0].reshape(-1, weight_PO.shape[1]).to(ctx.type)
        grad_inputs_RYXI = grad_weight_PO = None
        if ctx.needs_input_grad[0]:
            grad_QP = _mean(product(grad_QO, weight_PO.T, ctx.type), pool)
            grad_inputs_RYXI = _add_windows(grad_QP.view(windows.shape), inputs_RYXI.shape, pool)
        if ctx.needs_input_grad[1]:
            grad_weight_PO = _mean(product(windows.flatten(0, 2).flatten(1).T, grad_QO, ctx.type), pool)
        return grad_inputs_RYXI, grad_weight_PO, None, None, None, None


def _windows(inputs_RYXI: Tensor, taps: int, stride: int) -> Tensor:
    """A view of what each output pixel sees, (R, Y', X', taps, taps, I)."""
    return inputs_RYXI.unfold(1, taps, stride).unfold(2, taps, stride).movedim(3, -1)


def _add_windows(grad_windows: Tensor, shape_RYXI: torch.Size, stride: int) -> Tensor:
    """The gradient of the inputs from that of their windows, added tap by tap: no order depends on a scheduler."""
    _, height, width, taps, _, _ = grad_windows.shape
    if taps == stride == 1:
        return grad_windows.view(shape_RYXI)
    grad_RYXI = grad_windows.new_zeros(shape_RYXI)
    for y in range(taps):
        rows = slice(y, y + stride * (height - 1) + 1, stride)
        for x in range(taps):
            columns = slice(x, x + stride * (width - 1) + 1, stride)
            grad_RYXI[:, rows, columns] += grad_windows[:, :, :, y, x]
    return grad_RYXI


def _mean(sums: Tensor, pool: int) -> Tensor:
    """Divide in place by pool * pool: by a tensor, since GPUs multiply by the rounded reciprocal of a number."""
    return sums if pool == 1 else sums.div_(torch.full((), pool * pool, dtype=sums.dtype, device=sums.device))
