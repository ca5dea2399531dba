"""The definition: plain PyTorch, a loop over time steps, gradients by autograd.

A layer is `delayed` where it has delays, `synapse`, then `scan` (`recurrent_scan`) with the bias or BatchNorm that
`affine_of` gives. Every faster kernel takes the same arguments as the function of the same name here and must agree
with it: bit for bit in the spikes of binary layers, within float rounding in gradients.
"""

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from snntha.kernels.spec import Affine, BatchNorm, Dropout, Events, Layer
from snntha.neuron import Neuron, fires, integrate, surrogate_gradient
from snntha.parallel import WHOLE, Share, add_up

_MASK = 0xFFFFFFFF


def dense(events: Events, device: torch.device | None = None) -> Tensor:
    """Events as spike counts_TBX, float32, shape (T, B, *shape), made on the device."""
    index = events.index.to(device).long()
    rows = torch.repeat_interleave(torch.diff(events.indptr.to(device)), output_size=len(index))
    size = math.prod(events.shape)
    counts = torch.zeros(events.time_steps * events.batch, size, device=device)
    counts.view(-1).index_add_(0, rows * size + index, torch.ones(len(index), device=device))
    if len(events.shape) == 1:
        return counts.view(events.time_steps, events.batch, -1)
    channels, height, width = events.shape
    return counts.view(events.time_steps, events.batch, height, width, channels).permute(0, 1, 4, 2, 3)


def delayed(spikes_TBX: Tensor, delay_I: Tensor) -> Tensor:
    """Spikes as they arrive, (T, B, I): those of input i round(delay_I[i]) steps later, none after the last step.

    The gradient of a delay is that of moving each arrival by a step, a central difference of what the loss says of a
    spike at the steps around it: dL/dd_i = sum over t, b of z_{t,b,i} (e_{t+1,b,i} - e_{t-1,b,i}) / 2, with the arrived
    spikes z and e = dL/dz, 0 outside the window. It is SLAYER's dL/dd = -sum e dz/dt (Shrestha and Orchard, 2018,
    Eq. 15), summed by parts.
    """
    return _Delay.apply(spikes_TBX.flatten(2), delay_I)


class _Delay(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spikes_TBI: Tensor, delay_I: Tensor) -> Tensor:
        arrived_TBI = _moved(spikes_TBI, -delay_I)
        ctx.save_for_backward(arrived_TBI, delay_I)
        return arrived_TBI

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, Tensor]:
        arrived_TBI, delay_I = ctx.saved_tensors
        padded = F.pad(grad_outputs[0], (0, 0, 0, 0, 1, 1))
        return _moved(grad_outputs[0], delay_I), (arrived_TBI * (padded[2:] - padded[:-2]) / 2).sum((0, 1))


def _moved(values_TBI: Tensor, ahead_I: Tensor) -> Tensor:
    """values[t + ahead] at t, 0 where that is outside."""
    steps = len(values_TBI)
    source_TI = torch.arange(steps, device=ahead_I.device)[:, None] + ahead_I.round().long()
    inside_TI = (source_TI >= 0) & (source_TI < steps)
    source_TBI = source_TI.clamp(0, steps - 1)[:, None].expand(values_TBI.shape)
    return values_TBI.gather(0, source_TBI) * inside_TI[:, None]


def synapse(spikes_TBX: Tensor, layer: Layer) -> Tensor:
    """Sums of a layer, (T, B, *output_shape), before bias and BatchNorm: dense, or convolution and average pooling.

    Sums of +-1 weights over counts are exact in float32.
    """
    time_steps, batch = spikes_TBX.shape[:2]
    if layer.weight.dim() == 2:
        return spikes_TBX.reshape(time_steps, batch, -1) @ layer.weight.T
    sums = F.conv2d(spikes_TBX.flatten(0, 1), layer.weight)
    if layer.spec.pool > 1:
        sums = F.avg_pool2d(sums, layer.spec.pool)
    return sums.unflatten(0, (time_steps, batch))


def synapse_bf16(spikes_TBX: Tensor, layer: Layer) -> Tensor:
    """As `synapse`, of weights rounded to bf16, and with gradients of the sums rounded to bf16 on their way back.

    So every product, forward and backward, is of two bf16 numbers, as GPUs multiply fastest; sums are float32. Weights
    of +-1 and counts up to 256 are bf16 numbers: forward, a binary layer is the same.
    """
    weight = layer.weight + (_bf16(layer.weight) - layer.weight).detach()
    sums = synapse(spikes_TBX, replace(layer, weight=weight))
    if sums.requires_grad:
        sums.register_hook(_bf16)
    return sums


