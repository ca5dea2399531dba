"""Delays that are learned as real numbers and act as whole steps."""

import torch
from torch import Tensor


class _Round(torch.autograd.Function):
    @staticmethod
    def forward(ctx, share: Tensor, longest: int) -> Tensor:
        ctx.longest = longest
        return (share * longest).round()

    @staticmethod
    def backward(ctx, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0] * ctx.longest, None


def whole_delays(share: Tensor, longest: int) -> Tensor:
    """round(share longest), steps from 0 to the longest; the gradient passes straight through the rounding."""
    return _Round.apply(share, longest)
