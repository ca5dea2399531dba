"""Pictures of a search: its history, parameter importances, slices and parallel coordinates.

Drawn here and not by `optuna.visualization.matplotlib`, whose axes and names overlap from about eight parameters on.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullLocator
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from snntha.plots.folders import Missing
from snntha.plots.style import BLACK, BLUE, GREY, ORANGE, SKY, VERMILION, WIDTH, save, styled
from snntha.search.snapshot import Snapshot, override_text, score, short_name, short_text

SLICES_A_ROW = 4
MARGIN = 0.05  # of a slice's width, on either side of the range
COLUMN_WIDTH = 0.62  # inches from one parallel coordinate to the next
ABSENT = -0.12  # height of a trial without that parameter, below the axis from 0 to 1
LOW_TO_HIGH = LinearSegmentedColormap.from_list("low_to_high", ["#DDDDDD", SKY, BLUE])


@dataclass(frozen=True)
class Scale:
    """Where a parameter's values lie on an axis: numbers as they are, choices at 0, 1, 2, ..."""

    choices: list[str]  # empty for numbers
    low: float
    high: float
    log: bool

    @classmethod
    def of(cls, distribution: BaseDistribution) -> "Scale":
        if isinstance(distribution, CategoricalDistribution):
            choices = [override_text(choice) for choice in distribution.choices]
            return cls(choices, 0.0, len(choices) - 1.0, False)
        assert isinstance(distribution, FloatDistribution | IntDistribution)
        return cls([], distribution.low, distribution.high, distribution.log)

    def position(self, value: bool | str | float | None) -> float:
        return float(self.choices.index(override_text(value)) if self.choices else value or 0.0)

    def fraction(self, value: bool | str | float | None) -> float:
        """0 at the low end to 1 at the high end, by the logarithm where the search was; a single point is at 0.5."""
        ends = [self.low, self.high, self.position(value)]
        low, high, place = map(math.log, ends) if self.log else ends
        return (place - low) / (high - low) if high > low else 0.5

    def marks(self) -> dict[float, str]:
        """Fractions of the axis and what to write there."""
        values = self.choices or [self.low, self.high]
        return {self.fraction(value): short_text(value) for value in values}


def draw_pictures(study: Study, folder: Path) -> tuple[list[Path], list[str]]:
    """Replace the pictures of a study in a folder, as PNG and SVG.

    Returns:
        The files, and what was missing for which picture.
    """
    snapshot = Snapshot.of(study)
    written: list[Path] = []
    notes: list[str] = []
    folder.mkdir(parents=True, exist_ok=True)
    with styled(), TemporaryDirectory(dir=folder, prefix=".partial_") as partial:
        for name, draw in PICTURES.items():
            try:
                drawn = save(draw(snapshot), Path(partial), name)
            except Missing as error:
                notes.append(f"{name}: not drawn: {error}")
                continue
            for path in drawn:
                os.replace(path, folder / path.name)
                written.append(folder / path.name)
    return written, notes


def history(snapshot: Snapshot) -> Figure:
    """Value of each trial in the order of their numbers, and the best so far."""
    complete, pruned = snapshot.having(TrialState.COMPLETE), _scored(snapshot, TrialState.PRUNED)
    failed = snapshot.having(TrialState.FAIL)
    if not snapshot.ended:
        raise Missing("no trial has ended")
    figure = Figure(figsize=(WIDTH, 3.2))
    ax = figure.subplots()
    if complete:
        numbers, best = [trial.number for trial in complete], -math.inf
        so_far = [best := max(best, score(trial)) for trial in complete]
        last = max(trial.number for trial in snapshot.ended)
        ax.step([*numbers, last], [*so_far, best], where="post", color=BLACK, label="best so far", zorder=1)
        ax.plot(numbers, [score(trial) for trial in complete], "o", color=BLUE, ms=4, label="complete")
    if pruned:
        scores = [score(trial) for trial in pruned]
        ax.plot([trial.number for trial in pruned], scores, "v", color=ORANGE, ms=4, label="pruned, last value")
    if failed:  # they have no value: on the lower edge
        ax.plot(
            [trial.number for trial in failed],
            [0.02] * len(failed),
            "x",
            color=VERMILION,
            ms=5,
            label="failed",
            transform=ax.get_xaxis_transform(),
        )
    if not complete and not pruned:
        ax.set_yticks([])
    ax.set(xlabel="trial", ylabel=_axis_label(snapshot))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=4)
    return figure


def importances(snapshot: Snapshot) -> Figure:
    """The share of each parameter, the most important on top."""
    found = snapshot.importances
    if not found.shares:
        raise Missing(found.note)
    figure = Figure(figsize=(WIDTH, 1.0 + 0.2 * len(found.shares)))
    ax = figure.subplots()
    names = [short_name(name) for name in found.shares]
    percents = [100 * share for share in found.shares.values()]
    bars = ax.barh(names, percents, color=BLUE, height=0.7)
    ax.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    ax.invert_yaxis()
    ax.set(xlabel="importance (%)", title=found.note)
    return figure


