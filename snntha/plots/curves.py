"""Loss, accuracy and thresholds over training (Fig. 6), what Eqs. (4)-(7) and (28) say, and curves in a terminal."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from snntha.errors import Missing
from snntha.optimizer import learning_rate
from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import GREY, LAYER_COLOURS, LINE_STYLES, WIDTH, is_wide, panel_letters
from snntha.several import Curves

BAND = 0.2  # opacity of the range that the seeds span
MARKED = 60  # points that a curve may have to be marked one by one
COLUMNS, ROWS = 36, 4  # characters of a curve in the terminal
BLANK = "\N{BRAILLE PATTERN BLANK}"
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of each dot: row, then column of a character


def curves(runs: Runs, options: Options) -> Figure:
    """Loss, accuracy and thresholds per epoch, of one run or several; a panel with nothing to show is left out.

    Of several seeds: the mean, the band from the lowest to the highest, and the single curves. Of a single run every
    layer's threshold is drawn, of several runs the last layer's, as in Fig. 6.
    """
    found = [run for run, _ in runs.having(lambda run: run.column("epoch"))]
    several, annealed = len(found) > 1, [run for run in found if run.config.mode.anneal]
    shown = {"loss": True, "accuracy (%)": any(run.has_classes for run in found), "threshold θ": bool(annealed)}
    names = [name for name, is_shown in shown.items() if is_shown]
    figure = Figure(figsize=(WIDTH, 2.9))
    panels = dict(zip(names, figure.subplots(1, len(names), squeeze=False)[0], strict=True))
    legend: dict[str, Line2D] = {}
    for run in found:
        selection = run.config.selection if run.has_classes else "evaluation"
        steps, epochs = run.config.dataset.test_time_steps, max((seed.column("epoch") for seed in run.seeds), key=len)
        for part, name, style in (("train", "training", "-"), ("validation", selection, "--")):
            key = Line2D([], [], color=GREY, ls=style, **_point(epochs, style))
            if part == "validation" and steps not in (None, run.config.dataset.time_steps):  # the loss grows with them
                runs.notes.append(f"{run.folder}: loss of {steps} validation steps, not drawn beside that of training")
            else:
                _draw(panels["loss"], epochs, run.curves(f"{part}_loss"), ls=style, color=run.colour)
                legend.setdefault(name, key)
            if run.has_classes:
                _draw(panels["accuracy (%)"], epochs, run.curves(f"{part}_accuracy"), ls=style, color=run.colour)
                legend.setdefault(name, key)
    for run in annealed:
        last = len(run.layers) - 1
        for layer in [last] if several else range(last + 1):
            recorded, start = run.curves("thresholds").of_layer(layer).of_seeds, run.layers[layer].threshold.start
            of_layer = Curves([[start, *curve] for curve in recorded])
            epochs = range(1 + max(map(len, recorded)))
            colour = run.colour if several else LAYER_COLOURS[layer]
            width = 1.6 + last - layer  # equal thresholds stay visible
            line = _draw(panels["threshold θ"], epochs, of_layer, color=colour, lw=width)
            if not several:
                legend[f"θ, layer {layer + 1}"] = line
    if several:
        legend |= {run.label: Line2D([], [], color=run.colour, lw=3) for run in found}
    numbers = {len(run.seeds) for run in found}
    if max(numbers) > 1:
        which = f"{max(numbers)} seeds" if len(numbers) == 1 else "the seeds"
        legend[f"mean, and range of {which}"] = Line2D([], [], color=GREY, lw=7, alpha=2 * BAND)
    for name, ax in panels.items():
        ax.set(ylabel=name, xlabel="epoch", title=name.partition(" ")[0] + ", last layer" * (several and "θ" in name))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    if is_wide([value for line in panels["loss"].lines for value in line.get_ydata()]):
        panels["loss"].set_yscale("log")
    if accuracy := panels.get("accuracy (%)"):
        accuracy.grid(axis="y", alpha=0.3)
        accuracy.set_ylim(max(0, accuracy.get_ylim()[0]), min(100, accuracy.get_ylim()[1]))
    if annealed:
        panels["threshold θ"].set_ylim(0, None)
    if len(panels) > 1:
        panel_letters(list(panels.values()))
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=min(len(legend), 4))
    return figure


def _draw(ax: Axes, places: Sequence[int], curves: Curves, **look: Any) -> Line2D:
    """The mean over the seeds, and of several their range and each one."""
    (line,) = ax.plot(places[: len(curves.mean)], curves.mean, **{**_point(curves.mean, look.get("ls", "-")), **look})
    if len(curves.of_seeds) > 1:
        ax.fill_between(line.get_xdata(), curves.lowest, curves.highest, color=line.get_color(), alpha=BAND, lw=0)
        for curve in curves.of_seeds:
            ax.plot(places[: len(curve)], curve, color=line.get_color(), ls=line.get_linestyle(), lw=0.5)
    return line


def _point(values: Sequence[float], style: str) -> dict[str, Any]:
    """How a single value is drawn, which makes no line."""
    return {"marker": "x" if style == "--" else "o", "ms": 4} if len(values) == 1 else {}


def thresholds(runs: Runs, options: Options) -> Figure:
    """Per iteration: theta (Eq. 4), its step (left of Eq. 5), the learning rate (Eq. 28); and what the steps silenced.

    Eqs. (5)-(7) ask that no step of the threshold silence a neuron. The last panel is our measured form of that
    bound: the share of a layer's neurons that fired before the last step of an epoch and not after it.
    """
    found = runs.having(lambda run: max((seed.column("iteration") for seed in run.seeds), key=len))
    several = len(found) > 1
    annealed = [run for run, _ in found if run.config.mode.anneal]
    shares = dict(runs.those(annealed, lambda run: run.curves("silenced_by_threshold")))
    shown = {"theta": True, "step": bool(annealed), "rate": True, "silenced": bool(shares)}
    names = [name for name, is_shown in shown.items() if is_shown]
    rows = -(-len(names) // 2)
    figure = Figure(figsize=(WIDTH, 0.2 + 2.2 * rows + 0.4 * (rows == 1)))
    panels = {name: figure.add_subplot(rows, 2, place) for place, name in enumerate(names, start=1)}
    for run, recorded in found:
        iterations = list(range(recorded[-1] + 1))
        for layer, spec in enumerate(run.layers):
            threshold, behind = spec.threshold, len(run.layers) - 1 - layer
            if several:
                look = {"color": run.colour, "ls": LINE_STYLES[layer], "lw": 1.5}
            else:  # later layers are thinner, so that equal lines stay visible
                look = {"color": LAYER_COLOURS[layer], "ls": "-", "lw": 1.2 + 1.4 * behind}
            values = [threshold.after(updates) for updates in iterations]
            panels["theta"].plot(iterations, values, **look, label=f"{run.label}, layer {layer + 1}")
            if run in annealed:
                panels["theta"].axhline(threshold.end, color=look["color"], lw=0.8, ls=(0, (1, 2)))
                panels["step"].plot(iterations, [threshold.rate * (threshold.end - value) for value in values], **look)
            if run in shares:
                percent = shares[run].of_layer(layer, 100)
                marker = "." if len(percent.mean) <= MARKED else ""
                _draw(panels["silenced"], recorded, percent, **look, marker=marker, ms=4)
        period = run.config.hparams.cosine_epochs
        if period is not None:  # T of Eq. (28) in iterations; an epoch's are those of the first recorded line
            period *= recorded[0] / run.column("epoch")[0]
        rates = [learning_rate(run.config.optimizer.lr, iteration, period) for iteration in iterations[:-1]]
        panels["rate"].plot(iterations[:-1], rates, color=run.colour if several else GREY)
    words = {
        "theta": ("threshold θ", "threshold" + "; dotted: θ∞" * bool(annealed)),
        "step": ("Δθ per iteration", "step of the threshold, Eq. (5)"),
        "rate": ("learning rate", "learning rate, Eq. (28)"),
        "silenced": ("neurons (%)", "silenced by the last step of an epoch"),
    }
    for name, ax in panels.items():
        top = min(max(ax.get_ylim()[1], 1.0), 100.0) if name == "silenced" else ax.get_ylim()[1]
        ax.set(ylabel=words[name][0], title=words[name][1], xlabel="iteration γ", ylim=(-0.03 * top, top))  # 0 is seen
        ax.ticklabel_format(axis="y", scilimits=(-3, 4))
    legend = panels["theta"].get_legend_handles_labels()
    figure.legend(*legend, loc="outside lower center", ncols=max(len(found), 3))
    panel_letters(list(panels.values()))
    return figure


def flips(runs: Runs, options: Options) -> Figure:
    """Share of weights whose sign changed per epoch, a panel a layer; the thresholds are dotted."""
    found = runs.having(lambda run: run.curves("sign_flips"))
    layers = max(len(run.layers) for run, _ in found)
    figure = Figure(figsize=(WIDTH, 2.7))
    panels = figure.subplots(1, layers, squeeze=False)[0]
    for layer, ax in enumerate(panels):
        theta = ax.twinx()
        theta.spines["right"].set_visible(True)
        for run, shares in found:
            if layer < len(run.layers):
                epochs = max((seed.column("epoch") for seed in run.seeds), key=len)
                _draw(ax, epochs, shares.of_layer(layer, 100), color=run.colour, label=run.label)
                _draw(theta, epochs, run.curves("thresholds").of_layer(layer), ls=":", color=run.colour)
        ax.set(xlabel="epoch", ylabel="signs changed (%)" if layer == 0 else "", ylim=(0, None))
        ax.set_title(f"layer {layer + 1}; dotted: θ")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        theta.set_ylim(0, None)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=max(len(found), 3))
    panel_letters(panels)
    return figure


def terminal_picture(folder: Path) -> RenderableType:
    """Selection accuracy (or loss, where there are no classes) beside the thresholds, from their start on.

    Of several seeds the mean, with the single ones dimly around it.
    """
    run = ShownRun(folder)
    try:
        scores, rows = _scores(run), run.column("thresholds")
    except Missing as error:
        return Text(str(error))
    layers = list(zip([layer.threshold.start for layer in run.layers], *rows, strict=True))
    name, unit = (f"{run.config.selection} accuracy", " %") if run.has_classes else ("loss", "")
    rises = ", ".join(f"{layer[0]:.3g} → {layer[-1]:.3g}" for layer in layers)
    told = f"{name}: {scores.mean[0]:.4g} → {scores.mean[-1]:.4g}{unit}"
    if (seeds := len(run.seeds)) > 1:
        told += f"\nmean of {seeds} seeds ({scores.lowest[-1]:.4g} to {scores.highest[-1]:.4g})"
    curves = [*([(curve, "bright_black") for curve in scores.common.tolist()] if seeds > 1 else [])]
    table = Table.grid(padding=(0, 4))
    table.add_row(Text(told), Text(f"thresholds: {rises}"))
    table.add_row(coloured([*curves, (scores.mean, "cyan")]), coloured([(layer, "yellow") for layer in layers]))
    return table


def overlay(runs: Sequence[tuple[Path, str, str]]) -> Text:
    """The mean selection accuracy of several runs, by folder, name and style, in a terminal, and what stands there."""
    means = [_scores(ShownRun(folder)).mean for folder, *_ in runs]
    longest = max(map(len, means))
    padded = [([*curve, *[math.nan] * (longest - len(curve))], run[-1]) for curve, run in zip(means, runs, strict=True)]
    picture = coloured(padded, columns=2 * COLUMNS, rows=2 * ROWS)
    picture.append("\naccuracy that the epoch is selected by, first to last epoch, mean of the seeds:")
    for mean, (_, name, style) in zip(means, runs, strict=True):
        picture.append(f"\n  {name}  {mean[0]:.2f} → {mean[-1]:.2f} %", style)
    return picture


def _scores(run: ShownRun) -> Curves:
    return run.curves("validation_accuracy" if run.has_classes else "validation_loss")


def coloured(curves: Sequence[tuple[Sequence[float], str]], columns: int = COLUMNS, rows: int = ROWS) -> Text:
    """Curves on a common scale, logarithmic where they are wide, with the styles of the later ones where they meet."""
    values = [value for curve, _ in curves for value in curve if not math.isnan(value)]
    if is_wide(values):
        return coloured([([math.log(value) for value in curve], style) for curve, style in curves], columns, rows)
    scale = min(values), max(values)
    picture = Text(braille([curve for curve, _ in curves], scale, columns, rows))
    for curve, style in curves:
        for place, character in enumerate(braille([curve], scale, columns, rows)):
            if character not in (BLANK, "\n"):
                picture.stylize(style, place, place + 1)
    return picture


def braille(
    lines: Sequence[Sequence[float]], scale: tuple[float, float], columns: int = COLUMNS, rows: int = ROWS
) -> str:
    """Curves as `rows` lines of `columns` characters of 2 x 4 dots; what is not a number leaves none.

    The scale is the values at the bottom and at the top.
    """
    lowest, highest = scale
    dots = np.zeros((4 * rows, 2 * columns), dtype=int)
    for line in lines:
        values = np.interp(np.linspace(0, len(line) - 1, 2 * columns), range(len(line)), line)
        shares = (values - lowest) / (highest - lowest) if highest > lowest else 0 * values + 0.5
        drawn = np.flatnonzero(~np.isnan(shares))
        dots[np.rint((1 - shares[drawn]) * (4 * rows - 1)).astype(int), drawn] = 1
    cells = 0x2800 + np.einsum("rycx,yx->rc", dots.reshape(rows, 4, columns, 2), _DOTS)
    return "\n".join("".join(map(chr, row)) for row in cells)
