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
from snntha.kernels.cpu.conv import Above, ConvolutionAbove, Geometry
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu.scan import Currents, scan, scan_back
from snntha.kernels.cpu.strip import (
    DropoutConstants,
    LayerOutput,
    NeuronConstants,
    beta_gradient,
    empty_beta_gradient,
    empty_kept,
)
from snntha.kernels.cpu.workspace import workspace
from snntha.kernels.spec import BatchNorm, Layer, Static
from snntha.parallel import WHOLE, add_up


class FusedLayer(Protocol):
    """A layer in one minibatch: synapse, BatchNorm and neurons over all time steps at once."""

    neurons: int
    patterns_from: float  # the share of firing inputs from which `Spikes` had better be patterns

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Integrate the events of all steps and fire; membranes are only written where asked for."""
        ...

    def backward(self, source: Above) -> dict[str, np.ndarray]:
        """Gradients by the names of the layer's tensors; those of its currents stay for `gradient_source`."""
        ...

    def gradient_source(self) -> Above:
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
        learns_beta: whether `backward` gives the gradient of each channel's beta.
    """

    def __init__(self, layer: Layer, kernel_KKIO: Tensor, number: int, *, learns_beta: bool = False):
        spec = layer.spec
        self.batch_norm = layer.batch_norm
        self.number, self.learns_beta = number, learns_beta
        self.weight_OIkk = layer.weight.detach().numpy()
        self.kernel_KKIO = conv.narrowest(kernel_KKIO.detach().numpy(), spec.binary, spec.pool)
        self.patterns_from = conv.patterns_from(self.kernel_KKIO)
        self.geometry = Geometry.of(spec)
        channels, height, width = spec.output_shape
        self.shape_HWC = height, width, channels
        self.neurons = spec.neurons
        self.neuron = NeuronConstants.of(layer.neuron, self.neurons)
        self.drop = DropoutConstants.of(layer.dropout)

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Convolve the events of all steps, normalise and fire."""
        self.spikes = spikes
        self.grad_BHWTO: np.ndarray | None = None
        height, width, channels = self.shape_HWC
        shape_BHWTO = spikes.batch, height, width, spikes.time_steps, channels
        self.values_BHWTO = workspace.take(f"{self.number} currents", shape_BHWTO, np.float32)
        conv.conv_currents(spikes, self.kernel_KKIO, self.geometry, self.values_BHWTO)
        self.currents = Currents.of(_by_pixel(self.values_BHWTO))
        if self.batch_norm is not None:
            self.normalisation = Normalisation(self.batch_norm, _by_channel(self.values_BHWTO), height * width)
            scale_SC, shift_SC = self.normalisation.scale_SC, self.normalisation.shift_SC
            self.currents = self.currents._replace(scale_SC=scale_SC, shift_SC=shift_SC)
        size = spikes.time_steps, spikes.batch, self.neurons
        self.kept_BGTF = empty_kept(self.drop, *size, self.number)
        output = LayerOutput.empty(*size, membrane, self.number)
        scan(self.currents, self.neuron, self.drop, self.kept_BGTF, *output)
        return output

    def backward(self, source: Above) -> dict[str, np.ndarray]:
        """Gradients of the folded kernel and of BatchNorm."""
        values_BHWTO, steps = self.values_BHWTO, self.spikes.time_steps
        grad_BHWTO = workspace.take(f"{self.number} current gradients", values_BHWTO.shape, np.float32)
        of_strips = self.currents, self.neuron, self.drop, self.kept_BGTF
        grad_beta_BP = empty_beta_gradient(self.learns_beta, self.spikes.batch, self.neurons)
        scan_back(*of_strips, source, self.shape_HWC, steps, _by_pixel(grad_BHWTO), grad_beta_BP)
        gradients = beta_gradient(grad_beta_BP, self.neurons, self.shape_HWC[2])
        if self.batch_norm is not None:
            gradients |= self.normalisation.backward(_by_channel(values_BHWTO), _by_channel(grad_BHWTO))
        grad_kernel_KKIO = np.empty(self.kernel_KKIO.shape, np.float32)
        conv.conv_weight_gradient(self.spikes, grad_BHWTO, self.geometry, grad_kernel_KKIO)
        self.grad_BHWTO = grad_BHWTO
        return {"kernel_KKIO": grad_kernel_KKIO, **gradients}

    def gradient_source(self) -> ConvolutionAbove:
        """The gradients of the currents, and the kernel they went through."""
        assert self.grad_BHWTO is not None
        kernel = conv.input_kernel(self.weight_OIkk, self.geometry)
        return ConvolutionAbove(self.grad_BHWTO, *kernel, self.geometry.stride)

    def release(self) -> None:
        self.spikes.release()
        workspace.give(f"{self.number} currents", self.values_BHWTO)
        workspace.give(f"{self.number} kept", self.kept_BGTF)
        if self.grad_BHWTO is not None:
            workspace.give(f"{self.number} current gradients", self.grad_BHWTO)