def slices(snapshot: Snapshot) -> Figure:
    """Value against each parameter; the axis is logarithmic where the search was."""
    complete, pruned = snapshot.having(TrialState.COMPLETE), _scored(snapshot, TrialState.PRUNED)
    scales = _scales([*complete, *pruned])
    rows = math.ceil(len(scales) / SLICES_A_ROW)
    figure = Figure(figsize=(WIDTH, 0.8 + 1.45 * rows))
    panels = list(figure.subplots(rows, SLICES_A_ROW, sharey=True, squeeze=False).flat)
    for ax, (name, scale) in zip(panels, scales.items(), strict=False):
        looks = ((pruned, "v", ORANGE, "pruned, last value"), (complete, "o", BLUE, "complete"))
        best = [snapshot.best] if snapshot.best else []
        for trials, marker, colour, label in (*looks, (best, "*", VERMILION, "best")):
            chosen = [trial for trial in trials if name in trial.params]
            places = [scale.position(trial.params[name]) for trial in chosen]
            size = 9 if marker == "*" else 3
            ax.plot(places, [score(trial) for trial in chosen], marker, color=colour, ms=size, alpha=0.8, label=label)
        ax.set_xlabel(short_name(name))
        _set_scale(ax, scale)
    for ax in panels[len(scales) :]:
        ax.set_axis_off()
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.supylabel(_axis_label(snapshot), fontsize=9)
    return figure


def _set_scale(ax: Axes, scale: Scale) -> None:
    """The whole range that was searched, with few enough marks that they keep apart in a narrow panel."""
    if scale.choices:
        ax.set_xticks(range(len(scale.choices)), scale.choices)
        ax.set_xlim(-0.5, len(scale.choices) - 0.5)
    elif scale.log:
        margin = (scale.high / scale.low) ** MARGIN
        ax.set(xscale="log", xlim=(scale.low / margin, scale.high * margin))
        ax.xaxis.set_major_locator(LogLocator(numticks=4))
        ax.xaxis.set_minor_locator(NullLocator())
    elif scale.low < scale.high:
        margin = (scale.high - scale.low) * MARGIN
        ax.set_xlim(scale.low - margin, scale.high + margin)
        ax.xaxis.set_major_locator(MaxNLocator(3))


def parallel_coordinates(snapshot: Snapshot) -> Figure:
    """Each complete trial as a line through its parameters to its value, the best trials on top.

    Colour tells the better half apart; the worse half has the lightest.
    """
    trials = snapshot.ranked[::-1]
    scales = _scales(trials)
    names = [name for name in snapshot.importances.shares if name in scales] or list(scales)
    values = [score(trial) for trial in trials]
    value_scale = Scale([], min(values), max(values), log=False)
    lines = []
    for trial in trials:
        heights = [scales[name].fraction(trial.params[name]) if name in trial.params else ABSENT for name in names]
        lines.append(list(enumerate([*heights, value_scale.fraction(score(trial))])))

    figure = Figure(figsize=(max(WIDTH, COLUMN_WIDTH * (len(names) + 2)), 3.8))
    ax = figure.subplots()
    collection = LineCollection(lines, cmap=LOW_TO_HIGH, array=values, linewidths=1.0)
    collection.set_clim(median(values), max(values))
    ax.add_collection(collection)
    ax.plot(*zip(*lines[-1], strict=True), color=VERMILION, lw=1.8, label=f"best: trial {trials[-1].number}")
    for column, name in enumerate(names):
        _draw_coordinate(ax, column, scales[name].marks())
    _draw_coordinate(ax, len(names), value_scale.marks())
    absent = any(name not in trial.params for name in names for trial in trials)
    ax.set_yticks([ABSENT] if absent else [], ["without"] if absent else [])
    ax.set_xticks(range(len(names) + 1), [*map(short_name, names), "value"], rotation=35, ha="right")
    ax.set(xlim=(-0.3, len(names) + 0.5), ylim=(ABSENT - 0.05 if absent else -0.06, 1.06))
    ax.tick_params(length=0)
    for spine in ax.spines.values():
        spine.set_visible(False)
    if median(values) < max(values):
        figure.colorbar(collection, ax=ax, label=_axis_label(snapshot), pad=0.02, aspect=30, extend="min")
    figure.legend(loc="outside upper center")
    return figure


def _draw_coordinate(ax: Axes, column: int, marks: dict[float, str]) -> None:
    """One upright axis with what its marks mean."""
    ax.plot([column, column], [0, 1], color=GREY, lw=0.8, zorder=0)
    for height, text in marks.items():
        ax.annotate(
            text,
            (column, height),
            xytext=(2, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
            bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )


def _scored(snapshot: Snapshot, state: TrialState) -> list[FrozenTrial]:
    """Trials in that state that reported a value."""
    return [trial for trial in snapshot.having(state) if not math.isnan(score(trial))]


def _scales(trials: list[FrozenTrial]) -> dict[str, Scale]:
    """Of each parameter, by the latest trial that has it, in the order of first appearance.

    Raises:
        Missing: no trial has a parameter.
    """
    scales = {name: Scale.of(trial.distributions[name]) for trial in trials for name in trial.params}
    if not scales:
        raise Missing("no trial that has a value has parameters")
    return scales


def _axis_label(snapshot: Snapshot) -> str:
    return f"{snapshot.measure} (%)" if snapshot.unit else snapshot.measure


PICTURES: dict[str, Callable[[Snapshot], Figure]] = {
    "history": history,
    "importances": importances,
    "slices": slices,
    "parallel_coordinates": parallel_coordinates,
}
