"""Adam and SGD, and the periodic cosine of Eq. (28) as a pure function of the iteration."""

import math
from collections.abc import Iterable

import torch
from torch import nn

from snntha.config.schema import Optimizer


def build(settings: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The optimizer that the configuration names."""
    if settings.name == "adam":
        return torch.optim.Adam(parameters, lr=settings.lr, betas=(settings.betas[0], settings.betas[1]), fused=True)
    if settings.name == "sgd":
        return torch.optim.SGD(parameters, lr=settings.lr, momentum=settings.momentum)
    raise ValueError(f"optimizer.name={settings.name!r}; expected adam or sgd")


def learning_rate(initial: float, iteration: int, half_period: float | None) -> float:
    """Eq. (28): initial / 2 (1 + cos(pi iteration / half_period)); it comes back up, it does not restart."""
    if half_period is None:
        return initial
    return initial / 2 * (1 + math.cos(math.pi * iteration / half_period))
