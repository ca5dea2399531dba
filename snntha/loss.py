"""Losses of Appendix D, on what the output layer did."""

import torch
from torch import Tensor


def spike_count_loss(count_BN: Tensor, labels_B: Tensor, time_steps: int, correct: float, incorrect: float) -> Tensor:
    """Mean over batch and classes of (count - target)^2, divided by T (Eq. 30 in the scale of the published rates).

    The target count of the right class is int(correct T), of the others int(incorrect T).
    """
    target_BN = torch.full_like(count_BN, int(incorrect * time_steps))
    target_BN.scatter_(1, labels_B[:, None], int(correct * time_steps))
    return (count_BN - target_BN).square().mean() / time_steps


def membrane_loss(membrane_TBN: Tensor, target_TBN: Tensor) -> Tensor:
    """Mean over the steps of (y - u)^2, u before the reset (Eq. 29 in the scale of the published rate)."""
    return (target_TBN - membrane_TBN).square().mean()
