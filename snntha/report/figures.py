"""The page's interactive figures, as plotly's objects; what does not move stands there as the run's own picture.

The words of a figure lie in its `layout.meta`: caption, detail below it, and what a screen reader says instead.
"""

import math
from collections.abc import Iterable, Sequence
from html import escape
from itertools import chain, zip_longest
from typing import Any

import plotly.graph_objects as go

from snntha.folder import Missing, RunFolder, SeedFolder
from snntha.plots.style import BLUE, GREEN, GREY, PURPLE, VERMILION
from snntha.records import load_tensors
from snntha.report.table import stored
from snntha.several import Curves

MOST_RESULTS = 40  # rows of the overview
MARKED = 20  # points that a curve may have to be marked one by one
LOGARITHMIC = 100  # greatest over smallest value from which on an axis is logarithmic
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, GREY)  # seen on white and on black
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
MEAN = "mean"  # the `meta` of the traces that the page's overlay takes
SEED_LINES = ("training", "selection")  # curves of a figure that also shows a line a seed: more would hide each other
MOST_POINTS = 100  # of a curve


def run_figures(run: RunFolder) -> list[go.Figure]:
    """Curves over the epochs and the confusion matrix, of all seeds, as far as the records hold them."""
    seeds = [seed for seed in run.seeds if seed.metrics and not seed.failed] or [
        seed for seed in run.seeds if seed.metrics
    ]
    selection, remark = run.selection or "selection", ""
    parts = {"training": "train", selection: "validation"}
    losses, accuracies = (
        {
            name: Curves([[epoch.get(f"{part}_{quantity}") for epoch in seed.metrics] for seed in seeds])
            for name, part in parts.items()
        }
        for quantity in ("loss", "accuracy")
    )
    steps = run.setting("dataset.test_time_steps", int)
    if steps not in (None, run.setting("dataset.time_steps", int)):  # the loss grows with the time steps
        del losses[selection]
        remark = f"{selection.capitalize()}, over {steps} steps, has another scale"
    numbers = [epoch["epoch"] for epoch in max((seed.metrics for seed in seeds), key=len, default=[])]
    start = run.setting("hparams.threshold.start", list) or []
    thresholds = _layers(seeds, "thresholds")
    risen = {
        name: Curves([[first, *curve] for curve in curves.of_seeds])
        for (name, curves), first in zip(thresholds.items(), start, strict=False)
    }
    rates = _layers(seeds, "firing_rate")
    spikes, percent = "spikes / neuron / step", "percent of the layer"
    places = {name: _rounded(curves.mean) for name, curves in thresholds.items() if curves.of_seeds}
    figures = [
        _lines("Loss", "loss", numbers, losses, remark),
        _lines("Accuracy", "percent", numbers, accuracies),
        _lines("Thresholds", "threshold", [0, *numbers] if risen else numbers, risen or thresholds),
        _lines("Firing rate", spikes, numbers, rates, f"On the {selection} samples"),
        _lines("Dead neurons", percent, numbers, _layers(seeds, "dead_fraction", 100), "Silent in the whole pass"),
        _lines("Weights whose sign changed", "percent of the weights", numbers, _layers(seeds, "sign_flips", 100)),
        _lines("Silenced by the last threshold step", percent, numbers, _layers(seeds, "silenced_by_threshold", 100)),
        _lines("Broke the bound of Eq. (5) in that step", percent, numbers, _layers(seeds, "violates_eq5", 100)),
        _lines("Firing rate against threshold", spikes, places, rates, "One point an epoch"),
        _confusion(run, seeds),
    ]
    return [figure for figure in figures if figure is not None]


def _layers(seeds: list[SeedFolder], key: str, factor: float = 1) -> dict[str, Curves]:
    """The curves of each layer that every seed has."""
    of_seeds = [list(zip_longest(*(epoch.get(key) or [] for epoch in seed.metrics))) for seed in seeds]
    return {
        f"layer {number}": Curves([[None if v is None else factor * v for v in curve] for curve in curves])
        for number, curves in enumerate(zip(*of_seeds, strict=False), start=1)
    }


