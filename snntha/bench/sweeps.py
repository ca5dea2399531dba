"""How the time of a training step grows along one axis, everything else as published.

Sizes and the density of the input are those of the SHD network. How often a layer fires is set in the FashionMNIST
network, whose second convolution gets the spikes of the first: with all neurons excited, the threshold decides.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from snntha.bench import timing
from snntha.bench.cases import SHD_DENSITY, Case
from snntha.bench.floor import activity
from snntha.bench.steps import OurStep, train_for
from snntha.bench.workload import Workload
from snntha.report.table import Column, Table

HIDDEN, TIME_STEPS, BATCH = 3000, 333, 32
AXES: dict[str, tuple[float, ...]] = {
    "hidden neurons": (500, 1000, 2000, HIDDEN, 6000),
    "time steps": (50, 100, 200, TIME_STEPS, 666),
    "batch size": (8, 16, BATCH, 64),
    "input density": (0.001, 0.01, SHD_DENSITY, 0.1, 0.2, 0.4, 0.8),
    "rate of layer 1": (0.001, 0.01, 0.05, 0.1, 0.2, 0.4, 0.8),
}
LOOP_REPEATS = 1  # its time is long enough to be known well
BISECTIONS = 14  # of the threshold
EXCITED = 3.0  # added to BatchNorm's shift, in standard deviations of the current: nearly all neurons can fire


@dataclass(frozen=True)
class Point:
    """Median seconds at one value of an axis; `loop` is None where it was too slow to be run."""

    axis: str
    value: float
    ours: float
    loop: float | None


def sweep_case(base: Case, axis: str, value: float) -> Case:
    """The SHD network with one thing changed."""
    if axis == "input density":
        return replace(base, density=value)
    key = {"hidden neurons": "model.topology", "time steps": "dataset.time_steps", "batch size": "hparams.batch_size"}
    text = f"700Dense{value:.0f}Dense20" if axis == "hidden neurons" else f"{value:.0f}"
    return replace(base, overrides=(*base.overrides, f"{key[axis]}={text}"))


def fired_at(workload: Workload, rate: float) -> Workload:
    """The same network with all neurons of the first layer excited, at the threshold at which they fire so often."""
    weights = dict(workload.weights)
    weights["synapses.0.norm.bias"] = weights["synapses.0.norm.bias"] + EXCITED
    workload = replace(workload, weights=weights)
    low, high = 1e-2, 1e3
    for _ in range(BISECTIONS):
        workload.thresholds[0] = math.sqrt(low * high)
        _, rates = activity(OurStep(workload))
        low, high = (workload.thresholds[0], high) if rates[0] > rate else (low, workload.thresholds[0])
    return workload


def sweep(
    base: Case, repeats: int, log: Callable[[str], None], axes: dict[str, tuple[float, ...]] = AXES
) -> list[Point]:
    """All sweeps. The loop runs, and parity is checked, up to the published size of each axis."""
    published = {"hidden neurons": HIDDEN, "time steps": TIME_STEPS, "batch size": BATCH}
    points = []
    for axis, values in axes.items():
        for value in values:
            log(f"{axis} {value:g}")
            if axis == "rate of layer 1":
                workload = fired_at(train_for(replace(base, dataset="fashion_mnist"), 0), value)
            else:
                workload = train_for(sweep_case(base, axis, value), 0)
            ours, loop = timing.median_seconds(OurStep(workload), repeats), None
            if value <= published.get(axis, 1):
                loop = timing.compare(workload, LOOP_REPEATS).loop_median
            points.append(Point(axis, value, ours, loop))
    return points


def table(points: list[Point]) -> Table:
    """One row a point."""
    columns = [
        Column("axis", "axis"),
        Column("value", "value"),
        Column("ours", "ours ms", 1, 1e3),
        Column("loop", "loop ms", 0, 1e3),
        Column("ratio", "faster", 1),
    ]
    rows = [
        {
            "axis": point.axis,
            "value": f"{point.value:g}",
            "ours": point.ours,
            "loop": point.loop,
            "ratio": None if point.loop is None else point.loop / point.ours,
        }
        for point in points
    ]
    title = f"SHD network (published: {HIDDEN} hidden, {TIME_STEPS} steps, batch {BATCH}, density {SHD_DENSITY})"
    return Table("sweeps", title, columns, rows, ["the loop is not run beyond the published size"])


def draw(points: list[Point], path: Path) -> Path:
    """One panel an axis, both scales logarithmic; the kind of file follows from the ending of the path."""
    from matplotlib.figure import Figure

    from snntha.plots.style import BLUE, GREY, WIDTH, panel_letters, save, styled

    with styled():
        axes = list(dict.fromkeys(point.axis for point in points))
        figure = Figure(figsize=(WIDTH, 2.4 * ((len(axes) + 1) // 2)))
        panels = figure.subplots((len(axes) + 1) // 2, 2, sharey=True, squeeze=False).ravel()
        for panel, axis in zip(panels, axes, strict=False):
            chosen = [point for point in points if point.axis == axis]
            slow = [(point.value, point.loop) for point in chosen if point.loop is not None]
            panel.plot(*zip(*slow, strict=True), "s--", color=GREY, label="snnTorch loop")
            fast = [(point.value, point.ours) for point in chosen]
            panel.plot(*zip(*fast, strict=True), "o-", color=BLUE, label="snntha")
            panel.set(xscale="log", yscale="log", xlabel=axis, ylabel="seconds a step")
            panel.set_xticks([value for value, _ in fast], labels=[f"{value:g}" for value, _ in fast])
            panel.minorticks_off()
            panel.grid(alpha=0.3)
        panels[0].legend()
        panel_letters(list(panels[: len(axes)]))
        return save(figure, path.parent, path.stem, (path.suffix[1:],))[0]
