"""The page's interactive figures, as plotly's objects; what does not move stands there as the run's own picture."""

import math
from dataclasses import dataclass
from html import escape
from itertools import zip_longest
from typing import Any

import plotly.graph_objects as go

from snntha.plots.style import BLUE, GREEN, GREY, PURPLE, VERMILION
from snntha.report.collect import RunRecord, TrialRecord

MOST_RESULTS = 40  # rows of the overview
MARKED = 60  # points that a curve may have to be marked one by one
LOGARITHMIC = 100  # greatest over smallest value from which on an axis is logarithmic
COLOURS = (BLUE, VERMILION, GREEN, PURPLE, GREY)  # seen on white and on black
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
AXIS = {"rangemode": "nonnegative", "gridcolor": "rgba(128,128,128,0.25)", "zeroline": False, "automargin": True}
LAYOUT = {
    "template": "none",
    "paper_bgcolor": "rgba(0,0,0,0)",
    "plot_bgcolor": "rgba(0,0,0,0)",
    "font": {"family": "system-ui, sans-serif", "size": 12},  # page.css gives it the colour of the page's text
    "margin": {"l": 48, "r": 12, "t": 8, "b": 40},
    "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
    "hovermode": "closest",
}
Curves = dict[str, list[float | None]]


@dataclass(frozen=True)
class Plot:
    """A figure, and its words: above it, and instead of it for those who do not see it."""

    caption: str
    detail: str
    description: str
    figure: dict[str, Any]  # data, layout and config for plotly


def seed_plots(run: RunRecord, trial: TrialRecord) -> list[Plot]:
    """Curves over the epochs and the confusion matrix, as far as the records hold them."""
    selection = run.selection or "selection"
    losses, remark = _curves(trial, "loss", selection), ""
    steps = run.setting("dataset.test_time_steps", int)
    if steps not in (None, run.setting("dataset.time_steps", int)):  # the loss grows with the time steps
        del losses[selection]
        remark = f"{selection.capitalize()}, over {steps} steps, has another scale"
    numbers = [epoch["epoch"] for epoch in trial.metrics]
    thresholds, rates = _layers(trial, "thresholds"), _layers(trial, "firing_rate")
    spikes, percent = "spikes / neuron / step", "percent of the layer"
    plots = [
        _lines("Loss", "loss", numbers, losses, remark),
        _lines("Accuracy", "percent", numbers, _curves(trial, "accuracy", selection)),
        _lines("Thresholds", "threshold", numbers, thresholds),
        _lines("Firing rate", spikes, numbers, rates, f"On the {selection} samples"),
        _lines("Dead neurons", percent, numbers, _layers(trial, "dead_fraction", 100), "Silent in the whole pass"),
        _lines("Silenced by the last threshold step", percent, numbers, _layers(trial, "silenced_by_threshold", 100)),
        _lines("Firing rate against threshold", spikes, thresholds, rates, "One point an epoch"),
        _confusion(run, trial),
    ]
    return [plot for plot in plots if plot is not None]


def _curves(trial: TrialRecord, quantity: str, selection: str) -> Curves:
    """On the training samples, and on those that select the model."""
    parts = {"training": f"train_{quantity}", selection: f"validation_{quantity}"}
    return {name: [_rounded(epoch.get(key)) for epoch in trial.metrics] for name, key in parts.items()}


def _layers(trial: TrialRecord, key: str, factor: float = 1) -> Curves:
    layers = zip_longest(*(epoch.get(key) or [] for epoch in trial.metrics))
    return {f"layer {n}": [_rounded(value, factor) for value in values] for n, values in enumerate(layers, start=1)}


def _lines(caption: str, unit: str, x: list[int] | Curves, curves: Curves, detail: str = "") -> Plot | None:
    """Over epochs, or over the curve of the same name; those without any value are left out; None where all are."""
    known = {name: values for name, values in curves.items() if any(value is not None for value in values)}
    if not known:
        return None
    over_epochs = isinstance(x, list)
    figure = _figure("epoch" if over_epochs else "threshold", unit, showlegend=len(known) > 1)
    for number, (name, values) in enumerate(known.items()):
        mode = "lines" if len(values) > MARKED else "lines+markers"
        look = {"color": COLOURS[number % len(COLOURS)], "dash": DASHES[number % len(DASHES)]}
        places = x if over_epochs else x.get(name, [])
        figure.add_scatter(x=places, y=values, name=escape(name), mode=mode, line=look, marker={"symbol": number})
    if over_epochs and len(x) <= 10:
        figure.update_xaxes(dtick=1)
    numbers = [value for values in known.values() for value in values if value is not None]
    if 0 < LOGARITHMIC * min(numbers) < max(numbers):
        figure.update_yaxes(type="log")
        detail = ". ".join(filter(None, [detail, "Logarithmic scale"]))
    told = "; ".join(f"{name}: from {_told(values[0])} to {_told(values[-1])}" for name, values in known.items())
    return _plot(caption, detail, told, figure)


