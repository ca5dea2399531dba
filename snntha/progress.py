"""Where the training of a seed stands."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Totals:
    """Sums over the minibatches of the running epoch; what is left on a GPU joins them when it is read.

    Reading makes the processor wait for the GPU, which is why no minibatch does.
    """

    loss: float = 0.0
    correct: int = 0
    samples: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.bad_iteration: int | None = None  # the first whose loss or gradient was not finite
        self._unread: list[tuple[Tensor, int, int]] = []

    def add(self, outcome: Tensor, samples: int, iteration: int) -> None:
        """A minibatch; its outcome is (mean loss, norm of the gradient, samples that it got right)."""
        self._unread.append((outcome, samples, iteration))
        if outcome.is_cpu:
            self.read()

    def read(self) -> None:
        """Bring the sums up to date."""
        for outcome, samples, iteration in self._unread:
            loss, norm, correct = outcome.tolist()
            if self.bad_iteration is None and not math.isfinite(loss + norm):
                self.bad_iteration = iteration
            self.loss += loss * samples
            self.correct += round(correct)
            self.samples += samples
        self._unread.clear()


@dataclass
class Progress:
    """Where a seed stands; with weights and optimizer all that going on needs. Plain data, saved as it is."""

    thresholds: list[float]
    previous_thresholds: list[float]  # before the last update
    epoch: int = 0  # finished epochs
    batch: int = 0  # finished minibatches of the running epoch
    iteration: int = 0  # finished minibatches
    seconds: float = 0.0
    best_epoch: int = 0
    best_score: float = -math.inf
    train_accuracy: float | None = None  # of the last finished epoch, percent
    totals: Totals = field(default_factory=Totals)
    signs: list[Tensor] = field(default_factory=list)  # of the weights as the epoch began; empty between two

    @classmethod
    def restore(cls, state: dict[str, Any]) -> Progress:
        return cls(**{**state, "totals": Totals(**state["totals"])})
