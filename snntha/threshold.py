"""Threshold annealing: Eq. (4), and the bounds of Eqs. (5) to (7) under which it silences no neuron. No state."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Annealing:
    """How one layer's threshold moves: from `start` towards `end`, a share `rate` of the way at every minibatch."""

    start: float  # theta_0
    rise: float  # theta_inf - theta_0
    rate: float  # alpha

    @property
    def end(self) -> float:
        """theta_inf."""
        return self.start + self.rise

    def step(self, theta: float) -> float:
        """The threshold after one more minibatch."""
        return anneal(theta, self.end, self.rate)

    def after(self, updates: int) -> float:
        """The threshold after so many minibatches, Eq. (4) in closed form: start + rise (1 - (1 - rate)^updates)."""
        return self.start + self.rise * (1 - (1 - self.rate) ** updates)


def anneal(theta: float, end: float, rate: float) -> float:
    """Eq. (4), one update after a minibatch: theta + rate (end - theta)."""
    return theta + rate * (end - theta)


def survives_update(membrane: Any, theta: float, next_theta: float) -> Any:
    """Eq. (5): a spike outlasts an update if theta' - theta < u' - theta.

    Args:
        membrane: u', with the weights after the update, where the neuron fired under `theta`.
        theta: before the update.
        next_theta: after it.
    """
    return next_theta - theta < membrane - theta


def survives_instantly(current: Any, theta: float, end: float, rate: float) -> Any:
    """Eq. (6): the same for a membrane without history, (1 - rate) theta + rate end < z.w'.

    Args:
        current: z.w', the current of one time step with the weights after the update.
        theta: before the update.
        end: theta_inf.
        rate: alpha.
    """
    return (1 - rate) * theta + rate * end < current


def survives_annealing(current: Any, end: float) -> Any:
    """Eq. (7): a spike outlasts all annealing if theta_inf < z.w; `current` is z.w of one time step."""
    return end < current
