"""The records of results/ as Markdown tables."""

import statistics
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from snntha.config import CHOICES
from snntha.folder import RunFolder, SeedFolder, spread
from snntha.neuron import fires
from snntha.published import published
from snntha.report.grouping import layer_means
from snntha.reproduce.plan import Cell, all_cells, plan
from snntha.runs import plus_minus

_MODES = {"flt32": "flt32", "bsnn_theta1": "BSNN θ=1", "bsnn": "BSNN", "annealed": "annealed"}
_ITERATIONS = (400, 1000)  # the paper's Figure 4(d) is of the first


class Record:
    """What is known of a cell."""

    def __init__(self, cell: Cell, results: Path):
        self.cell = cell
        self.run = RunFolder(results / cell.name)

    @property
    def exists(self) -> bool:
        return bool(self.seeds)

    @cached_property
    def seeds(self) -> list[SeedFolder]:
        """Those that have ended."""
        ended = (self.run.folder / "summary.json").is_file()
        return [seed for seed in self.run.seeds if seed.state == "finished"] if ended else []

    @property
    def accuracy(self) -> str:
        """On the test set, mean and sample standard deviation over the seeds."""
        return plus_minus(spread(seed.entry for seed in self.seeds), sign="± ")

    @property
    def selected(self) -> str:
        """The accuracy that selected the epoch, mean over the seeds."""
        known = [seed.entry["validation_accuracy"] for seed in self.seeds if seed.entry.get("validation_accuracy")]
        return f"{statistics.fmean(known):.2f}" if known else "-"

    def dead(self, first: bool) -> str:
        """Percent of each layer's neurons that no selection sample wakes, after the first or the selected epoch."""
        of_layers = layer_means((seed.metrics[0] if first else seed.best_epoch)["dead_fraction"] for seed in self.seeds)
        return _joined(f"{100 * share:.1f}" for share in of_layers)

    @property
    def spikes(self) -> str:
        """Of the whole network for one test sample, mean over the seeds."""
        rates = layer_means(seed.entry.get("test_firing_rate") for seed in self.seeds)
        steps = self.run.setting("dataset.test_time_steps", int) or self.run.setting("dataset.time_steps", int)
        neurons = [layer.neurons for layer in self.run.layers]
        return f"{steps * sum(r * n for r, n in zip(rates, neurons, strict=True)):,.0f}" if rates else "-"

    @property
    def thresholds(self) -> str:
        """Of each layer at the start and at the selected epoch."""
        start = self.run.setting("hparams.threshold.start", list)
        best = layer_means(seed.best_epoch["thresholds"] for seed in self.seeds)
        return _joined(" to ".join(dict.fromkeys((f"{a:.1f}", f"{b:.1f}"))) for a, b in zip(start, best, strict=True))


def records(results: Path, *groups: str) -> list[Record]:
    """Of the plan's cells in these groups, each once, in its order; those that have none as well."""
    by_name = {cell.name: cell for cell in all_cells() if cell.group in groups}
    return [Record(cell, results) for cell in by_name.values()]


def digest(results: Path) -> str:
    """One row for each data set, the longest of its settings that has a record."""
    rows = []
    for data in _data():
        kept = _longest(results, data)
        if not kept:
            rows.append([_title(data), "no record", *["-"] * 5, _published(data, "annealed")])
            continue
        seeds = sorted({len(record.seeds) for record in kept.values()})
        accuracies = [kept[mode].accuracy if mode in kept else "-" for mode in _MODES]
        epochs = str(next(iter(kept.values())).cell.epochs)
        row = [_title(data), epochs, " or ".join(map(str, seeds)), *accuracies, _published(data, "annealed")]
        rows.append(row)
    return markdown(["data", "epochs", "seeds", *_MODES.values(), "published annealed"], rows)


def accuracy(results: Path) -> str:
    """Every record of Tables 1 and 2, the published row below those of its data set."""
    rows = []
    for dataset in dict.fromkeys(map(_dataset, _data())):
        alike = [data for data in _data() if _dataset(data) == dataset]
        kept = [r for r in records(results, "tables", "published") if r.cell.data in alike and r.exists]
        for title, epochs, selection in dict.fromkeys(map(_setting, kept)):
            same = {r.cell.mode: r for r in kept if _setting(r) == (title, epochs, selection)}
            told = [f"{same[m].accuracy} ({len(same[m].seeds)})" if m in same else "-" for m in _MODES]
            rows.append([title, str(epochs), selection, *told])
        if not kept:
            rows.append([_title(dataset), "no record", *["-"] * 5])
        if published(dataset, "annealed"):
            paper = [f"*{_published(dataset, mode)}*" for mode in _MODES]
            rows.append([f"*{_title(dataset)}, published*", "*up to 500*", "*test*", *paper])
    return markdown(["data", "epochs", "selected on", *(f"{mode} (seeds)" for mode in _MODES.values())], rows)


