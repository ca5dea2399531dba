"""Figures and animations as functions of run folders alone: `FIGURES` is their table, `plot` draws by name."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from snntha.display import say
from snntha.errors import Missing, UserError, expected
from snntha.plots import activity, curves, neuron, samples, temporal
from snntha.plots.curves import terminal_picture
from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import Animation, save, styled

__all__ = ["FIGURES", "Missing", "Options", "draw_run", "plot", "run_command", "terminal_picture"]

DEFAULTS = Options()
SHARED_OUTPUT = Path("outputs/plots")  # pictures of several runs, or of none


@dataclass(frozen=True)
class Entry:
    """One figure of the table."""

    draw: Callable[[Runs, Options], Figure | Animation]  # raises Missing if no run holds what it shows
    about: str
    of: Literal["runs", "classes", "temporal", "nothing"] = "runs"  # data sets with classes, temporal coding, no run

    def suits(self, runs: Sequence[ShownRun]) -> bool:
        """Whether to draw it without having been asked for it by name."""
        temporal = [run.dataset == "temporal_coding" for run in runs]
        suited = {"runs": bool(runs), "classes": not all(temporal), "temporal": any(temporal), "nothing": True}
        return suited[self.of]


FIGURES = {
    "curves": Entry(curves.curves, "loss, accuracy and thresholds per epoch (Fig. 6)"),
    "thresholds": Entry(curves.thresholds, "threshold, its step, learning rate, neurons silenced: Eqs. (4)-(7), (28)"),
    "flips": Entry(curves.flips, "weights whose sign changed per epoch, and the thresholds"),
    "spike_counts": Entry(activity.spike_counts, "spike counts and dead neurons after training (Fig. 5)", "classes"),
    "spike_counts_start": Entry(
        partial(activity.spike_counts, when="start"), "the same at the start of training (Fig. 7)"
    ),
    "confusion": Entry(activity.confusion, "confusion matrix of the test set", "classes"),
    "raster": Entry(samples.raster, "spikes of one sample in all layers"),
    "samples": Entry(samples.samples, "one sample of every class of each run's data set"),
    "weights": Entry(activity.weights, "first-layer weights before and after binarization"),
    "temporal": Entry(
        temporal.temporal, "membrane and spikes of temporal coding at iterations=0,100,400 (Fig. 4)", "temporal"
    ),
    "neuron": Entry(neuron.neuron, "one neuron: its response, and three regimes of its threshold (Fig. 1)", "nothing"),
    "surrogate": Entry(neuron.surrogate, "surrogate gradient, clamped and moving (Fig. 3)", "nothing"),
    "animation": Entry(temporal.animation, "animation: membrane of temporal coding over the iterations", "temporal"),
    "animation_smooth": Entry(
        partial(temporal.animation, smooth=True), "the same with a running mean of width 5", "temporal"
    ),
    "flow": Entry(samples.flow, "animation: spikes of one sample flowing through the layers"),
}
AFTER_TRAINING = ("curves", "spike_counts", "raster", "temporal")  # what `snntha train` draws at its end


def plot(
    folders: Sequence[Path], names: Sequence[str], output: Path, options: Options = DEFAULTS
) -> tuple[list[Path], list[str]]:
    """Draw figures into a folder.

    Args:
        folders: of runs, drawn together where a figure compares runs; may be empty for neuron and surrogate.
        names: figures of `FIGURES`; empty for all that these runs allow.
        output: folder for the pictures.

    Returns:
        The files, and what was missing for which figure.

    Raises:
        UserError: a folder is no run, a name is unknown, or nothing at all could be drawn.
    """
    if unknown := [name for name in names if name not in FIGURES]:
        raise UserError(f"figure={unknown[0]}: {expected(unknown[0], FIGURES)}")
    written: list[Path] = []
    notes: list[str] = []
    shown = [ShownRun(folder, options.trial) for folder in folders]
    with styled():
        for name in names or [name for name, entry in FIGURES.items() if entry.suits(shown)]:
            runs = Runs(shown)
            try:
                written += save(FIGURES[name].draw(runs, options), output, name, options.kinds)
            except Missing as error:
                runs.notes.append(f"not drawn: {error}")
            notes += [f"{name}: {note}" for note in runs.notes]
    if not written:
        raise Missing("\n  ".join(["nothing could be drawn", *notes]))
    return written, notes + [f"{run.folder}: {problem}" for run in shown for problem in run.problems]


def draw_run(folder: Path) -> list[Path]:
    """The pictures of a run that has just ended, as PNG in its plots/: those that its records allow."""
    names = [name for name in AFTER_TRAINING if FIGURES[name].suits([ShownRun(folder)])]
    try:
        return plot([folder], names, folder / "plots", Options(kinds=("png",)))[0]
    except Missing:
        return []


def run_command(*, run: list[Path], figure: list[str], output: Path | None, **options: Any) -> None:
    """Draw, and print the files and what was missing; without run and figure, say what figures there are.

    Args:
        run: folders of runs.
        figure: names of `FIGURES`; empty for all that suit the runs.
        output: folder for the pictures; None for that of the run, or of several `SHARED_OUTPUT`.
        options: fields of `Options`.
    """
    console = Console()
    if not run and not figure:
        caption = "without figure=, all that suit the run"
        table = Table("figure", "shows", "run", title="snntha plot run=FOLDER figure=NAME", caption=caption)
        for name, entry in FIGURES.items():
            table.add_row(name, entry.about, "optional" if entry.of == "nothing" else "needed")
        console.print(table)
        return
    output = output or (run[0] / "plots" if len(run) == 1 else SHARED_OUTPUT)
    written, notes = plot(run, figure, output, Options(**options))
    for line in [*map(str, written), *(f"note {note}" for note in notes)]:
        say(console, line)