class ImageLayer:
    """First layer of images: one current for all steps, computed by the reference, gradients by autograd.

    Both on one thread: PyTorch's sums depend on the number of threads.
    """

    patterns_from = math.inf

    def __init__(self, static: Static, layer: Layer, *, learns_beta: bool = False):
        self.learns_beta = learns_beta
        self.leaves = {name: tensor.detach().requires_grad_() for name, tensor in layer.trained().items()}
        norm = layer.batch_norm
        if norm is not None:
            norm = replace(norm, scale_C=self.leaves["scale_C"], shift_C=self.leaves["shift_C"])
        weight, bias_N = self.leaves["weight"], self.leaves.get("bias_N")
        with torch.enable_grad(), _one_torch_thread():
            layer = replace(layer, weight=weight, bias_N=bias_N, batch_norm=norm)
            current_BX = static_current(static, layer, _image_synapse)
            if current_BX.dim() == 4:
                current_BX = current_BX.permute(0, 2, 3, 1)  # channels-last
            self.current_BN = current_BX.flatten(1)
        self.time_steps = static.time_steps
        self.shape_HWC = (1, 1, *current_BX.shape[1:])[-3:]
        self.neurons = math.prod(self.shape_HWC)
        self.neuron = NeuronConstants.of(layer.neuron, self.neurons)
        self.drop = DropoutConstants.of(layer.dropout)

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Integrate the same current at each step and fire; there are no events."""
        height, width, channels = self.shape_HWC
        current_BN = np.ascontiguousarray(self.current_BN.detach().numpy())
        current_BVSC = current_BN.reshape(-1, height * width, 1, channels)
        self.currents = Currents.of(current_BVSC)
        size = self.time_steps, spikes.batch, self.neurons
        self.kept_BGTF = empty_kept(self.drop, *size, 0)
        output = LayerOutput.empty(*size, membrane, 0)
        scan(self.currents, self.neuron, self.drop, self.kept_BGTF, *output)
        return output

    def backward(self, source: Above) -> dict[str, np.ndarray]:
        """Gradients of the layer's tensors, from that of the current, which is the sum over time."""
        grad_BVSC = np.empty(self.currents.values_BVSC.shape, np.float32)
        of_strips = self.currents, self.neuron, self.drop, self.kept_BGTF
        grad_beta_BP = empty_beta_gradient(self.learns_beta, len(grad_BVSC), self.neurons)
        scan_back(*of_strips, source, self.shape_HWC, self.time_steps, grad_BVSC, grad_beta_BP)
        grad_BN = torch.from_numpy(grad_BVSC.reshape(len(grad_BVSC), -1))
        with _one_torch_thread():
            grads = torch.autograd.grad(self.current_BN, list(self.leaves.values()), grad_BN)
        gradients = {name: grad.numpy() for name, grad in zip(self.leaves, grads, strict=True)}
        return gradients | beta_gradient(grad_beta_BP, self.neurons, self.shape_HWC[2])

    def gradient_source(self) -> Above:
        raise AssertionError("images are the input of the first layer: none is below")

    def release(self) -> None:
        workspace.give("0 kept", self.kept_BGTF)


def _image_synapse(spikes_TBX: Tensor, layer: Layer) -> Tensor:
    """The reference's, whose gradient of a convolution is taken with the pooling folded in."""
    if layer.spec.kind == "dense":
        return reference.synapse(spikes_TBX, layer)
    return _ImageConvolution.apply(spikes_TBX, layer.weight, layer)


class _ImageConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, image_1BIHW: Tensor, weight_OIkk: Tensor, layer: Layer) -> Tensor:
        ctx.save_for_backward(image_1BIHW)
        ctx.spec = layer.spec
        return reference.synapse(image_1BIHW, replace(layer, weight=weight_OIkk))

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[None, Tensor, None]:
        (image_1BIHW,), spec = ctx.saved_tensors, ctx.spec
        taps = spec.kernel + spec.pool - 1
        shape = spec.output_shape[0], spec.input_shape[0], taps, taps
        grad_OIKK = torch.nn.grad.conv2d_weight(image_1BIHW[0], shape, grad_outputs[0][0], stride=spec.pool)
        return None, F.avg_pool2d(grad_OIKK, spec.pool, stride=1), None


