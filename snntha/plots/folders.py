"""What the figures draw: runs with a colour and a label, and notes on what their records lack."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from snntha import layers
from snntha.errors import Missing, UserError
from snntha.folder import RunFolder
from snntha.plots.style import MODE_COLOURS, OTHER_COLOURS
from snntha.records import SeedRecord, load_tensors

Record = TypeVar("Record")
MODE_LABELS = {"flt32": "flt32", "bsnn_theta1": "BSNN θ=1", "bsnn": "BSNN", "annealed": "annealed"}  # as in the paper
WRITTEN = {"initial": "its start", "start": "its first epoch", "end": "its end"}  # when it writes activity_<when>.pt


@dataclass(frozen=True)
class Options:
    """What the figures let one choose; None takes the run's value, or the figure's own without a run."""

    trial: int = 0  # number of the run's seed, as in the folder's name
    iterations: tuple[int, ...] | None = None  # temporal
    frames: int = 100  # animations: at most
    kinds: tuple[str, ...] = ("png", "svg")  # files of a figure that does not move
    beta: float | None = None  # neuron
    slope: float | None = None  # surrogate
    start: float | None = None  # neuron and surrogate: thresholds
    final: float | None = None


class ShownRun:
    """One seed of the run in a folder, numbered from 0, as figures show it."""

    def __init__(self, folder: Path, seed: int = 0):
        record = RunFolder(folder)
        self.folder = folder
        self.config = record.load_config()
        self.seed = record.seed(seed)
        self.column, self.problems = self.seed.column, record.problems
        self.layers = layers.resolve(self.config)
        self.dataset, mode = self.config.dataset.name, self.config.mode.name
        self.title = self.config.dataset.title or self.dataset
        self.label = self.mode = MODE_LABELS[mode]
        self.colour = MODE_COLOURS[mode]

    @property
    def has_classes(self) -> bool:
        """Whether an accuracy was recorded."""
        return self.column("validation_accuracy")[0] is not None

    def activity(self, when: str, key: str) -> Any:
        """One entry of activity_<when>.pt."""
        path = self.seed.activity_path(when)
        hint = f": a run writes it at {WRITTEN[when]}; finish the run or train it anew"
        value = load_tensors(path, why_missing=hint).get(key)
        if value is None:
            raise Missing(f"{path} has no {key}: an older run or another data set; train it anew")
        return value

    def weights(self, layer: int) -> torch.Tensor:
        """Latent weights of one layer in the best checkpoint."""
        return SeedRecord(self.seed.folder).read_checkpoint("best")["network"][f"synapses.{layer}.weight"]


class Runs:
    """The runs of one picture and what they lack; those of one mode get colours and labels that tell them apart."""

    def __init__(self, shown: Sequence[ShownRun]):
        self.shown = shown
        self.notes: list[str] = []
        colours, seen = iter(OTHER_COLOURS), set()
        several = len({run.title for run in self.shown}) > 1
        labels = [f"{run.title} {run.mode}" if several else run.mode for run in self.shown]
        for run, label in zip(self.shown, labels, strict=True):
            if run.colour in seen:
                run.colour = next(colours, run.colour)
            seen.add(run.colour)
            run.label = label if labels.count(label) == 1 else f"{label} ({run.folder.name})"

    def having(self, read: Callable[[ShownRun], Record]) -> list[tuple[ShownRun, Record]]:
        """The runs that hold a record, with it. The others are noted; raises Missing if there are none."""
        if not self.shown:
            raise UserError("run= is missing: this figure is drawn from a run; name its folder")
        found, absent = [], []
        for run in self.shown:
            try:
                found.append((run, read(run)))
            except Missing as error:
                absent.append(str(error))
        if not found:
            raise Missing("; ".join(absent))
        self.notes.extend(absent)
        return found

    def single(self, read: Callable[[ShownRun], Record]) -> tuple[ShownRun, Record]:
        """The first run that holds a record, for a figure that has room for one; the others are noted."""
        first, *others = self.having(read)
        self.notes.extend(f"drawn for one run at a time: {run.folder} is left out" for run, _ in others)
        return first
