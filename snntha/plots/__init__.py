"""Figures and animations as functions of run folders alone.

`FIGURES` is their table; `plot` draws by name, `draw_run` what a finished run shows of itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from snntha.errors import Missing, UserError, did_you_mean
from snntha.plots import activity, curves, neuron, samples, temporal, weights
from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import Animation, save, styled
from snntha.plots.terminal import terminal_picture

__all__ = ["FIGURES", "Missing", "Options", "draw_run", "plot", "terminal_picture"]

CLASSES, TEMPORAL_CODING = "classes", "temporal_coding"
DEFAULTS = Options()


@dataclass(frozen=True)
class Entry:
    """One figure of the table."""

    draw: Callable[[Runs, Options], Figure | Animation]  # raises Missing if no run holds what it shows
    about: str
    needs_run: bool = True
    only: str | None = None  # data sets that it makes sense for: those with classes, or temporal_coding
    after_training: bool = False  # part of what `snntha train` draws at its end

    def suits(self, runs: Sequence[ShownRun]) -> bool:
        """Whether to draw it without having been asked for it by name."""
        if not runs:
            return not self.needs_run
        kinds = {TEMPORAL_CODING if run.config.dataset.name == TEMPORAL_CODING else CLASSES for run in runs}
        return self.only is None or self.only in kinds


FIGURES = {
    "curves": Entry(curves.curves, "loss, accuracy and thresholds per epoch (Fig. 6)", after_training=True),
    "thresholds": Entry(curves.thresholds, "threshold, its step, learning rate, neurons silenced: Eqs. (4)-(7), (28)"),
    "spike_counts": Entry(
        partial(activity.spike_counts, when="end"),
        "spike counts and dead neurons after training (Fig. 5)",
        only=CLASSES,
        after_training=True,
    ),
    "spike_counts_start": Entry(
        partial(activity.spike_counts, when="start"), "the same at the start of training (Fig. 7)"
    ),
    "confusion": Entry(activity.confusion, "confusion matrix of the test set", only=CLASSES),
    "raster": Entry(samples.raster, "spikes of one sample in all layers", after_training=True),
    "samples": Entry(samples.samples, "a sample of each run's data set"),
    "weights": Entry(weights.weights, "first-layer weights before and after binarization"),
    "temporal": Entry(
        temporal.temporal,
        "membrane and spikes of temporal coding at iterations=0,100,400 (Fig. 4)",
        only=TEMPORAL_CODING,
        after_training=True,
    ),
    "neuron": Entry(
        neuron.neuron, "one neuron: its response, and three regimes of its threshold (Fig. 1)", needs_run=False
    ),
    "surrogate": Entry(neuron.surrogate, "surrogate gradient, clamped and moving (Fig. 3)", needs_run=False),
    "animation": Entry(
        temporal.animation, "animation: membrane of temporal coding over the iterations", only=TEMPORAL_CODING
    ),
    "animation_smooth": Entry(
        partial(temporal.animation, smooth=True), "the same with a running mean of width 5", only=TEMPORAL_CODING
    ),
    "flow": Entry(samples.flow, "animation: spikes of one sample flowing through the layers"),
}


def plot(
    folders: Sequence[Path],
    names: Sequence[str],
    output: Path,
    options: Options = DEFAULTS,
    kinds: Sequence[str] = ("png", "svg"),
) -> tuple[list[Path], list[str]]:
    """Draw figures into a folder.

    Args:
        folders: of runs, drawn together where a figure compares runs; may be empty for neuron and surrogate.
        names: figures of `FIGURES`; empty for all that these runs allow.
        output: folder for the pictures.
        kinds: of the figures that do not move.

    Returns:
        The files, and what was missing for which figure.

    Raises:
        UserError: a folder is no run, a name is unknown, or nothing at all could be drawn.
    """
    for name in names:
        if name not in FIGURES:
            raise UserError(f"figure={name}: expected {' | '.join(FIGURES)}{did_you_mean(name, FIGURES)}")
    written: list[Path] = []
    notes: list[str] = []
    shown = [ShownRun(folder, options.trial) for folder in folders]
    with styled():
        for name in names or [name for name, entry in FIGURES.items() if entry.suits(shown)]:
            runs = Runs(shown)
            try:
                written += save(FIGURES[name].draw(runs, options), output, name, kinds)
            except Missing as error:
                runs.note(f"not drawn: {error}")
            notes += [f"{name}: {note}" for note in runs.notes]
    if not written:
        raise Missing("\n  ".join(["nothing could be drawn", *notes]))
    return written, notes + [f"{run.folder}: {problem}" for run in shown for problem in run.problems]


def draw_run(folder: Path) -> list[Path]:
    """The pictures of a run that has just ended, as PNG in its plots/: those that its records allow."""
    shown = [ShownRun(folder)]
    names = [name for name, entry in FIGURES.items() if entry.after_training and entry.suits(shown)]
    try:
        return plot([folder], names, folder / "plots", kinds=("png",))[0]
    except Missing:
        return []