def fold_pooling(weight_OIkk: Tensor, pool: int) -> Tensor:
    """Kernel of convolution and average pooling in one, kernel_KKIO with K = k + pool - 1; differentiable.

    Entry (i, j) is sum_{0 <= di, dj < pool} weight[i - di, j - dj]; currents are to be divided by pool * pool. Of +-1
    weights these are integers up to pool * pool, which int8 holds for pool <= 11.
    """
    shifts = [F.pad(weight_OIkk, (dx, pool - 1 - dx, dy, pool - 1 - dy)) for dy in range(pool) for dx in range(pool)]
    return sum(shifts[1:], shifts[0]).permute(2, 3, 1, 0).contiguous()


class Normalisation:
    """One layer's BatchNorm in one minibatch: scale and shift of each step, and the way back through its statistics.

    Currents are channels-last, (R, T, C): R the B * H * W values of one channel at one time step, `pixels` of a sample.
    """

    def __init__(self, batch_norm: BatchNorm, currents_RTC: np.ndarray, pixels: int):
        self.training, self.share = batch_norm.training, batch_norm.share
        self.count, *self.shape_TC = currents_RTC.shape
        if self.training:
            moments_2TC = np.empty((2, *self.shape_TC))
            norm.statistics(_flat(currents_RTC), _flat(moments_2TC))
            mean_SC, var_SC = torch.from_numpy(moments_2TC)
            if self.share != WHOLE:
                own_mean_SC = mean_SC.clone()
                add_up([mean_SC.mul_(self.share.weight)])
                add_up([var_SC.add_((own_mean_SC - mean_SC).square()).mul_(self.share.weight)])
            reference.update_running(batch_norm, mean_SC, var_SC, self.count + self.share.others * pixels)
        else:
            mean_SC, var_SC = batch_norm.running_mean_C.double()[None], batch_norm.running_var_C.double()[None]
        leaves = [mean_SC, var_SC, batch_norm.scale_C, batch_norm.shift_C]
        self.leaves = mean_SC, var_SC, scale_C, shift_C = [leaf.detach().requires_grad_() for leaf in leaves]
        with torch.enable_grad():
            self.outputs = reference.affine(replace(batch_norm, scale_C=scale_C, shift_C=shift_C), mean_SC, var_SC)
        self.scale_SC, self.shift_SC = (output.detach().numpy() for output in self.outputs)

    def backward(self, currents_RTC: np.ndarray, grad_RTC: np.ndarray) -> dict[str, np.ndarray]:
        """Turn the gradient of the normalised currents, in place, into that of the currents; scale's and shift's."""
        sums_2TC = np.empty((2, *self.shape_TC))
        norm.gradient_sums(_flat(currents_RTC), _flat(grad_RTC), _flat(sums_2TC))
        sums_2SC = sums_2TC if self.training else sums_2TC.sum(1, keepdims=True)
        grads = torch.autograd.grad(self.outputs, self.leaves, torch.from_numpy(sums_2SC).float().unbind())
        if self.share != WHOLE:
            add_up(grads[:2])
        mean_SC, count = self.leaves[0].detach().numpy(), self.count / self.share.weight
        grad_mean_SC, grad_var_SC, grad_scale_C, grad_shift_C = (grad.numpy() for grad in grads)
        slope_SC = 2 * grad_var_SC / count if self.training else np.zeros_like(mean_SC)
        offset_SC = grad_mean_SC / count - slope_SC * mean_SC if self.training else np.zeros_like(mean_SC)
        through = (
            np.array(np.broadcast_to(values_SC, self.shape_TC), np.float32).ravel()
            for values_SC in (self.scale_SC, offset_SC, slope_SC)
        )
        norm.pass_statistics(_flat(currents_RTC), *through, _flat(grad_RTC))
        return {"scale_C": grad_scale_C, "shift_C": grad_shift_C}


def _flat(values_XTC: np.ndarray) -> np.ndarray:
    """The same values as (X, T * C)."""
    return values_XTC.reshape(len(values_XTC), -1)


@contextmanager
def _one_torch_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _by_channel(values_BHWTO: np.ndarray) -> np.ndarray:
    """The same values as (B * H * W, T, C)."""
    return values_BHWTO.reshape(-1, *values_BHWTO.shape[3:])


def _by_pixel(values_BHWTO: np.ndarray) -> np.ndarray:
    """The same values as (B, H * W, T, C)."""
    return values_BHWTO.reshape(len(values_BHWTO), -1, *values_BHWTO.shape[3:])
