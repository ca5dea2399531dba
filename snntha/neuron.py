"""The spiking neuron: Eqs. (1), (2) and (8), once. They work on floats, numpy arrays and tensors alike.

Everything else that says what a neuron does is an optimisation of these three functions: `kernels.reference` loops over
them, faster kernels must agree with that loop, figures draw them.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Neuron:
    """The constants of a layer's leaky integrate-and-fire neurons during one minibatch."""

    beta: Any  # decay of the membrane in one time step: a number, or a tensor or array with one for each channel
    threshold: float  # theta, which annealing moves from minibatch to minibatch
    slope: float  # k of the surrogate gradient
    centre: float  # of the surrogate gradient: the start threshold (clamped) or the current one (moving)
    strict: bool  # fires above the threshold, not at it


def integrate(membrane: Any, current: Any, spikes: Any, beta: Any, threshold: Any) -> Any:
    """Eq. (1): u_t = beta u_{t-1} + I_t - z_{t-1} theta, the membrane before the reset that its own spike causes.

    Args:
        membrane: u_{t-1}.
        current: I_t, the weighted input spikes of this step, with bias.
        spikes: z_{t-1}, 0 or 1.
        beta: decay.
        threshold: theta, which a spike subtracts one step later.
    """
    return beta * membrane + current - spikes * threshold


def fires(membrane: Any, threshold: Any, strict: bool = False) -> Any:
    """Eq. (2): whether z_t = 1, which is u_t >= theta, or u_t > theta where `strict` (the published code)."""
    return membrane > threshold if strict else membrane >= threshold


def surrogate_gradient(membrane: Any, centre: float, slope: float, grad_spikes: Any = 1.0) -> Any:
    """Eq. (8): dz/du = 1 / (1 + k |u - c|)^2, times the gradient of the spikes.

    The centre c is the start threshold where the surrogate is clamped (Alg. 1), so that it keeps its distance from
    neurons at rest while the threshold rises.
    """
    return grad_spikes / (1 + slope * abs(membrane - centre)) ** 2
