"""Where the training of a seed stands."""

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Totals:
    """Sums over the minibatches of the running epoch."""

    loss: float = 0.0
    correct: int = 0
    samples: int = 0
    seconds: float = 0.0


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
    signs: "list[Tensor]" = field(
        default_factory=list
    )  # of the weights as the epoch began; empty between two

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Progress":
        return cls(**{**state, "totals": Totals(**state["totals"])})
