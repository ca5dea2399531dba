"""Convolution layers and layers with a constant current in one minibatch: `conv`, `norm` and `scan` put together.

Like `dense.DenseStage`: `tensors` are what the layer's gradients belong to, `forward` fires, `backward` returns the
gradients and what the layer below needs, `release` hands buffers back.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from snntha.kernels import conv, reference
from snntha.kernels.events import Rows
from snntha.kernels.norm import Normalisation
from snntha.kernels.scan import Currents, scan, scan_back
from snntha.kernels.spec import Layer, Static
from snntha.kernels.tile import Above, Cell, Fired, Mask, empty_kept
from snntha.kernels.workspace import workspace

ONE, ZERO = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)  # scale and shift without BatchNorm


class ConvStage:
    """Convolution and pooling of events, BatchNorm, neurons."""

    def __init__(self, layer: Layer, number: int):
        norm, area = layer.batch_norm, layer.pool**2
        kernel = conv.fold_pooling(layer.weight, layer.pool)
        self.tensors: list[Tensor | None] = [kernel] if norm is None else [kernel, norm.scale_C, norm.shift_C]
        self.norm = norm
        self.number = number
        _, in_height, in_width = layer.input_shape
        self.kernel_KKIO = kernel.detach().numpy()
        if layer.binary and area <= np.iinfo(np.int8).max:
            self.kernel_KKIO = self.kernel_KKIO.astype(np.int8)
        self.geometry = layer.pool, area, (in_height, in_width)  # stride, divisor, input size
        channels, height, width = layer.output_shape
        self.shape_HWC = height, width, channels
        self.neurons = math.prod(self.shape_HWC)
        self.cell, self.mask = Cell.of(layer.neuron), Mask.of(layer.dropout)

    def forward(self, rows: Rows, *, membrane: bool) -> Fired:
        """Convolve the events of all steps, normalise and fire."""
        self.rows = rows
        self.grad_TBHWO: np.ndarray | None = None
        shape_TBHWO = rows.time_steps, rows.batch, *self.shape_HWC
        self.values_TBHWO = workspace.take(f"currents {self.number}", shape_TBHWO, np.float32)
        conv.conv_currents(rows.indptr, rows.index, self.kernel_KKIO, *self.geometry, self.values_TBHWO)
        scale_SC, shift_SC = ONE, ZERO
        if self.norm is not None:
            self.normalisation = Normalisation(self.norm, _by_channel(self.values_TBHWO))
            scale_SC, shift_SC = self.normalisation.scale_SC, self.normalisation.shift_SC
        values_TBN = self.values_TBHWO.reshape(rows.time_steps, rows.batch, self.neurons)
        self.currents = Currents.of(values_TBN, scale_SC, shift_SC, rows.time_steps)
        size = rows.time_steps, rows.batch, self.neurons
        self.kept_BKTR = empty_kept(self.mask, *size, f"kept {self.number}")
        fired = Fired.empty(*size, membrane)
        scan(self.currents, self.cell, self.mask, self.kept_BKTR, *fired)
        return fired

    def backward(self, above: Above) -> list[np.ndarray]:
        """Gradients of `tensors`; those of the currents stay for `above`."""
        values_TBHWO, rows = self.values_TBHWO, self.rows
        grad_TBHWO = workspace.take(f"current gradients {self.number}", values_TBHWO.shape, np.float32)
        grad_TBN = grad_TBHWO.reshape(self.currents.values_SBN.shape)
        scan_back(self.currents, self.cell, self.mask, self.kept_BKTR, above, self.shape_HWC, grad_TBN)
        norm_gradients = []
        if self.norm is not None:
            norm_gradients = self.normalisation.backward(_by_channel(values_TBHWO), _by_channel(grad_TBHWO))
        grad_kernel_KKIO = np.empty(self.kernel_KKIO.shape, np.float32)
        conv.conv_weight_gradient(rows.indptr, rows.index, grad_TBHWO, *self.geometry, grad_kernel_KKIO)
        self.grad_TBHWO = grad_TBHWO
        return [grad_kernel_KKIO, *norm_gradients]

    def above(self) -> Above:
        """What the layer below needs after this one's `backward`."""
        stride, divisor, _ = self.geometry
        panels = conv.input_gradient_kernel(self.kernel_KKIO, divisor)
        assert self.grad_TBHWO is not None
        return Above(conv_TBHWO=self.grad_TBHWO, panels=panels, stride=stride)

    def release(self) -> None:
        self.rows.release()
        workspace.give(f"currents {self.number}", self.values_TBHWO)
        workspace.give(f"kept {self.number}", self.kept_BKTR)
        if self.grad_TBHWO is not None:
            workspace.give(f"current gradients {self.number}", self.grad_TBHWO)


class StaticStage:
    """First layer of images: one current for all steps, computed by the reference, gradients by autograd.

    Both on one thread: PyTorch's sums depend on the number of threads.
    """

    def __init__(self, static: Static, layer: Layer):
        norm = layer.batch_norm
        self.tensors: list[Tensor | None] = [layer.weight, layer.bias_N]
        if norm is not None:
            self.tensors += [norm.scale_C, norm.shift_C]
        self.leaves = [None if tensor is None else tensor.detach().requires_grad_() for tensor in self.tensors]
        weight, bias_N, *scale_and_shift = self.leaves
        if norm is not None:
            norm = replace(norm, scale_C=scale_and_shift[0], shift_C=scale_and_shift[1])
        with torch.enable_grad(), _one_torch_thread():
            detached = replace(layer, weight=weight, bias_N=bias_N, batch_norm=norm)
            current_BX = reference.static_current(static, detached)
            if current_BX.dim() == 4:
                current_BX = current_BX.permute(0, 2, 3, 1)  # channels-last
            self.current_BN = current_BX.flatten(1)
        self.time_steps = static.time_steps
        self.shape_HWC = (1, 1, *current_BX.shape[1:])[-3:]
        self.neurons = math.prod(self.shape_HWC)
        self.cell, self.mask = Cell.of(layer.neuron), Mask.of(layer.dropout)

    def forward(self, rows: Rows, *, membrane: bool) -> Fired:
        """Integrate the same current at each step and fire; the rows are empty."""
        values_SBN = np.ascontiguousarray(self.current_BN.detach().numpy())[None]
        self.currents = Currents.of(values_SBN, ONE, ZERO, self.time_steps)
        size = self.time_steps, rows.batch, self.neurons
        self.kept_BKTR = empty_kept(self.mask, *size, "kept 0")
        fired = Fired.empty(*size, membrane)
        scan(self.currents, self.cell, self.mask, self.kept_BKTR, *fired)
        return fired

    def backward(self, above: Above) -> list[np.ndarray | None]:
        """Gradients of `tensors`, from that of the current, which is the sum over time."""
        grad_SBN = np.empty(self.currents.values_SBN.shape, np.float32)
        scan_back(self.currents, self.cell, self.mask, self.kept_BKTR, above, self.shape_HWC, grad_SBN)
        leaves = [leaf for leaf in self.leaves if leaf is not None]
        with _one_torch_thread():
            grads = iter(torch.autograd.grad(self.current_BN, leaves, torch.from_numpy(grad_SBN[0])))
        return [None if leaf is None else next(grads).numpy() for leaf in self.leaves]

    def release(self) -> None:
        workspace.give("kept 0", self.kept_BKTR)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _by_channel(values_TBHWO: np.ndarray) -> np.ndarray:
    """The same values as (T, B * H * W, C)."""
    return values_TBHWO.reshape(len(values_TBHWO), -1, values_TBHWO.shape[-1])
