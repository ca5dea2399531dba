"""Where the training of a seed stands, and going on from there."""

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from snntha.network import SpikingNetwork, load_weights

if TYPE_CHECKING:
    from snntha.records import SeedRecord


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

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Progress":
        return cls(**{**state, "totals": Totals(**state["totals"])})


def save_checkpoint(
    recorder: "SeedRecord",
    which: str,
    network: SpikingNetwork,
    optimizer: torch.optim.Optimizer | None,
    progress: Progress,
) -> None:
    """Weights, thresholds, early stopping and position; to go on from it, also optimizer and random state.

    The schedule follows from these.
    """
    state = {"network": network.state_dict(), "progress": asdict(progress)}
    if optimizer is not None:
        state |= {"optimizer": optimizer.state_dict(), "random_state": torch.get_rng_state()}
    recorder.save_checkpoint(which, state)


def load_checkpoint(
    recorder: "SeedRecord", which: str, network: SpikingNetwork, optimizer: torch.optim.Optimizer | None = None
) -> Progress:
    """Fill network (and optimizer with random state, to go on training) and return the position."""
    state = recorder.load_checkpoint(which, network.device)
    load_weights(network, state["network"], recorder.checkpoint_path(which))
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random_state"].cpu())
    return Progress.restore(state["progress"])
