"""One look for all figures: look.mplstyle, Okabe-Ito colours, and how a figure is written."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["MPLBACKEND"] = "agg"  # a notebook's, which the environment may name, draws nothing to a file

import matplotlib.style
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter, FuncAnimation, PillowWriter
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
GIF_DPI, FRAMES_PER_SECOND = 110, 12


@dataclass(frozen=True)
class Animation:
    """A figure and what its frame number n changes."""

    figure: Figure
    frames: int
    update: Callable[[int], None]


def styled() -> Any:
    """Context in which figures are made and written."""
    return matplotlib.style.context("snntha.plots.look", after_reset=True)  # whatever a matplotlibrc says


def save(drawing: Figure | Animation, folder: Path, name: str, kinds: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write a figure as PNG and SVG, or an animation as GIF and, where ffmpeg is installed, MP4."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(drawing, Figure):
        paths = [folder / f"{name}.{kind}" for kind in kinds]
        for path in paths:
            drawing.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
        return paths
    writers: dict[Path, AbstractMovieWriter] = {folder / f"{name}.gif": PillowWriter(fps=FRAMES_PER_SECOND)}
    if FFMpegWriter.isAvailable():
        even = ["-vf", "scale=trunc(iw/2)*2:trunc(ih/2)*2", "-pix_fmt", "yuv420p"]  # what players need
        writers[folder / f"{name}.mp4"] = FFMpegWriter(fps=FRAMES_PER_SECOND, extra_args=even)
    drawing.update(0)
    drawing.figure.draw_without_rendering()
    drawing.figure.set_layout_engine("none")  # the axes stay where they are from frame to frame
    for path, writer in writers.items():
        FuncAnimation(drawing.figure, drawing.update, drawing.frames).save(path, writer, dpi=GIF_DPI)
    return list(writers)


def panel_letters(axes: Sequence[Axes]) -> None:
    """(a), (b), ... in front of the panels' titles."""
    for letter, ax in zip("abcdefghijkl", axes, strict=False):
        ax.set_title(f"({letter}) {ax.get_title()}".rstrip())


def is_wide(values: Sequence[float]) -> bool:
    """Positive values over more than a factor of 50, which need a logarithmic axis."""
    return min(values) > 0 and max(values) > 50 * min(values)


def without_frame(ax: Axes, **properties: Any) -> None:
    """For pictures, whose pixels need no ticks; with other properties of the axes."""
    ax.set(**{"xticks": [], "yticks": [], **properties})
    ax.spines[:].set_visible(False)
