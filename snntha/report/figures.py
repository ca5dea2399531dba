"""The page's interactive figures, as plotly's objects; what does not move stands there as the run's own picture.

The words of a figure lie in its `layout.meta`: caption, detail below it, and what a screen reader says instead.
"""

import math
from collections.abc import Iterable
from html import escape
from itertools import zip_longest
from typing import Any

import plotly.graph_objects as go

from snntha.folder import Missing, SeedFolder
from snntha.plots.style import BLUE, GREEN, GREY, PURPLE, VERMILION
from snntha.records import load_tensors
from snntha.report.table import stored

MOST_RESULTS = 40  # rows of the overview
MARKED = 20  # points that a curve may have to be marked one by one
LOGARITHMIC = 100  # greatest over smallest value from which on an axis is logarithmic
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, GREY)  # seen on white and on black
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
Curves = dict[str, list[float | None]]


def seed_figures(seed: SeedFolder) -> list[go.Figure]:
    """Curves over the epochs and the confusion matrix, as far as the records hold them."""
    selection, remark = seed.run.selection or "selection", ""
    parts = {"training": "train", selection: "validation"}
    losses, accuracies = (
        {name: _rounded(epoch.get(f"{part}_{quantity}") for epoch in seed.metrics) for name, part in parts.items()}
        for quantity in ("loss", "accuracy")
    )
    steps = seed.run.setting("dataset.test_time_steps", int)
    if steps not in (None, seed.run.setting("dataset.time_steps", int)):  # the loss grows with the time steps
        del losses[selection]
        remark = f"{selection.capitalize()}, over {steps} steps, has another scale"
    numbers = [epoch["epoch"] for epoch in seed.metrics]
    thresholds, rates = _layers(seed, "thresholds"), _layers(seed, "firing_rate")
    spikes, percent = "spikes / neuron / step", "percent of the layer"
    figures = [
        _lines("Loss", "loss", numbers, losses, remark),
        _lines("Accuracy", "percent", numbers, accuracies),
        _lines("Thresholds", "threshold", numbers, thresholds),
        _lines("Firing rate", spikes, numbers, rates, f"On the {selection} samples"),
        _lines("Dead neurons", percent, numbers, _layers(seed, "dead_fraction", 100), "Silent in the whole pass"),
        _lines("Weights whose sign changed", "percent of the weights", numbers, _layers(seed, "sign_flips", 100)),
        _lines("Silenced by the last threshold step", percent, numbers, _layers(seed, "silenced_by_threshold", 100)),
        _lines("Broke the bound of Eq. (5) in that step", percent, numbers, _layers(seed, "violates_eq5", 100)),
        _lines("Firing rate against threshold", spikes, thresholds, rates, "One point an epoch"),
        _confusion(seed),
    ]
    return [figure for figure in figures if figure is not None]


def _layers(seed: SeedFolder, key: str, factor: float = 1) -> Curves:
    layers = zip_longest(*(epoch.get(key) or [] for epoch in seed.metrics))
    return {f"layer {number}": _rounded(values, factor) for number, values in enumerate(layers, start=1)}


def _lines(caption: str, unit: str, x: list[int] | Curves, curves: Curves, detail: str = "") -> go.Figure | None:
    """Over epochs, or over the curve of the same name; those without any value are left out; None where all are."""
    known = {name: values for name, values in curves.items() if any(value is not None for value in values)}
    if not known:
        return None
    over_epochs = isinstance(x, list)
    told = "; ".join(f"{name}: from {_told(values[0])} to {_told(values[-1])}" for name, values in known.items())
    numbers = [value for values in known.values() for value in values if value is not None]
    logarithmic = 0 < LOGARITHMIC * min(numbers) < max(numbers)
    detail = ". ".join(filter(None, [detail, "Logarithmic scale" * logarithmic]))
    figure = _figure(caption, detail, told, "epoch" if over_epochs else "threshold", unit, showlegend=len(known) > 1)
    figure.update_xaxes(dtick=1 if over_epochs and len(x) <= 10 else None)
    figure.update_yaxes(type="log" if logarithmic else "linear", rangemode="nonnegative")
    for number, (name, values) in enumerate(known.items()):
        mode = "lines" if len(values) > MARKED else "lines+markers"
        look = {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number % len(DASHES)]}
        places = x if over_epochs else x.get(name, [])
        figure.add_scatter(x=places, y=values, name=escape(name), mode=mode, line=look, marker={"symbol": number})
    return figure


def _confusion(seed: SeedFolder) -> go.Figure | None:
    """Of the test set, from activity_end.pt; None for data without classes."""
    try:
        counts = load_tensors(seed.activity_path("end")).get("confusion")
    except Missing as error:
        if seed.state == "finished":
            sentence = str(error).removeprefix(f"{seed.run.folder}/")
            seed.run.problems.append(f"{sentence}: there is no confusion matrix")
        return None
    if counts is None:
        return None
    told = f"{int(counts.trace())} of {int(counts.sum())} samples right"
    figure = _figure("Confusion on the test set", told, f"{told}: they are on the diagonal", "predicted class", "class")
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
    names = [f"{name} ({place})" if plain.count(name) > 1 else name for place, name in enumerate(plain, start=1)]
    detail = "Selection, epochs and seeds of each row are in the table below: look there before comparing."
    if len(known) > len(shown):
        detail += f" The first {len(shown)} of {len(known)} rows."
    pairs = [f"ours {_told(row['mean'])}, published {_told(row['published_mean'])}" for row in shown]
    told = "; ".join(map(": ".join, zip(names, pairs, strict=True)))
    caption, height = "Test accuracy: mean and sigma over seeds", 110 + 24 * len(shown)
    figure = _figure(caption, detail, told, "percent", "", height=height, showlegend=True)
    figure.update_yaxes(autorange="reversed", dtick=1)
    ours, theirs = ("ours", "", BLUE, 0), ("published", "published_", VERMILION, "diamond-open")
    for label, prefix, colour, symbol in (ours, theirs):
        means, sigmas = (_rounded(row[prefix + key] for row in shown) for key in ("mean", "sigma"))
        look = {"mode": "markers", "marker": {"color": colour, "size": 11, "symbol": symbol}}
        bars = {"array": [sigma or 0 for sigma in sigmas]}
        figure.add_scatter(x=means, y=[f"{escape(name)} " for name in names], name=label, error_x=bars, **look)
    return figure


def _figure(caption: str, detail: str, told: str, x_title: str, y_title: str, **layout: Any) -> go.Figure:
    meta = {"caption": caption, "detail": detail, "description": f"{caption}. {told}"}
    titles = {"xaxis_title_text": x_title, "yaxis_title_text": y_title}
    return go.Figure(layout=stored("figures.yaml")).update_layout(meta=meta, **titles, **layout)


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _rounded(values: Iterable[float | None], factor: float = 1) -> list[float | None]:
    """Five significant digits, more than a screen shows."""
    scaled = (math.nan if value is None else factor * value for value in values)
    return [float(f"{value:.5g}") if math.isfinite(value) else None for value in scaled]
