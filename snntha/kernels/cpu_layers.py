"""Layers of the CPU backend whose currents PyTorch helps to make: convolutions, BatchNorm, static images.

What they share with `cpu.dense.DenseLayer` is the protocol `FusedLayer`. PyTorch folds the pooling into a kernel and
differentiates that, computes the affine map of BatchNorm, and the one current of an image; the kernels do the rest.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snntha.kernels import reference
from snntha.kernels.backend import static_current
from snntha.kernels.cpu import conv, norm
from snntha.kernels.cpu.conv import Geometry
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu.scan import Currents, scan, scan_back
from snntha.kernels.cpu.strip import DropoutConstants, GradientSource, LayerOutput, NeuronConstants, empty_kept
from snntha.kernels.cpu.workspace import workspace
from snntha.kernels.spec import BatchNorm, Layer, Static

ONE, ZERO = np.ones((1, 1), np.float32), np.zeros((1, 1), np.float32)  # scale and shift without BatchNorm


class FusedLayer(Protocol):
    """A layer in one minibatch: synapse, BatchNorm and neurons over all time steps at once."""

    neurons: int

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Integrate the events of all steps and fire; membranes are only written where asked for."""
        ...

    def backward(self, source: GradientSource) -> dict[str, np.ndarray]:
        """Gradients by the names of the layer's tensors; those of its currents stay for `gradient_source`."""
        ...

    def gradient_source(self) -> GradientSource:
        """What the layer below needs, after this one's `backward`."""
        ...

    def release(self) -> None:
        """Hand the buffers back."""
        ...


class ConvLayer:
    """Convolution and pooling of events, BatchNorm, neurons.

    Args:
        layer: a convolution.
        kernel_KKIO: of `fold_pooling`.
        number: of the layer, from 0 at the input.
    """

    def __init__(self, layer: Layer, kernel_KKIO: Tensor, number: int):
        spec = layer.spec
        self.batch_norm = layer.batch_norm
        self.number = number
        self.weight_OIkk = layer.weight.detach().numpy()
        self.kernel_KKIO = kernel_KKIO.detach().numpy()
        if spec.binary and spec.pool**2 <= np.iinfo(np.int8).max:
            self.kernel_KKIO = self.kernel_KKIO.astype(np.int8)
        in_channels, in_height, in_width = spec.input_shape
        self.geometry = Geometry(spec.kernel + spec.pool - 1, spec.pool, in_height, in_width, in_channels)
        channels, height, width = spec.output_shape
        self.shape_HWC = height, width, channels
        self.neurons = spec.neurons
        self.neuron, self.drop = NeuronConstants.of(layer.neuron), DropoutConstants.of(layer.dropout)

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Convolve the events of all steps, normalise and fire."""
        self.spikes = spikes
        self.grad_TBHWO: np.ndarray | None = None
        shape_TBHWO = spikes.time_steps, spikes.batch, *self.shape_HWC
        self.values_TBHWO = workspace.take(f"{self.number} currents", shape_TBHWO, np.float32)
        conv.conv_currents(spikes, self.kernel_KKIO, self.geometry, self.values_TBHWO)
        scale_SC, shift_SC = ONE, ZERO
        if self.batch_norm is not None:
            self.normalisation = Normalisation(self.batch_norm, _by_channel(self.values_TBHWO))
            scale_SC, shift_SC = self.normalisation.scale_SC, self.normalisation.shift_SC
        size = spikes.time_steps, spikes.batch, self.neurons
        self.currents = Currents.of(self.values_TBHWO.reshape(size), scale_SC, shift_SC, spikes.time_steps)
        self.kept_BGTF = empty_kept(self.drop, *size, self.number)
        output = LayerOutput.empty(*size, membrane, self.number)
        scan(self.currents, self.neuron, self.drop, self.kept_BGTF, *output)
        return output

    def backward(self, source: GradientSource) -> dict[str, np.ndarray]:
        """Gradients of the folded kernel and of BatchNorm."""
        values_TBHWO = self.values_TBHWO
        grad_TBHWO = workspace.take(f"{self.number} current gradients", values_TBHWO.shape, np.float32)
        grad_TBN = grad_TBHWO.reshape(self.currents.values_SBN.shape)
        scan_back(self.currents, self.neuron, self.drop, self.kept_BGTF, source, self.shape_HWC, grad_TBN)
        gradients = {}
        if self.batch_norm is not None:
            gradients = self.normalisation.backward(_by_channel(values_TBHWO), _by_channel(grad_TBHWO))
        grad_kernel_KKIO = np.empty(self.kernel_KKIO.shape, np.float32)
        events = self.spikes.by_input()
        conv.conv_weight_gradient(events, grad_TBHWO, self.geometry, grad_kernel_KKIO)
        workspace.give("steps", events.step)
        self.grad_TBHWO = grad_TBHWO
        return {"kernel_KKIO": grad_kernel_KKIO, **gradients}

    def gradient_source(self) -> GradientSource:
        """The gradients of the currents, and the kernel they went through."""
        panels_QOL, start_Q = conv.input_kernel(self.weight_OIkk, self.geometry)
        assert self.grad_TBHWO is not None
        return GradientSource(
            conv_TBHWO=self.grad_TBHWO, panels_QOL=panels_QOL, start_Q=start_Q, stride=self.geometry.stride
        )

    def release(self) -> None:
        self.spikes.release()
        workspace.give(f"{self.number} currents", self.values_TBHWO)
        workspace.give(f"{self.number} kept", self.kept_BGTF)
        if self.grad_TBHWO is not None:
            workspace.give(f"{self.number} current gradients", self.grad_TBHWO)


class ImageLayer:
    """First layer of images: one current for all steps, computed by the reference, gradients by autograd.

    Both on one thread: PyTorch's sums depend on the number of threads.
    """

    def __init__(self, static: Static, layer: Layer):
        self.leaves = {name: tensor.detach().requires_grad_() for name, tensor in layer.trained().items()}
        norm = layer.batch_norm
        if norm is not None:
            norm = replace(norm, scale_C=self.leaves["scale_C"], shift_C=self.leaves["shift_C"])
        weight, bias_N = self.leaves["weight"], self.leaves.get("bias_N")
        with torch.enable_grad(), _one_torch_thread():
            current_BX = static_current(static, replace(layer, weight=weight, bias_N=bias_N, batch_norm=norm))
            if current_BX.dim() == 4:
                current_BX = current_BX.permute(0, 2, 3, 1)  # channels-last
            self.current_BN = current_BX.flatten(1)
        self.time_steps = static.time_steps
        self.shape_HWC = (1, 1, *current_BX.shape[1:])[-3:]
        self.neurons = math.prod(self.shape_HWC)
        self.neuron, self.drop = NeuronConstants.of(layer.neuron), DropoutConstants.of(layer.dropout)

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Integrate the same current at each step and fire; there are no events."""
        values_SBN = np.ascontiguousarray(self.current_BN.detach().numpy())[None]
        self.currents = Currents.of(values_SBN, ONE, ZERO, self.time_steps)
        size = self.time_steps, spikes.batch, self.neurons
        self.kept_BGTF = empty_kept(self.drop, *size, 0)
        output = LayerOutput.empty(*size, membrane, 0)
        scan(self.currents, self.neuron, self.drop, self.kept_BGTF, *output)
        return output

    def backward(self, source: GradientSource) -> dict[str, np.ndarray]:
        """Gradients of the layer's tensors, from that of the current, which is the sum over time."""
        grad_SBN = np.empty(self.currents.values_SBN.shape, np.float32)
        scan_back(self.currents, self.neuron, self.drop, self.kept_BGTF, source, self.shape_HWC, grad_SBN)
        with _one_torch_thread():
            grads = torch.autograd.grad(self.current_BN, list(self.leaves.values()), torch.from_numpy(grad_SBN[0]))
        return {name: grad.numpy() for name, grad in zip(self.leaves, grads, strict=True)}

    def gradient_source(self) -> GradientSource:
        raise AssertionError("images are the input of the first layer: none is below")

    def release(self) -> None:
        workspace.give("0 kept", self.kept_BGTF)


