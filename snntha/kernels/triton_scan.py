"""The scan on a GPU (Triton): all time steps of a layer's neurons in one kernel, forward and backward.

A program owns BLOCK neurons of the minibatch and walks through time with their state in registers, in the operations
and the order of `reference.scan`, without fused multiply-adds in the forward pass. No two programs write to one cell.
Memory is time first with channels last: neuron m of a step's (B, ..., C) has channel m % C.

With TRITON_INTERPRET=1 in the environment when this is imported, the kernels run on the CPU.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from snntha.kernels.spec import Affine, Dropout
from snntha.neuron import Neuron

INTERPRETED = triton.knobs.runtime.interpret
TILE = {"BLOCK": 1024, "AHEAD": 1} if INTERPRETED else {}  # elsewhere what is fastest of _TILES for so many neurons
_TILES = [
    triton.Config({"BLOCK": block, "AHEAD": ahead}, num_warps=block // 32)
    for block in (64, 128, 256)
    for ahead in (1, 4)  # steps whose loads are under way
]


def _tuned(kernel: Any) -> Any:
    return kernel if INTERPRETED else triton.autotune(_TILES, key=["size"])(kernel)


def scan(
    currents_TBX: Tensor, neuron: Neuron, drop: Dropout | None = None, affine: Affine | None = None
) -> tuple[Tensor, Tensor]:
    """As `reference.scan`."""
    if currents_TBX.dim() == 5:
        spikes_TBHWC, membrane_TBHWC = scan_channels_last(currents_TBX.movedim(2, -1), neuron, drop, affine)
        return spikes_TBHWC.movedim(-1, 2), membrane_TBHWC.movedim(-1, 2)
    return scan_channels_last(currents_TBX, neuron, drop, affine)


def scan_channels_last(
    currents_TBC: Tensor, neuron: Neuron, drop: Dropout | None, affine: Affine | None
) -> tuple[Tensor, Tensor]:
    """The same of currents whose last axis is the channel, (T, B, N) or (T, B, H, W, C)."""
    beta_C = neuron.beta if isinstance(neuron.beta, Tensor) else None
    return _Scan.apply(currents_TBC, *(affine or (None, None)), beta_C, neuron, drop)


class _Scan(torch.autograd.Function):
    """Keeps the membranes, and the currents where a scale's gradient needs them."""

    @staticmethod
    def forward(ctx, currents_TBC, scale_SC, shift_SC, beta_C, neuron, drop):
        currents_TBC = _steps_contiguous(currents_TBC)
        tables = scale_SC, shift_SC, beta_C
        scale_SC, shift_SC, beta_C = (None if values is None else values.contiguous() for values in tables)
        spikes_TBC, membrane_TBC = (torch.empty_like(currents_TBC, memory_format=torch.contiguous_format) for _ in "12")
        size, grid = _grid(currents_TBC)
        _forward[grid](
            currents_TBC,
            scale_SC,
            shift_SC,
            beta_C,
            spikes_TBC,
            membrane_TBC,
            len(currents_TBC),
            size,
            currents_TBC.stride(0),
            currents_TBC.shape[-1],
            _step_stride(shift_SC),
            neuron.beta if beta_C is None else 0.0,
            neuron.threshold,
            *_dropout_numbers(drop, currents_TBC.shape),
            STRICT=neuron.strict,
            SCALED=scale_SC is not None,
            SHIFTED=shift_SC is not None,
            BETAS=beta_C is not None,
            DROPS=drop is not None,
            enable_fp_fusion=False,
            **TILE,
        )
        ctx.save_for_backward(membrane_TBC, beta_C, scale_SC, None if scale_SC is None else currents_TBC)
        ctx.neuron, ctx.drop, ctx.shift_shape = neuron, drop, None if shift_SC is None else shift_SC.shape
        ctx.set_materialize_grads(False)
        return spikes_TBC, membrane_TBC

    @staticmethod
    def backward(ctx, *grad_outputs):
        membrane_TBC, beta_C, scale_SC, currents_TBC = ctx.saved_tensors
        grad_spikes_TBC, grad_membrane_TBC = (
            None if grad is None else _steps_contiguous(grad) for grad in grad_outputs
        )
        grad_TBC = torch.empty_like(membrane_TBC)
        grad_beta_BC = torch.empty_like(membrane_TBC[0]) if ctx.needs_input_grad[3] else None
        size, grid = _grid(membrane_TBC)
        _backward[grid](
            grad_spikes_TBC,
            grad_membrane_TBC,
            membrane_TBC,
            grad_TBC,
            beta_C,
            grad_beta_BC,
            len(membrane_TBC),
            size,
            membrane_TBC.shape[-1],
            *(0 if grad is None else grad.stride(0) for grad in (grad_spikes_TBC, grad_membrane_TBC)),
            ctx.neuron.beta if beta_C is None else 0.0,
            ctx.neuron.centre,
            ctx.neuron.slope,
            *_dropout_numbers(ctx.drop, membrane_TBC.shape),
            OF_SPIKES=grad_spikes_TBC is not None,
            OF_MEMBRANE=grad_membrane_TBC is not None,
            BETAS=beta_C is not None,
            OF_BETA=grad_beta_BC is not None,
            DROPS=ctx.drop is not None,
            **TILE,
        )
        grad_scale_SC = None if scale_SC is None else _sum_to(grad_TBC * currents_TBC, scale_SC.shape)
        grad_shift_SC = None if ctx.shift_shape is None else _sum_to(grad_TBC, ctx.shift_shape)
        grad_currents_TBC = grad_TBC if scale_SC is None else grad_TBC * _of_steps(scale_SC, grad_TBC.dim())
        grad_beta_C = None if grad_beta_BC is None else grad_beta_BC.flatten(0, -2).sum(0, dtype=torch.float64).float()
        return grad_currents_TBC, grad_scale_SC, grad_shift_SC, grad_beta_C, None, None