def _bf16(values: Tensor) -> Tensor:
    return values.bfloat16().float()


def affine_of(sums_TBX: Tensor, layer: Layer, updates_per_step: int = 1) -> Affine | None:
    """What makes currents of the sums: BatchNorm, whose running statistics are updated while training, or the bias."""
    if layer.batch_norm is not None:
        return normalisation(sums_TBX, layer.batch_norm, updates_per_step)
    return None if layer.bias_N is None else Affine(None, layer.bias_N[None])


def transform(sums_TBX: Tensor, affine: Affine | None) -> Tensor:
    """Currents_TBX of the sums; the bias comes last, so that sums of binary layers stay exact."""
    if affine is None:
        return sums_TBX
    shape = len(affine.shift_SC), 1, -1, *[1] * (sums_TBX.dim() - 3)
    scaled_TBX = sums_TBX if affine.scale_SC is None else sums_TBX * affine.scale_SC.view(shape)
    return scaled_TBX + affine.shift_SC.view(shape)


def batch_norm(sums_TBCHW: Tensor, norm: BatchNorm, updates_per_step: int = 1) -> Tensor:
    """Normalise each time step with its own batch statistics, as one BatchNorm2d called T times."""
    return transform(sums_TBCHW, normalisation(sums_TBCHW, norm, updates_per_step))


def normalisation(sums_TBCHW: Tensor, norm: BatchNorm, updates_per_step: int = 1) -> Affine:
    """Scale and shift of BatchNorm: of each time step while training, else one for all.

    Statistics are taken in float64, so that they round to the same float32 whatever the order of the sums.
    """
    if not norm.training:
        return Affine(*affine(norm, norm.running_mean_C.double()[None], norm.running_var_C.double()[None]))
    wide = sums_TBCHW.double()
    mean_TC = _over_processes(wide.mean((1, 3, 4)), norm.share)
    var_TC = _over_processes((wide - mean_TC[:, None, :, None, None]).square().mean((1, 3, 4)), norm.share)
    count = (sums_TBCHW.shape[1] + norm.share.others) * sums_TBCHW.shape[3] * sums_TBCHW.shape[4]
    update_running(norm, mean_TC.detach(), var_TC.detach(), count, updates_per_step)
    return Affine(*affine(norm, mean_TC, var_TC))


def _over_processes(mean: Tensor, share: Share) -> Tensor:
    """The mean over the whole minibatch, of the mean over a share."""
    return mean if share == WHOLE else _Sum.apply(share.weight * mean)


class _Sum(torch.autograd.Function):
    """Over the processes of a run; so is the gradient, since each of them uses the sum."""

    @staticmethod
    def forward(ctx, part: Tensor) -> Tensor:
        whole = part.clone()
        add_up([whole])
        return whole

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> Tensor:
        grad = grad_outputs[0].clone()
        add_up([grad])
        return grad


