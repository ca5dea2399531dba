"""Pictures of searches, by optuna.visualization."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import matplotlib.pyplot as plt
import optuna.visualization.matplotlib as draw

from snntha.plots.style import WIDTH, save, styled
from snntha.search.snapshot import Snapshot, short_name

HEIGHT, PANEL_WIDTH, COORDINATE_WIDTH = 4.2, 2.2, 0.8  # inches


def draw_pictures(snapshot: Snapshot, folder: Path) -> list[Path]:
    """Replace the pictures of a study in a folder, as PNG and SVG; those that its trials suffice for."""
    study, names, measure = snapshot.study, snapshot.parameters, snapshot.measure
    written: list[Path] = []
    if snapshot.ranked:
        written += _write(lambda: draw.plot_optimization_history(study, target_name=measure), folder, "history")
    if any(trial.intermediate_values for trial in snapshot.ended):
        written += _write(lambda: draw.plot_intermediate_values(study), folder, "epochs")
    if snapshot.importances:
        evaluator = snapshot.evaluator
        written += _write(lambda: draw.plot_param_importances(study, evaluator=evaluator), folder, "importances")
    if snapshot.ranked and names:
        width = PANEL_WIDTH * len(names)
        written += _write(lambda: draw.plot_slice(study, params=names, target_name=measure), folder, "slices", width)

        def coordinates() -> None:
            ax = draw.plot_parallel_coordinate(study, params=names, target_name=measure)
            ax.set_xticklabels(["value", *map(short_name, sorted(names))], rotation=60)  # Optuna cuts them short

        written += _write(coordinates, folder, "parallel_coordinates", COORDINATE_WIDTH * len(names))
    return written


def draw_comparison(snapshots: Sequence[Snapshot], folder: Path) -> list[Path]:
    """Values and best values so far of several studies in one picture."""
    studies = [snapshot.study for snapshot in snapshots if snapshot.ranked]
    measure = snapshots[0].measure
    picture = lambda: draw.plot_optimization_history(studies, target_name=measure)  # noqa: E731
    return _write(picture, folder, "comparison") if studies else []


def _write(picture: Callable[[], Any], folder: Path, name: str, width: float = WIDTH) -> list[Path]:
    """Draw, and put finished files in place of the last ones."""
    folder.mkdir(parents=True, exist_ok=True)
    plt.switch_backend("agg")
    with styled(), warnings.catch_warnings(), TemporaryDirectory(dir=folder, prefix=".partial_") as partial:
        warnings.simplefilter("ignore")  # optuna.visualization is experimental, and mixes two layouts
        picture()
        figure = plt.gcf()
        figure.set_layout_engine("constrained")
        figure.set_size_inches(max(WIDTH, width), HEIGHT)
        for ax in figure.axes:
            ax.set(title="", xlabel=short_name(ax.get_xlabel()))
            if (legend := ax.get_legend()) and len(legend.get_texts()) > 10:  # of as many trials
                legend.remove()
        drawn = save(figure, Path(partial), name)
        plt.close(figure)
        return [path.replace(folder / path.name) for path in drawn]
