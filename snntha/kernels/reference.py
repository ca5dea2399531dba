"""The definition: plain PyTorch, a loop over time steps, gradients by autograd.

A layer is `delayed` where it has delays, `synapse`, `batch_norm` where it has one, then `scan`. Every faster kernel
takes the same arguments as the function of the same name here and must agree with it: bit for bit in the spikes of
binary layers, within float rounding in gradients.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from snntha.kernels.spec import BatchNorm, Dropout, Events, Layer
from snntha.neuron import Neuron, fires, integrate, surrogate_gradient

_MASK = 0xFFFFFFFF


def dense(events: Events, device: torch.device | None = None) -> Tensor:
    """Events as spike counts_TBX, float32, shape (T, B, *shape), made on the device."""
    rows = torch.repeat_interleave(torch.diff(events.indptr.to(device)))
    index = events.index.to(device).long()
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
    """Currents of a layer, (T, B, *output_shape): dense with bias, or convolution and average pooling.

    Sums of +-1 weights over counts are exact in float32; the bias is added last so that they stay so.
    """
    time_steps, batch = spikes_TBX.shape[:2]
    if layer.weight.dim() == 2:
        currents_TBN = spikes_TBX.reshape(time_steps, batch, -1) @ layer.weight.T
        return currents_TBN if layer.bias_N is None else currents_TBN + layer.bias_N
    current = F.conv2d(spikes_TBX.flatten(0, 1), layer.weight)
    if layer.spec.pool > 1:
        current = F.avg_pool2d(current, layer.spec.pool)
    return current.unflatten(0, (time_steps, batch))


def batch_norm(currents_TBCHW: Tensor, norm: BatchNorm, updates_per_step: int = 1) -> Tensor:
    """Normalise each time step with its own batch statistics, as one BatchNorm2d called T times.

    Statistics are taken in float64, so that they round to the same float32 whatever the order of the sums.
    """
    if not norm.training:
        scale_C, shift_C = affine(norm, norm.running_mean_C.double(), norm.running_var_C.double())
        return currents_TBCHW * scale_C[:, None, None] + shift_C[:, None, None]
    wide = currents_TBCHW.double()
    mean_TC = wide.mean((1, 3, 4))
    var_TC = (wide - mean_TC[:, None, :, None, None]).square().mean((1, 3, 4))
    count = currents_TBCHW.shape[1] * currents_TBCHW.shape[3] * currents_TBCHW.shape[4]
    update_running(norm, mean_TC.detach(), var_TC.detach(), count, updates_per_step)
    scale_TC, shift_TC = affine(norm, mean_TC, var_TC)
    return currents_TBCHW * scale_TC[:, None, :, None, None] + shift_TC[:, None, :, None, None]


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

    The counter is the flat index of (t, b, n); the mixing function is Wellons' lowbias32 on 32-bit words, with the
    key entering half-way so that no two keys give shifted copies of one mask.
    """
    word = torch.arange(math.prod(shape), dtype=torch.int64, device=device) & _MASK
    word = ((word ^ (word >> 16)) * 0x7FEB352D) & _MASK
    word = word ^ drop.key
    word = ((word ^ (word >> 15)) * 0x846CA68B) & _MASK
    word = word ^ (word >> 16)
    return (word >= round(drop.probability * 2**32)).view(shape)


def scan(currents_TBX: Tensor, neuron: Neuron, drop: Dropout | None = None) -> tuple[Tensor, Tensor]:
    """Leaky integrate-and-fire over all steps: spikes_TBX (0.0 or 1.0) and membrane_TBX before the reset.

    Reset by subtraction one step late, without a gradient through it (Eq. 1).
    """
    if drop is not None:
        currents_TBX = dropout(currents_TBX, drop)
    membrane = torch.zeros_like(currents_TBX[0])
    spikes = torch.zeros_like(membrane)
    all_spikes, all_membranes = [], []
    for current in currents_TBX:
        membrane = integrate(membrane, current, spikes.detach(), neuron.beta, neuron.threshold)
        spikes = _Spike.apply(membrane, neuron)
        all_spikes.append(spikes)
        all_membranes.append(membrane)
    return torch.stack(all_spikes), torch.stack(all_membranes)


def recurrent_scan(currents_TBN: Tensor, layer: Layer) -> tuple[Tensor, Tensor]:
    """`scan` of a layer that also receives its own spikes of the step before: I_t + recurrent z_{t-1}.

    The gradient passes through these spikes, though not through the reset. Dropout is of I_t, or of the whole current
    where `spec.recurrent_dropout`.
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
        current = current + spikes @ layer.recurrent_NM.T
        if factor_TBN is not None:
            current = current * factor_TBN[t]
        membrane = integrate(membrane, current, spikes.detach(), neuron.beta, neuron.threshold)
        spikes = _Spike.apply(membrane, neuron)
        all_spikes.append(spikes)
        all_membranes.append(membrane)
    return torch.stack(all_spikes), torch.stack(all_membranes)


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
