"""What the figures read: the folders of finished or running runs, and notes on what these lack."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import torch

from snntha import topology
from snntha.errors import UserError
from snntha.plots.style import MODE_COLOURS, OTHER_COLOURS
from snntha.records import Run, SeedRecord
from snntha.schema import Config
from snntha.topology import LayerShape

Record = TypeVar("Record")
MODE_LABELS = {"flt32": "flt32", "bsnn_theta1": "BSNN θ=1", "bsnn": "BSNN", "annealed": "annealed"}
ACTIVITY = {"start": "its first epoch", "end": "its end"}  # when a run writes activity_<when>.pt


class Missing(UserError):
    """A run's folder lacks what a figure shows."""


@dataclass(frozen=True)
class Options:
    """What the figures let one choose; None takes the run's value, or the figure's own without a run."""

    trial: int = 0
    iterations: tuple[int, ...] | None = None  # temporal
    frames: int = 100  # animations: at most
    beta: float | None = None  # neuron
    slope: float | None = None  # surrogate
    start: float | None = None  # neuron and surrogate: thresholds
    final: float | None = None


class RunFolder:
    """One trial of one run, as figures see it.

    Args:
        path: the run's folder.
        trial: number of the trial, from 0.
    """

    def __init__(self, path: Path, trial: int = 0):
        self.path = path
        self._run = Run.open(path)
        self.config: Config = self._run.config
        if not 0 <= trial < self.config.trials:
            raise UserError(f"trial={trial}: the run in {path} has trials 0 to {self.config.trials - 1}")
        self.number = trial
        self.trial: SeedRecord = self._run.seed(trial)
        self.colour = MODE_COLOURS[self.config.mode.name]
        self.label = self.mode

    @property
    def mode(self) -> str:
        """The mode as the paper writes it."""
        return MODE_LABELS[self.config.mode.name]

    @cached_property
    def layers(self) -> list[LayerShape]:
        return topology.parse(self.config.model.topology, tuple(self.config.dataset.input_shape))

    @property
    def longer_validation(self) -> int | None:
        """Time steps of validation where training has another number: the loss grows with them."""
        steps = self.config.dataset.test_time_steps
        return steps if steps != self.config.dataset.time_steps else None

    @property
    def final_thresholds(self) -> list[float]:
        """theta_inf of each layer."""
        threshold = self.config.hparams.threshold
        return [start + rise for start, rise in zip(threshold.start, threshold.rise, strict=True)]

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, one an epoch."""
        lines = list(self.trial.read_metrics())
        if not lines:
            raise Missing(f"{self.trial.metrics_path} is missing or empty: no epoch has ended; go on with the run")
        return lines

    def column(self, key: str) -> list[Any]:
        """One value of each epoch's line."""
        if any(key not in line for line in self.metrics):
            raise Missing(f"{self.trial.metrics_path} has no {key}: an older run or another data set; train it anew")
        return [line[key] for line in self.metrics]

    def activity(self, when: str, key: str) -> Any:
        """One entry of activity_<when>.pt."""
        path = self.trial.activity_path(when)
        activity = self.trial.load_activity(when)
        if activity is None:
            raise Missing(f"{path} is missing: a run writes it at {ACTIVITY[when]}; finish the run or train it anew")
        if activity.get(key) is None:
            raise Missing(f"{path} has no {key}: an older run or another data set; train it anew")
        return activity[key]

    def weights(self, layer: int) -> torch.Tensor:
        """Latent weights of one layer in the best checkpoint."""
        path = self.trial.checkpoint_path("best")
        if not path.is_file():
            raise Missing(f"{path} is missing: no epoch has ended, or it was removed")
        return self.trial.load_checkpoint("best", torch.device("cpu"))["network"][f"synapses.{layer}.weight"]


@dataclass
class Runs:
    """The runs of one picture and what they lack."""

    folders: Sequence[RunFolder]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Runs of one mode get colours of their own, and labels that tell them apart."""
        colours = iter(OTHER_COLOURS)
        seen: set[str] = set()
        several = len({folder.config.dataset.name for folder in self.folders}) > 1
        labels = [f"{folder.config.dataset.name} {folder.mode}" if several else folder.mode for folder in self.folders]
        for folder, label in zip(self.folders, labels, strict=True):
            if folder.colour in seen:
                folder.colour = next(colours, folder.colour)
            seen.add(folder.colour)
            folder.label = label if labels.count(label) == 1 else f"{label} ({folder.path.name})"

    @property
    def first(self) -> RunFolder:
        if not self.folders:
            raise UserError("run= is missing: this figure is drawn from a run; name its folder")
        return self.folders[0]

    def having(self, read: Callable[[RunFolder], Record]) -> list[tuple[RunFolder, Record]]:
        """The runs that hold a record, with it. The others are noted; raises Missing if there are none."""
        found, absent = [], []
        for folder in [self.first, *self.folders[1:]]:
            try:
                found.append((folder, read(folder)))
            except Missing as error:
                absent.append(str(error))
        if not found:
            raise Missing("; ".join(absent))
        self.notes.extend(absent)
        return found

    def single(self, read: Callable[[RunFolder], Record]) -> tuple[RunFolder, Record]:
        """The first run that holds a record, for a figure that has room for one; the others are noted."""
        found = self.having(read)
        self.notes.extend(f"drawn for one run at a time: {folder.path} is left out" for folder, _ in found[1:])
        return found[0]
