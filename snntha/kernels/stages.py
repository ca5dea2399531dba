"""Convolution layers and layers with a constant current in one minibatch: `conv`, `norm` and `scan` put together.

Like `dense.DenseStage`: `tensors` are what the layer's gradients belong to, `forward` fires, `backward` returns the
gradients and what the layer below needs, `release` hands buffers back.
"""

import math

import numpy as np
from torch import Tensor

from snntha.kernels import conv, reference
from snntha.kernels.events import Rows
from snntha.kernels.norm import Normalisation
from snntha.kernels.scan import Currents, scan, scan_back
from snntha.kernels.spec import Layer, Static
from snntha.kernels.tile import Above, Cell, Fired, Mask
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
        self.kernel_KKIO = kernel.detach().numpy()
        if layer.binary and area <= np.iinfo(np.int8).max:
            self.kernel_KKIO = self.kernel_KKIO.astype(np.int8)
        self.geometry = layer.pool, area, layer.input_shape[1:]  # stride, divisor, input height and width
        channels, height, width = layer.output_shape
        self.shape_HWC = height, width, channels
        self.neurons = math.prod(self.shape_HWC)
        self.cell, self.mask = Cell.of(layer.neuron), Mask.of(layer.dropout)

    def forward(self, rows: Rows, *, membrane: bool) -> Fired:
        """Convolve the events of all steps, normalise and fire."""
        self.rows = rows
        self.grad_TBHWO = None
        shape_TBHWO = rows.time_steps, rows.batch, *self.shape_HWC
        self.values_TBHWO = workspace.take(f"currents {self.number}", shape_TBHWO, np.float32)
        conv.conv_currents(rows.indptr, rows.index, self.kernel_KKIO, *self.geometry, self.values_TBHWO)
        scale_SC, shift_SC = ONE, ZERO
        if self.norm is not None:
            self.normalisation = Normalisation(self.norm, _by_channel(self.values_TBHWO))
            scale_SC, shift_SC = self.normalisation.scale_SC, self.normalisation.shift_SC
        values_TBN = self.values_TBHWO.reshape(rows.time_steps, rows.batch, self.neurons)
        self.currents = Currents.of(values_TBN, scale_SC, shift_SC, rows.time_steps)
        fired = Fired.empty(rows.time_steps, rows.batch, self.neurons, membrane)
        scan(self.currents, self.cell, self.mask, *fired)
        return fired

    def backward(self, above: Above) -> list[np.ndarray]:
        """Gradients of `tensors`; those of the currents stay for `above`."""
        values_TBHWO, rows = self.values_TBHWO, self.rows
        grad_TBHWO = workspace.take(f"current gradients {self.number}", values_TBHWO.shape, np.float32)
        grad_TBN = grad_TBHWO.reshape(self.currents.values_SBN.shape)
        scan_back(self.currents, self.cell, self.mask, above, self.shape_HWC, grad_TBN)
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
        return Above(conv_TBHWO=self.grad_TBHWO, panels=panels, stride=stride)

    def release(self) -> None:
        self.rows.release()
        workspace.give(f"currents {self.number}", self.values_TBHWO)
        if self.grad_TBHWO is not None:
            workspace.give(f"current gradients {self.number}", self.grad_TBHWO)


class StaticStage:
    """First layer of images: one current for all steps, which the reference computes; autograd takes over its gradient."""

    def __init__(self, static: Static, layer: Layer):
        current_BX = reference.static_current(static, layer)
        if current_BX.dim() == 4:
            current_BX = current_BX.permute(0, 2, 3, 1)  # channels-last
        self.tensors: list[Tensor | None] = [current_BX.flatten(1)]
        self.time_steps = static.time_steps
        self.shape_HWC = (1, 1, *current_BX.shape[1:])[-3:]
        self.neurons = math.prod(self.shape_HWC)
        self.cell, self.mask = Cell.of(layer.neuron), Mask.of(layer.dropout)

    def forward(self, rows: None, *, membrane: bool) -> Fired:
        """Integrate the same current at each step and fire."""
        (current_BN,) = self.tensors
        assert current_BN is not None
        values_SBN = np.ascontiguousarray(current_BN.detach().numpy())[None]
        self.currents = Currents.of(values_SBN, ONE, ZERO, self.time_steps)
        fired = Fired.empty(self.time_steps, len(current_BN), self.neurons, membrane)
        scan(self.currents, self.cell, self.mask, *fired)
        return fired

    def backward(self, above: Above) -> list[np.ndarray]:
        """Gradient of the current: the sum over time."""
        grad_SBN = np.empty(self.currents.values_SBN.shape, np.float32)
        scan_back(self.currents, self.cell, self.mask, above, self.shape_HWC, grad_SBN)
        return [grad_SBN[0]]

    def release(self) -> None:
        """Holds no buffers."""


def _by_channel(values_TBHWO: np.ndarray) -> np.ndarray:
    """The same values as (T, B * H * W, C)."""
    return values_TBHWO.reshape(len(values_TBHWO), -1, values_TBHWO.shape[-1])