def activity(results: Path) -> str:
    """How many neurons are silent, and how many spikes an inference costs."""
    heads = ["data", "mode", "epochs", "seeds", "validation %", "test %", "θ of each layer"]
    heads += ["dead after epoch 1, %", "dead at the end, %", "spikes an inference"]
    rows = [
        [
            *(record.cell.title, _MODES[record.cell.mode], str(record.cell.epochs), str(len(record.seeds))),
            *(record.selected, record.accuracy, record.thresholds, record.dead(True), record.dead(False)),
            record.spikes,
        ]
        for data in _data()
        for mode in _MODES
        for record in [_longest(results, data).get(mode)]
        if record is not None
    ]
    return markdown(heads, rows)


def figure4(results: Path) -> str:
    """Temporal coding: the loss of each seed's best iteration, and when its output neuron fires at some iterations."""
    rows = []
    for record in records(results, "figure4"):
        if record.exists:
            losses = [seed.selection_loss for seed in record.seeds]
            name = f"{_MODES[record.cell.mode]}, θ {record.thresholds.partition(',')[0]}"
            row = [name, record.cell.fidelity, _joined(f"{loss:.3g}" for loss in losses if loss is not None)]
            for iteration in _ITERATIONS:
                row.append("; ".join(_spike_times(record, seed, iteration) for seed in record.seeds))
            rows.append(row)
    at = [f"fires at t, iteration {iteration}" for iteration in _ITERATIONS]
    return markdown(["mode", "fidelity", "mean square error", *at], rows)


def variants(results: Path, group: str) -> str:
    """A comparison: what was changed, and what came out."""
    rows = [
        [
            *(record.cell.title, _MODES[record.cell.mode], str(record.cell.epochs), _changes(record.cell)),
            *(str(len(record.seeds)), record.selected, record.accuracy, record.thresholds, record.dead(False)),
        ]
        for record in records(results, group)
        if record.exists
    ]
    heads = ["data", "mode", "epochs", "changed", "seeds", "validation %", "test %", "θ of each layer", "dead, %"]
    return markdown(heads, rows)


def markdown(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A pipe table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _setting(record: Record) -> tuple[str, int, str]:
    return record.cell.title, record.cell.epochs, record.cell.selection


def _data() -> list[str]:
    """With classes, of the paper's tables."""
    return [data for data in plan()["data"] if data != "temporal_coding"]


def _longest(results: Path, data: str) -> dict[str, Record]:
    """The records of a data set's modes under the setting of most epochs, as in the text and selected on validation."""
    kept = [record for record in records(results, "tables") if record.cell.data == data and record.exists]
    most = max((record.cell.epochs for record in kept), default=0)
    return {record.cell.mode: record for record in kept if record.cell.epochs == most}


def _title(data: str) -> str:
    return plan()["data"][data]["title"]


def _dataset(data: str) -> str:
    return plan()["data"][data]["dataset"]


def _published(data: str, mode: str) -> str:
    """The paper's mean, with the name of its data where ours are others in the same format."""
    paper = published(_dataset(data), mode)
    other = f"{_title(_dataset(data))} " if data != _dataset(data) else ""
    return "-" if paper is None else f"{other}{paper.mean:.2f}"


def _changes(cell: Cell) -> str:
    return "nothing" if not cell.changes else ", ".join(f"`{change}`" for change in cell.changes)


def _spike_times(record: Record, seed: SeedFolder, iteration: int) -> str:
    """The steps at which the output neuron's membrane is at its threshold."""
    (line,) = [line for line in seed.metrics if line["epoch"] == iteration]
    strict = record.run.setting("fidelity.spike", str) == "above_threshold"
    fired = fires(np.array(line["output_membrane"]), line["thresholds"][-1], strict)
    return ", ".join(map(str, np.flatnonzero(fired))) or "never"


def _joined(texts: Iterable[str]) -> str:
    return ", ".join(texts)


assert tuple(_MODES) == CHOICES["mode.name"]