def fold_pooling(weight_OIkk: Tensor, pool: int) -> Tensor:
    """Kernel of convolution and average pooling in one, kernel_KKIO with K = k + pool - 1; differentiable.

    Entry (i, j) is sum_{0 <= di, dj < pool} weight[i - di, j - dj]; currents are to be divided by pool * pool. Of +-1
    weights these are integers up to pool * pool, which int8 holds for pool <= 11.
    """
    shifts = [F.pad(weight_OIkk, (dx, pool - 1 - dx, dy, pool - 1 - dy)) for dy in range(pool) for dx in range(pool)]
    return sum(shifts[1:], shifts[0]).permute(2, 3, 1, 0).contiguous()


class Normalisation:
    """One layer's BatchNorm in one minibatch: scale and shift of each step, and the way back through its statistics.

    Currents are channels-last, (T, R, C): R the B * H * W values of one channel at one time step.
    """

    def __init__(self, batch_norm: BatchNorm, currents_TRC: np.ndarray):
        self.training = batch_norm.training
        self.count = currents_TRC.shape[1]
        if self.training:
            moments_2TC = np.empty((2, len(currents_TRC), currents_TRC.shape[2]))
            norm.statistics(currents_TRC, moments_2TC)
            mean_SC, var_SC = torch.from_numpy(moments_2TC)
            reference.update_running(batch_norm, mean_SC, var_SC, self.count)
        else:
            mean_SC, var_SC = batch_norm.running_mean_C.double()[None], batch_norm.running_var_C.double()[None]
        leaves = [mean_SC, var_SC, batch_norm.scale_C, batch_norm.shift_C]
        self.leaves = mean_SC, var_SC, scale_C, shift_C = [leaf.detach().requires_grad_() for leaf in leaves]
        with torch.enable_grad():
            self.outputs = reference.affine(replace(batch_norm, scale_C=scale_C, shift_C=shift_C), mean_SC, var_SC)
        self.scale_SC, self.shift_SC = (output.detach().numpy() for output in self.outputs)

    def backward(self, currents_TRC: np.ndarray, grad_TRC: np.ndarray) -> dict[str, np.ndarray]:
        """Turn the gradient of the normalised currents, in place, into that of the currents; scale's and shift's."""
        sums_2TC = np.empty((2, len(grad_TRC), grad_TRC.shape[2]))
        norm.gradient_sums(currents_TRC, grad_TRC, sums_2TC)
        sums_2SC = sums_2TC if self.training else sums_2TC.sum(1, keepdims=True)
        grads = torch.autograd.grad(self.outputs, self.leaves, torch.from_numpy(sums_2SC).float().unbind())
        mean_SC = self.leaves[0].detach().numpy()
        grad_mean_SC, grad_var_SC, grad_scale_C, grad_shift_C = (grad.numpy() for grad in grads)
        slope_SC = 2 * grad_var_SC / self.count if self.training else np.zeros_like(mean_SC)
        offset_SC = grad_mean_SC / self.count - slope_SC * mean_SC if self.training else np.zeros_like(mean_SC)
        norm.pass_statistics(currents_TRC, self.scale_SC, offset_SC.astype("f4"), slope_SC.astype("f4"), grad_TRC)
        return {"scale_C": grad_scale_C, "shift_C": grad_shift_C}


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