@_tuned
@triton.jit(do_not_specialize=["key"])
def _forward(
    currents_TM,
    scale_SC,
    shift_SC,
    beta_C,
    spikes_TM,
    membrane_TM,
    steps,
    size,
    step_stride,
    channels,
    affine_stride,
    beta,
    threshold,
    key,
    limit,
    keep_scale,
    drawn_before,
    drawn_stride,
    STRICT: tl.constexpr,
    SCALED: tl.constexpr,
    SHIFTED: tl.constexpr,
    BETAS: tl.constexpr,
    DROPS: tl.constexpr,
    BLOCK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = m < size
    channel = m % channels
    decay = tl.load(beta_C + channel) if BETAS else beta
    membrane = tl.zeros([BLOCK], tl.float32)
    spike = tl.zeros([BLOCK], tl.float32)
    place, source = m, m  # in the spikes, and in the currents, where all steps may be one
    drawn = m + drawn_before
    for _ in tl.range(0, steps, num_stages=AHEAD):  # pyright: ignore[reportGeneralTypeIssues]
        current = tl.load(currents_TM + source, inside, 0.0)
        if SCALED:
            current = current * tl.load(scale_SC + channel)
        if SHIFTED:
            current = current + tl.load(shift_SC + channel)
        if DROPS:
            current = tl.where(_stays(drawn, key, limit), current * keep_scale, 0.0)
        membrane = decay * membrane + current - spike * threshold
        spike = (membrane > threshold if STRICT else membrane >= threshold).to(tl.float32)
        tl.store(spikes_TM + place, spike, inside)
        tl.store(membrane_TM + place, membrane, inside)
        place += size
        drawn += drawn_stride
        source += step_stride
        channel += affine_stride


@_tuned
@triton.jit(do_not_specialize=["key"])
def _backward(
    grad_spikes_TM,
    grad_membrane_TM,
    membrane_TM,
    grad_TM,
    beta_C,
    grad_beta_M,
    steps,
    size,
    channels,
    spikes_stride,
    membrane_stride,
    beta,
    centre,
    slope,
    key,
    limit,
    keep_scale,
    drawn_before,
    drawn_stride,
    OF_SPIKES: tl.constexpr,
    OF_MEMBRANE: tl.constexpr,
    BETAS: tl.constexpr,
    OF_BETA: tl.constexpr,
    DROPS: tl.constexpr,
    BLOCK: tl.constexpr,
    AHEAD: tl.constexpr,
):
    """dL/du_t = dL/dz_t / (1 + slope |u_t - centre|)^2 + beta dL/du_{t+1} + what the loss says of u_t itself.

    dL/dbeta = sum over t of dL/du_t u_{t-1}, here of each neuron of each sample.
    """
    m = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = m < size
    last = tl.full([BLOCK], steps - 1, tl.int64)  # 64 bits: steps times neurons may be more than 2^31
    place, of_spikes, of_membrane = m + last * size, m + last * spikes_stride, m + last * membrane_stride
    drawn = m + drawn_before + last * drawn_stride
    decay = tl.load(beta_C + m % channels) if BETAS else beta
    grad = tl.zeros([BLOCK], tl.float32)
    grad_beta = tl.zeros([BLOCK], tl.float32)
    for _ in tl.range(0, steps, num_stages=AHEAD):  # pyright: ignore[reportGeneralTypeIssues]
        grad = decay * grad
        if OF_SPIKES:
            distance = 1 + slope * tl.abs(tl.load(membrane_TM + place, inside, 0.0) - centre)
            grad += tl.load(grad_spikes_TM + of_spikes, inside, 0.0) / (distance * distance)
        if OF_MEMBRANE:
            grad += tl.load(grad_membrane_TM + of_membrane, inside, 0.0)
        if OF_BETA:
            grad_beta += grad * tl.load(membrane_TM + place - size, inside & (place >= size), 0.0)
        passed = tl.where(_stays(drawn, key, limit), grad * keep_scale, 0.0) if DROPS else grad
        tl.store(grad_TM + place, passed, inside)
        place -= size
        drawn -= drawn_stride
        of_spikes -= spikes_stride
        of_membrane -= membrane_stride
    if OF_BETA:
        tl.store(grad_beta_M + m, grad_beta, inside)


@triton.jit
def _stays(counter, key, limit):
    """Which currents dropout leaves; see `reference.dropout_mask`."""
    word = counter.to(tl.uint32)
    word = (word ^ (word >> 16)) * 0x7FEB352D
    word = word ^ key.to(tl.uint32, bitcast=True)
    word = (word ^ (word >> 15)) * 0x846CA68B
    word = word ^ (word >> 16)
    return word.to(tl.int64) >= limit


def _dropout_numbers(drop: Dropout | None, shape_TBX: torch.Size) -> tuple[int, int, float, int, int]:
    """Key as a signed number, whose type does not depend on its value, limit of the hash, and scale of what stays.

    Then where in the whole minibatch, of which there may be a share, the counter begins, and its stride over time.
    """
    if drop is None:
        return 0, 0, 1.0, 0, 0
    key = drop.key - 2**32 if drop.key >= 2**31 else drop.key
    _, batch, *neurons = shape_TBX
    before, whole = (samples * math.prod(neurons) for samples in (drop.share.before, batch + drop.share.others))
    return key, round(drop.probability * 2**32), 1 / (1 - drop.probability), before, whole


def _grid(values_TBC: Tensor) -> tuple[int, Callable]:
    """Neurons of all samples, and how many programs share them."""
    size = values_TBC[0].numel()
    return size, lambda meta: (triton.cdiv(size, meta["BLOCK"]),)


def _steps_contiguous(values_TBC: Tensor) -> Tensor:
    """The same values with each step in one piece; an expanded step, as of images and counts, stays what it is."""
    return values_TBC if values_TBC[0].is_contiguous() else values_TBC.contiguous()


def _step_stride(values_SC: Tensor | None) -> int:
    return 0 if values_SC is None or len(values_SC) == 1 else values_SC.stride(0)


def _of_steps(values_SC: Tensor, dimensions: int) -> Tensor:
    """The same values in the shape (S, 1, ..., C)."""
    return values_SC.view(len(values_SC), *[1] * (dimensions - 2), -1)


def _sum_to(values_TBC: Tensor, shape_SC: torch.Size) -> Tensor:
    return values_TBC.sum_to_size(shape_SC[0], *[1] * (values_TBC.dim() - 2), shape_SC[1]).view(shape_SC)