def affine(norm: BatchNorm, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
    """Normalisation as x * scale + shift, float32; mean and var are float64, (C,) or (T, C)."""
    scale = norm.scale_C.double() / (var + norm.eps).sqrt()
    return scale.float(), (norm.shift_C.double() - mean * scale).float()


def update_running(norm: BatchNorm, mean_TC: Tensor, var_TC: Tensor, count: int, updates_per_step: int = 1) -> None:
    """Exponential running statistics after every time step, in closed form.

    r_T = (1 - m)^T r_0 + m sum_t (1 - m)^(T - 1 - t) s_t, and a step that counts k times has weight 1 - (1 - m)^k.
    """
    keep = (1 - norm.momentum) ** updates_per_step
    steps = len(mean_TC)
    weight_T = (1 - keep) * keep ** torch.arange(steps - 1, -1, -1, dtype=torch.float64, device=mean_TC.device)
    unbiased = count / (count - 1) if count > 1 else 1.0
    for running, statistic_TC in ((norm.running_mean_C, mean_TC), (norm.running_var_C, var_TC * unbiased)):
        running.copy_(keep**steps * running.double() + (weight_T[:, None] * statistic_TC).sum(0))


def dropout(currents_TBN: Tensor, drop: Dropout) -> Tensor:
    """Keep each current with probability 1 - p and scale it by 1 / (1 - p); a new mask at every step."""
    keep_TBN = dropout_mask(drop, tuple(currents_TBN.shape), currents_TBN.device)
    return currents_TBN * keep_TBN * torch.tensor(1 / (1 - drop.probability), dtype=torch.float32)


def dropout_mask(drop: Dropout, shape: tuple[int, ...], device: torch.device | None = None) -> Tensor:
    """Which elements stay: a counter-based hash, so that every backend and every resumed run draws the same.

    The counter is the flat index of (t, b, n) in the whole minibatch; the mixing function is Wellons' lowbias32 on
    32-bit words, with the key entering half-way so that no two keys give shifted copies of one mask.
    """
    time_steps, batch = shape[:2]
    whole = time_steps, batch + drop.share.others, math.prod(shape[2:])
    word = torch.arange(math.prod(whole), dtype=torch.int64, device=device).view(whole)
    word = word[:, drop.share.before :][:, :batch] & _MASK
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & _MASK
    word = word ^ drop.key
    word = ((word ^ (word >> 15)) * 0x846CA68B) & _MASK
    word = word ^ (word >> 16)
    return (word >= round(drop.probability * 2**32)).view(shape)


def decay(beta: float | Tensor, dimensions: int) -> float | Tensor:
    """A layer's beta as a factor of values_TBX with so many dimensions; one for each channel, or one for all."""
    return beta.view(-1, *[1] * (dimensions - 3)) if isinstance(beta, Tensor) else beta


def scan(
    currents_TBX: Tensor, neuron: Neuron, drop: Dropout | None = None, affine: Affine | None = None
) -> tuple[Tensor, Tensor]:
    """Leaky integrate-and-fire over all steps: spikes_TBX (0.0 or 1.0) and membrane_TBX before the reset.

    Reset by subtraction one step late, without a gradient through it (Eq. 1). With `affine`, what comes in are sums.
    """
    currents_TBX = transform(currents_TBX, affine)
    if drop is not None:
        currents_TBX = dropout(currents_TBX, drop)
    beta = decay(neuron.beta, currents_TBX.dim())
    membrane = torch.zeros_like(currents_TBX[0])
    spikes = torch.zeros_like(membrane)
    all_spikes, all_membranes = [], []
    for current in currents_TBX:
        membrane = integrate(membrane, current, spikes.detach(), beta, neuron.threshold)
        spikes = _Spike.apply(membrane, neuron)
        all_spikes.append(spikes)
        all_membranes.append(membrane)
    return torch.stack(all_spikes), torch.stack(all_membranes)


def recurrent_scan(currents_TBN: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """`scan` of a layer that also receives its own spikes of the step before: I_t + recurrent z_{t-1}.

    The share `spec.recurrent_gradient` of the gradient passes through these spikes, and none through the reset. Dropout
    is of I_t, or of the whole current where `spec.recurrent_dropout`.
    """
    neuron, drop, whole = layer.neuron, layer.dropout, layer.spec.recurrent_dropout
    assert layer.recurrent_NM is not None
    factor_TBN = None
    if drop is not None and whole:
        factor_TBN = dropout(torch.ones_like(currents_TBN), drop)
    elif drop is not None:
        currents_TBN = dropout(currents_TBN, drop)
    membrane = torch.zeros_like(currents_TBN[0])
    spikes = torch.zeros_like(membrane)
    all_spikes, all_membranes = [], []
    for t, current in enumerate(currents_TBN):
        current = current + _Damped.apply(spikes, layer.spec.recurrent_gradient) @ layer.recurrent_NM.T
        if factor_TBN is not None:
            current = current * factor_TBN[t]
        membrane = integrate(membrane, current, spikes.detach(), neuron.beta, neuron.threshold)
        spikes = _Spike.apply(membrane, neuron)
        all_spikes.append(spikes)
        all_membranes.append(membrane)
    return torch.stack(all_spikes), torch.stack(all_membranes)


class _Damped(torch.autograd.Function):
    """The values as they are, a share of their gradient."""

    @staticmethod
    def forward(ctx, values: Tensor, share: float) -> Tensor:
        ctx.share = share
        return values.view_as(values)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0] * ctx.share, None


class _Spike(torch.autograd.Function):
    """Heaviside step forward (Eq. 2), fast sigmoid backward (Eq. 8)."""

    @staticmethod
    def forward(ctx, membrane: Tensor, neuron: Neuron) -> Tensor:
        ctx.save_for_backward(membrane)
        ctx.neuron = neuron
        return fires(membrane, neuron.threshold, neuron.strict).to(membrane.dtype)

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        (membrane,) = ctx.saved_tensors
        return surrogate_gradient(membrane, ctx.neuron.centre, ctx.neuron.slope, grad_outputs[0]), None