def _confusion(run: RunRecord, trial: TrialRecord) -> Plot | None:
    """Of the test set, from activity_end.pt; None for data without classes."""
    path = trial.folder / "activity_end.pt"
    if not path.is_file():
        if trial.entry and not trial.failed:
            run.problems.append(
                f"trial {trial.number + 1}: activity_end.pt is missing, so there is no confusion matrix"
            )
        return None
    import torch

    try:
        counts = torch.load(path, map_location="cpu", weights_only=True).get("confusion")
    except Exception as error:  # torch.load documents no closed set of errors for a damaged file
        run.problems.append(f"trial {trial.number + 1}: activity_end.pt cannot be read ({type(error).__name__})")
        return None
    if counts is None:
        return None
    figure = _figure("predicted class", "class")
    hover = "class %{y}, predicted %{x}: %{z}<extra></extra>"
    scale = [(0, "rgba(128,128,128,0.08)"), (1, BLUE)]
    figure.add_heatmap(z=counts.tolist(), colorscale=scale, showscale=False, hovertemplate=hover)
    figure.update_yaxes(autorange="reversed")
    told = f"{int(counts.trace())} of {int(counts.sum())} samples right"
    return _plot("Confusion on the test set", told, f"{told}: they are on the diagonal", figure)


def overview(rows: list[dict[str, Any]]) -> Plot | None:
    """Test accuracies beside the published ones, from the rows of the results table; None where there are none."""
    known = [row for row in rows if row["mean"] is not None]
    shown = known[:MOST_RESULTS]
    if not shown:
        return None
    plain = [f"{row['dataset']} {row['mode']}" for row in shown]  # rows of one name would share a place
    names = [f"{name} ({place})" if plain.count(name) > 1 else name for place, name in enumerate(plain, start=1)]
    figure = _figure("percent", "", height=110 + 24 * len(shown), showlegend=True)
    figure.update_yaxes(autorange="reversed", dtick=1)
    for label, prefix, colour, symbol in (
        ("ours", "", BLUE, 0),
        ("published", "published_", VERMILION, "diamond-open"),
    ):
        means, sigmas = ([_rounded(row[prefix + key]) for row in shown] for key in ("mean", "sigma"))
        look = {"mode": "markers", "marker": {"color": colour, "size": 11, "symbol": symbol}}
        bars = {"array": [sigma or 0 for sigma in sigmas]}
        figure.add_scatter(x=means, y=[f"{escape(name)} " for name in names], name=label, error_x=bars, **look)
    detail = "Selection, epochs and seeds of each row are in the table below: look there before comparing."
    if len(known) > len(shown):
        detail += f" The first {len(shown)} of {len(known)} rows."
    pairs = [(_told(row["mean"]), _told(row["published_mean"])) for row in shown]
    told = "; ".join(f"{name}: ours {pair[0]}, published {pair[1]}" for name, pair in zip(names, pairs, strict=True))
    return _plot("Test accuracy: mean and sigma over seeds", detail, told, figure)


def _figure(x_title: str, y_title: str, **layout: Any) -> go.Figure:
    axes = {f"{axis}axis": {**AXIS, "title": {"text": title}} for axis, title in (("x", x_title), ("y", y_title))}
    return go.Figure(layout={**LAYOUT, **axes, **layout})


def _plot(caption: str, detail: str, description: str, figure: go.Figure) -> Plot:
    config = {"responsive": True, "displayModeBar": False}
    return Plot(caption, detail, f"{caption}. {description}", {**figure.to_plotly_json(), "config": config})


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.4g}"


def _rounded(value: float | None, factor: float = 1) -> float | None:
    """Five significant digits, more than a screen shows."""
    return None if value is None or not math.isfinite(factor * value) else float(f"{factor * value:.5g}")
