"""Time constants that differ from layer to layer or from neuron to neuron: how they are drawn, and what they may be."""

import math

import numpy as np
import torch
from torch import Tensor

from snntha.config.rules import BETAS

_FURTHEST = math.log(BETAS[1] / BETAS[0])


def draw(beta: float, spread: float, count: int, generator: torch.Generator) -> Tensor:
    """Latents of so many betas, beta = sigmoid(latent), with time constants gamma distributed around that of `beta`.

    beta = exp(-1 / tau), tau in steps: the mean of tau is -1 / ln(beta), its standard deviation `spread` times that,
    0 for none. Gamma distributed time constants are those of Perez-Nieves et al., "Neural heterogeneity promotes robust
    learning" (2021), the sigmoid that keeps a learned one in range that of Fang et al., "Incorporating learnable
    membrane time constant" (2021).
    """
    tau_C = np.full(count, -1 / math.log(beta))
    if spread > 0:
        shape = 1 / spread**2
        seed = int(torch.randint(2**62, (), generator=generator))
        tau_C = np.random.default_rng(seed).gamma(shape, tau_C / shape)
    shortest, longest = (-1 / math.log(limit) for limit in BETAS)
    beta_C = np.exp(-1 / np.clip(tau_C, shortest, longest))
    return torch.from_numpy(np.log(beta_C / (1 - beta_C))).float()


def keep_inside(latent: Tensor) -> None:
    """Bring latents back, in place, to what float32 still tells from 0 and 1."""
    latent.clamp_(-_FURTHEST, _FURTHEST)