def _lines(
    caption: str, unit: str, x: list[int] | dict[str, list[float | None]], curves: dict[str, Curves], detail: str = ""
) -> go.Figure | None:
    """Over epochs, or over the curve of the same name; those without any value are left out; None where all are.

    Several seeds are their mean, the range that they span, and behind it a thin line each.
    """
    known = {name: curve for name, curve in curves.items() if any(map(_is_known, chain(*curve.of_seeds)))}
    if not known:
        return None
    over_epochs = isinstance(x, list)
    means = {name: _rounded(curve.mean) for name, curve in known.items()}
    told = "; ".join(
        f"{name}: from {_told(values[0])} to {_told(values[-1])}" for name, values in means.items() if values
    )
    numbers = [value for curve in known.values() for values in curve.of_seeds for value in values if _is_known(value)]
    logarithmic = 0 < LOGARITHMIC * min(numbers) < max(numbers)
    seeds = max(len(curve.of_seeds) for curve in known.values())
    averaged = f"Mean and range of {seeds} seeds" * (seeds > 1)
    detail = ". ".join(filter(None, [detail, averaged, "Logarithmic scale" * logarithmic]))
    figure = _figure(caption, detail, told, "epoch" if over_epochs else "threshold", unit, showlegend=len(known) > 1)
    figure.update_xaxes(dtick=1 if over_epochs and len(x) <= 10 else None)
    figure.update_yaxes(type="log" if logarithmic else "linear", rangemode="nonnegative")
    if unit.startswith("percent"):
        figure.update_yaxes(autorangeoptions={"clipmin": 0, "clipmax": 100})
    for number, (name, curve) in enumerate(known.items()):
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        places, mean = x if over_epochs else x.get(name, []), means[name]
        behind = {"mode": "lines", "hoverinfo": "skip", "showlegend": False, "legendgroup": name}
        if seeds > 1 and over_epochs:
            edges = _rounded(curve.lowest), _rounded(curve.highest)
            for values, fill in zip(edges, (None, "tonexty"), strict=True):
                look = {"line": {"width": 0, "color": colour}, "fill": fill, "fillcolor": _faint(colour)}
                figure.add_scatter(**_thinned(places, values), **behind, **look)
            for values in curve.of_seeds if len(known) == len(SEED_LINES) else ():
                look = {"line": {"width": 0.7, "color": colour, "dash": dash}, "opacity": 0.6}
                figure.add_scatter(**_thinned(places, _rounded(values)), **behind, **look)
        mode = "lines" if len(mean) > MARKED else "lines+markers"
        look = {"color": colour, "dash": dash}
        points = _thinned(places, mean)
        figure.add_scatter(
            **points, name=escape(name), meta=MEAN, mode=mode, line=look, marker={"symbol": number}, legendgroup=name
        )
    return figure


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _thinned(x: Sequence[float | None], y: Sequence[float | None]) -> dict[str, Sequence[float | None]]:
    """At most a hundred points of a curve, its last one among them: as many as a small figure shows."""
    step = -(-len(y) // MOST_POINTS)
    kept = slice((len(y) - 1) % step, None, step) if step > 1 else slice(len(y))
    return {"x": list(x)[: len(y)][kept], "y": y[kept]}


def _faint(colour: str) -> str:
    return f"rgba({', '.join(str(channel) for channel in bytes.fromhex(colour[1:]))}, 0.15)"


def _confusion(run: RunFolder, seeds: list[SeedFolder]) -> go.Figure | None:
    """Of the test set, all seeds together, from activity_end.pt; None for data without classes."""
    found = []
    for seed in seeds:
        try:
            found.append(load_tensors(seed.activity_path("end")).get("confusion"))
        except Missing as error:
            if seed.state == "finished":
                sentence = str(error).removeprefix(f"{run.folder}/")
                run.problems.append(f"{sentence}: there is no confusion matrix")
    known = [counts for counts in found if counts is not None]
    if not known:
        return None
    counts = sum(known[1:], known[0])
    told = f"{int(counts.trace())} of {int(counts.sum())} samples right"
    detail = told + f", {len(known)} seeds together" * (len(known) > 1)
    figure = _figure(
        "Confusion on the test set", detail, f"{told}: they are on the diagonal", "predicted class", "class"
    )
    figure.update_yaxes(autorange="reversed")
    hover = "class %{y}, predicted %{x}: %{z}<extra></extra>"
    scale = [(0, "rgba(128,128,128,0.08)"), (1, BLUE)]
    return figure.add_heatmap(z=counts.tolist(), colorscale=scale, showscale=False, hovertemplate=hover)


def overview(rows: list[dict[str, Any]]) -> go.Figure | None:
    """Test accuracies beside the published ones, from the rows of the results table; None where there are none."""
    known = [row for row in rows if row["mean"] is not None]
    shown = known[:MOST_RESULTS]
    if not shown:
        return None
    plain = [f"{row['dataset']} {row['mode']}" for row in shown]  # rows of one name would share a place
    names = [f"{name} {row['id']}" if plain.count(name) > 1 else name for name, row in zip(plain, shown, strict=True)]
    detail = "Selection, epochs and seeds of each row are in the tables below: look there before comparing."
    if len(known) > len(shown):
        detail += f" The first {len(shown)} of {len(known)} rows."
    published = any(row["published_mean"] is not None for row in shown)
    pairs = [f"ours {_told(row['mean'])}" + f", published {_told(row['published_mean'])}" * published for row in shown]
    told = "; ".join(map(": ".join, zip(names, pairs, strict=True)))
    caption, height = "Test accuracy: mean and sigma over seeds", 110 + 24 * len(shown)
    figure = _figure(caption, detail, told, "percent", "", height=height, showlegend=True)
    figure.update_yaxes(autorange="reversed", dtick=1)
    figure.update_xaxes(autorangeoptions={"clipmin": 0, "clipmax": 100})
    ours, theirs = ("ours", "", BLUE, 0), ("published", "published_", VERMILION, "diamond-open")
    for label, prefix, colour, symbol in (ours, theirs) if published else (ours,):
        means, sigmas = (_rounded(row[prefix + key] for row in shown) for key in ("mean", "sigma"))
        look = {"mode": "markers", "marker": {"color": colour, "size": 11, "symbol": symbol}}
        bars = {"array": [sigma or 0 for sigma in sigmas]}
        figure.add_scatter(x=means, y=[f"{escape(name)} " for name in names], name=label, error_x=bars, **look)
    return figure


def empty_figure() -> go.Figure:
    """Where the page overlays the curves of runs that the reader chooses."""
    return _figure("Chosen runs", "", "Curves of the runs that are ticked", "epoch", "", showlegend=True)


def _figure(caption: str, detail: str, told: str, x_title: str, y_title: str, **layout: Any) -> go.Figure:
    meta = {"caption": caption, "detail": detail, "description": f"{caption}. {told}"}
    titles = {"xaxis_title_text": x_title, "yaxis_title_text": y_title}
    return go.Figure(layout=stored("figures.yaml")).update_layout(meta=meta, **titles, **layout)


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _rounded(values: Iterable[float | None], factor: float = 1) -> list[float | None]:
    """Four significant digits, more than a screen shows."""
    scaled = (math.nan if value is None else factor * value for value in values)
    return [float(f"{value:.4g}") if math.isfinite(value) else None for value in scaled]
