"""Loss, accuracy and thresholds over training (Fig. 6), what Eqs. (4)-(7) and (28) say, and curves in a terminal."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
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

MARKED = 60  # points that a curve may have to be marked one by one
COLUMNS, ROWS = 36, 4  # characters of a curve in the terminal
_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))  # bit of each dot: row, then column of a character


def curves(runs: Runs, options: Options) -> Figure:
    """Loss and accuracy per epoch of one run or several; the thresholds on the right axis of the loss.

    Of a single run every layer's threshold is drawn, of several runs the last layer's, as in Fig. 6.
    """
    found = runs.having(lambda run: run.column("epoch"))
    several, classes = len(found) > 1, any(run.has_classes for run, _ in found)
    figure = Figure(figsize=(WIDTH, 2.9))
    panels = figure.subplots(1, 2 if classes else 1, squeeze=False)[0]
    loss, theta = panels[0], panels[0].twinx()
    theta.spines["right"].set_visible(True)

    selections = dict.fromkeys(run.config.selection if run.has_classes else "evaluation" for run, _ in found)
    styles = {"training": "-", " or ".join(selections): "--", **({"θ, last layer": ":"} if several else {})}
    legend = {name: Line2D([], [], color=GREY, ls=style) for name, style in styles.items()}  # then runs or layers
    for run, epochs in found:
        loss.plot(epochs, run.column("train_loss"), "-", color=run.colour)
        steps = run.config.dataset.test_time_steps
        if steps not in (None, run.config.dataset.time_steps):  # the loss grows with them
            runs.notes.append(f"{run.folder}: loss of {steps} validation steps, not drawn beside that of training")
        else:
            loss.plot(epochs, run.column("validation_loss"), "--", color=run.colour)
        if run.has_classes:
            panels[1].plot(epochs, run.column("train_accuracy"), "-", color=run.colour)
            panels[1].plot(epochs, run.column("validation_accuracy"), "--", color=run.colour)
        last = len(run.layers) - 1
        for layer in [last] if several else range(last + 1):
            values = [run.layers[layer].threshold.start, *(row[layer] for row in run.column("thresholds"))]
            colour, name = (run.colour, run.label) if several else (LAYER_COLOURS[layer], f"θ, layer {layer + 1}")
            width = 1.6 + last - layer  # equal thresholds stay visible
            (line,) = theta.plot([0, *epochs], values, ":", color=colour, lw=width)
            legend[name] = Line2D([], [], color=colour, lw=3) if several else line
    if is_wide([value for line in loss.lines for value in line.get_ydata()]):
        loss.set_yscale("log")
    theta.set(ylabel="threshold θ", ylim=(0, None))
    loss.set(ylabel="loss", title="loss and thresholds")
    if classes:
        panels[1].set(ylabel="accuracy (%)", title="accuracy")
        panels[1].grid(axis="y", alpha=0.3)
        panel_letters(panels)
    for ax in panels:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=min(len(legend), 5))
    return figure


def thresholds(runs: Runs, options: Options) -> Figure:
    """Per iteration: theta (Eq. 4), its step (left of Eq. 5), the learning rate (Eq. 28); and what the steps silenced.

    Eqs. (5)-(7) ask that no step of the threshold silence a neuron. The last panel is our measured form of that
    bound: the share of a layer's neurons that fired before the last step of an epoch and not after it.
    """
    found = runs.having(lambda run: run.column("iteration"))
    several = len(found) > 1
    figure = Figure(figsize=(WIDTH, 4.6))
    panels = figure.subplots(2, 2, sharex=True)
    theta, step, rate, silenced = panels.flat
    for run, recorded in found:
        iterations = list(range(recorded[-1] + 1))
        try:
            shares = run.column("silenced_by_threshold")
        except Missing as error:
            shares = []
            runs.notes.append(str(error))
        for layer, spec in enumerate(run.layers):
            threshold, behind = spec.threshold, len(run.layers) - 1 - layer
            if several:
                look = {"color": run.colour, "ls": LINE_STYLES[layer], "lw": 1.5}
            else:  # later layers are thinner, so that equal lines stay visible
                look = {"color": LAYER_COLOURS[layer], "ls": "-", "lw": 1.2 + 1.4 * behind}
            values = [threshold.after(updates) for updates in iterations]
            theta.plot(iterations, values, **look, label=f"{run.label}, layer {layer + 1}")
            theta.axhline(threshold.end, color=look["color"], lw=0.8, ls=(0, (1, 2)))
            step.plot(iterations, [threshold.rate * (threshold.end - value) for value in values], **look)
            if shares:
                marker = "." if len(shares) <= MARKED else ""
                silenced.plot(recorded, [100 * row[layer] for row in shares], **look, marker=marker, ms=4)
        period = run.config.hparams.cosine_epochs
        if period is not None:  # T of Eq. (28) in iterations; an epoch's are those of the first recorded line
            period *= recorded[0] / run.column("epoch")[0]
        rates = [learning_rate(run.config.optimizer.lr, iteration, period) for iteration in iterations[:-1]]
        rate.plot(iterations[:-1], rates, color=run.colour if several else GREY)
    theta.set(ylabel="threshold θ", title="threshold; dotted: θ∞")
    step.set(ylabel="Δθ per iteration", title="step of the threshold, Eq. (5)")
    rate.set(ylabel="learning rate", title="learning rate, Eq. (28)", xlabel="iteration γ")
    silenced.set(ylabel="neurons (%)", title="silenced by the last step of an epoch", xlabel="iteration γ")
    for ax in panels.flat:
        top = max(ax.get_ylim()[1], 1.0 if ax is silenced else 0.0)
        ax.set_ylim(-0.03 * top, top)  # what lies at 0 stays visible
        ax.ticklabel_format(axis="y", scilimits=(-3, 4))
    figure.legend(*theta.get_legend_handles_labels(), loc="outside lower center", ncols=max(len(found), 3))
    panel_letters(panels.flat)
    return figure


def flips(runs: Runs, options: Options) -> Figure:
    """Per epoch the share of a layer's weights whose sign changed, a panel a layer, and its threshold on the right."""
    found = runs.having(lambda run: run.column("sign_flips"))
    layers = max(len(run.layers) for run, _ in found)
    figure = Figure(figsize=(WIDTH, 2.7))
    panels = figure.subplots(1, layers, squeeze=False)[0]
    for layer, ax in enumerate(panels):
        theta = ax.twinx()
        theta.spines["right"].set_visible(True)
        for run, shares in found:
            if layer < len(run.layers):
                epochs = run.column("epoch")
                ax.plot(epochs, [100 * row[layer] for row in shares], "-", color=run.colour, label=run.label)
                theta.plot(epochs, [row[layer] for row in run.column("thresholds")], ":", color=run.colour)
        ax.set(xlabel="epoch", ylabel="signs changed (%)" if layer == 0 else "", ylim=(0, None))
        ax.set_title(f"layer {layer + 1}; dotted: θ")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        theta.set_ylim(0, None)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=max(len(found), 3))
    panel_letters(panels)
    return figure


