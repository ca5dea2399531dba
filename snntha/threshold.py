"""Threshold annealing: Eq. (4), and how far it gets. Plain floats, one per layer; no state."""

from collections.abc import Sequence


def anneal(theta: float, final: float, rate: float) -> float:
    """One update after a minibatch, Eq. (4): theta + rate (final - theta)."""
    return theta + rate * (final - theta)


def anneal_layers(thetas: Sequence[float], finals: Sequence[float], rates: Sequence[float]) -> list[float]:
    """Eq. (4) for every layer."""
    return [anneal(theta, final, rate) for theta, final, rate in zip(thetas, finals, rates, strict=True)]


def theta_after(start: float, rise: float, rate: float, updates: int) -> float:
    """Eq. (4) in closed form: start + rise (1 - (1 - rate)^updates)."""
    return start + rise * (1 - (1 - rate) ** updates)
