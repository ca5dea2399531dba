"""What the figures draw: runs with a colour and a label, and notes on what their records lack."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from snntha import layers
from snntha.errors import Missing, UserError
from snntha.folder import RunFolder, SeedFolder
from snntha.plots.style import MODE_COLOURS, OTHER_COLOURS
from snntha.records import SeedRecord, load_tensors
from snntha.several import Curves

Record = TypeVar("Record")
MODE_LABELS = {"flt32": "flt32", "bsnn_theta1": "BSNN θ=1", "bsnn": "BSNN", "annealed": "annealed"}  # as in the paper
WRITTEN = {"initial": "its start", "start": "its first epoch", "end": "its end"}  # when it writes activity_<when>.pt


@dataclass(frozen=True)
class Options:
    """What the figures let one choose; None takes the run's value, or the figure's own without a run."""

    trial: int | None = None  # number of one of the run's seeds, as in its folder's name; None: all
    iterations: tuple[int, ...] | None = None  # temporal
    frames: int = 100  # animations: at most
    kinds: tuple[str, ...] = ("png", "svg")  # files of a figure that does not move
    beta: float | None = None  # neuron
    slope: float | None = None  # surrogate
    start: float | None = None  # neuron and surrogate: thresholds
    final: float | None = None


class ShownRun:
    """A run as figures show it: all its seeds, or the one of this number from 0."""

    def __init__(self, folder: Path, seed: int | None = None):
        record = RunFolder(folder)
        self.folder = folder
        self.config = record.load_config()
        begun = [one for one in record.seeds if not one.failed and one.metrics_path.is_file()]
        self.seeds = (seed is None and begun) or [record.seed(seed or 0)]
        self.seed = self.seeds[0]  # for what shows one sample or one network
        self.column, self.problems = self.seed.column, record.problems
        self.layers = layers.resolve(self.config)
        self.dataset, mode = self.config.dataset.name, self.config.mode.name
        self.title = self.config.dataset.title or self.dataset
        self.label = self.mode = MODE_LABELS[mode]
        self.colour = MODE_COLOURS[mode]

    @property
    def of_one(self) -> str:
        """The label of what shows one seed where there are several."""
        return self.label if len(self.seeds) == 1 else f"{self.label}, {self.seed.folder.name}"

    def curves(self, key: str) -> Curves:
        """One value of each epoch, of each seed; raises Missing where one lacks it."""
        return Curves([seed.column(key) for seed in self.seeds])

    @property
    def has_classes(self) -> bool:
        """Whether an accuracy was recorded."""
        return self.column("validation_accuracy")[0] is not None

    def activity(self, when: str, key: str, seed: SeedFolder | None = None) -> Any:
        """One entry of activity_<when>.pt, of the first seed or this one."""
        path = (seed or self.seed).activity_path(when)
        hint = f": a run writes it at {WRITTEN[when]}; finish the run or train it anew"
        value = load_tensors(path, why_missing=hint).get(key)
        if value is None:
            raise Missing(f"{path} has no {key}: an older run or another data set; train it anew")
        return value

    def activities(self, when: str, key: str) -> list[Any]:
        """The same of each seed that has ended; raises Missing where one lacks it."""
        ended = [seed for seed in self.seeds if seed.entry] or self.seeds
        return [self.activity(when, key, seed) for seed in ended]

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
        if not (found := self.those(self.shown, read)):
            absent, self.notes = self.notes, []
            raise Missing("; ".join(absent))
        return found

    def those(self, runs: Sequence[ShownRun], read: Callable[[ShownRun], Record]) -> list[tuple[ShownRun, Record]]:
        """Of these the ones that hold a record, with it; the others are noted."""
        found = []
        for run in runs:
            try:
                found.append((run, read(run)))
            except Missing as error:
                self.notes.append(str(error))
        return found

    def single(self, read: Callable[[ShownRun], Record]) -> tuple[ShownRun, Record]:
        """The first run that holds a record, for a figure that has room for one; the others are noted."""
        first, *others = self.having(read)
        self.notes.extend(f"drawn for one run at a time: {run.folder} is left out" for run, _ in others)
        return first