def terminal_picture(folder: Path) -> RenderableType:
    """Selection accuracy (or loss, where there are no classes) beside the thresholds, over the epochs."""
    run = ShownRun(folder)
    try:
        quantity, unit = ("accuracy", " %") if run.has_classes else ("loss", "")
        scores, layers = run.column(f"validation_{quantity}"), list(zip(*run.column("thresholds"), strict=True))
    except Missing as error:
        return Text(str(error))
    name = f"{run.config.selection} accuracy" if run.has_classes else "loss"
    rises = ", ".join(f"{layer[0]:.3g} → {layer[-1]:.3g}" for layer in layers)
    curve = [math.log(score) for score in scores] if is_wide(scores) else scores
    table = Table.grid(padding=(0, 4))
    table.add_row(Text(f"{name}: {scores[0]:.4g} → {scores[-1]:.4g}{unit}"), Text(f"thresholds: {rises}"))
    table.add_row(Text(braille([curve]), style="cyan"), Text(braille(layers), style="yellow"))
    return table


def braille(lines: Sequence[Sequence[float]], columns: int = COLUMNS, rows: int = ROWS) -> str:
    """Curves on a common scale, lowest to highest value, as `rows` lines of `columns` characters of 2 x 4 dots."""
    lowest, highest = min(map(min, lines)), max(map(max, lines))
    dots = np.zeros((4 * rows, 2 * columns), dtype=int)
    for line in lines:
        values = np.interp(np.linspace(0, len(line) - 1, 2 * columns), range(len(line)), line)
        shares = (values - lowest) / (highest - lowest) if highest > lowest else np.full(2 * columns, 0.5)
        dots[np.rint((1 - shares) * (4 * rows - 1)).astype(int), range(2 * columns)] = 1
    cells = 0x2800 + np.einsum("rycx,yx->rc", dots.reshape(rows, 4, columns, 2), _DOTS)
    return "\n".join("".join(map(chr, row)) for row in cells)
