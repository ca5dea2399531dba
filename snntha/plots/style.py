"""One look for all figures: Okabe-Ito colours, light background, and how a figure is written."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, PillowWriter
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Okabe & Ito: told apart with every kind of colour vision
BLACK, ORANGE, SKY, GREEN = "#000000", "#E69F00", "#56B4E9", "#009E73"
YELLOW, BLUE, VERMILION, PURPLE = "#F0E442", "#0072B2", "#D55E00", "#CC79A7"
GREY = "#8C8C8C"
MODE_COLOURS = {"flt32": BLACK, "bsnn_theta1": ORANGE, "bsnn": VERMILION, "annealed": BLUE}
OTHER_COLOURS = (GREEN, PURPLE, SKY, GREY)  # further runs of a mode that has its colour already
LAYER_COLOURS = (GREEN, PURPLE, SKY, YELLOW, GREY)  # none that stands for a mode
LINE_STYLES = ("-", "--", "-.", ":")

WIDTH = 7.2  # inches: both columns of a paper, about the width of a README
STYLE: Any = {
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "figure.dpi": 150,
    "savefig.dpi": 200,
    "font.size": 9,
    "axes.titlesize": 9,
    "axes.labelsize": 9,
    "legend.fontsize": 8,
    "legend.frameon": False,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.5,
    "svg.hashsalt": "snntha",  # the same run gives the same file
}
GIF_DPI = 110
FRAMES_PER_SECOND = 12


@dataclass(frozen=True)
class Animation:
    """A figure and what its frame number n changes."""

    figure: Figure
    frames: int
    update: Callable[[int], None]


def styled() -> Any:
    """Context in which figures are made and written."""
    return matplotlib.rc_context(STYLE)


def save(drawing: Figure | Animation, folder: Path, name: str, kinds: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write a figure as PNG and SVG, or an animation as GIF and, where ffmpeg is installed, MP4."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(drawing, Animation):
        return _save_animation(drawing, folder, name)
    paths = [folder / f"{name}.{kind}" for kind in kinds]
    for path in paths:
        drawing.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    return paths


def _save_animation(animation: Animation, folder: Path, name: str) -> list[Path]:
    writers: dict[Path, AbstractMovieWriter] = {folder / f"{name}.gif": PillowWriter(fps=FRAMES_PER_SECOND)}
    if FFMpegWriter.isAvailable():
        even = ["-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"]  # what players need
        writers[folder / f"{name}.mp4"] = FFMpegWriter(fps=FRAMES_PER_SECOND, extra_args=even)
    for path, writer in writers.items():
        writer.setup(animation.figure, path, dpi=GIF_DPI)
    for number in range(animation.frames):
        animation.update(number)
        if number == 0:
            animation.figure.draw_without_rendering()
            animation.figure.set_layout_engine("none")  # the axes stay where they are from frame to frame
        for writer in writers.values():
            writer.grab_frame()
    for writer in writers.values():
        writer.finish()
    return list(writers)


def panel_letters(axes: Sequence[Axes]) -> None:
    """(a), (b), ... in front of the panels' titles."""
    for letter, ax in zip("abcdefghijkl", axes, strict=False):
        ax.set_title(f"({letter}) {ax.get_title()}".rstrip())


def is_wide(values: Sequence[float]) -> bool:
    """Positive values over more than a factor of 50, which need a logarithmic axis."""
    return min(values) > 0 and max(values) > 50 * min(values)


def without_frame(ax: Axes, **properties: Any) -> None:
    """For pictures, whose pixels need no ticks; with further properties of the axes."""
    ax.set(xticks=[], yticks=[], **properties)
    ax.spines[:].set_visible(False)
