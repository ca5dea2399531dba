"""Loss, accuracy and thresholds over training (Fig. 6), and what Eqs. (4)-(7) and (28) say of each iteration."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snntha.errors import Missing
from snntha.optimizer import learning_rate
from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import GREY, LAYER_COLOURS, LINE_STYLES, WIDTH, is_wide, panel_letters

MARKED = 60  # points that a curve may have to be marked one by one


def curves(runs: Runs, options: Options) -> Figure:
    """Loss and accuracy per epoch of one run or several; the thresholds on the right axis of the loss.

    Of a single run every layer's threshold is drawn, of several runs the last layer's, as in Fig. 6.
    """
    found = runs.having(lambda run: run.column("epoch"))
    accurate = [(run, epochs) for run, epochs in found if run.has_classes]
    figure = Figure(figsize=(WIDTH, 2.9))
    panels = figure.subplots(1, 2 if accurate else 1, squeeze=False)[0]
    loss, theta = panels[0], panels[0].twinx()
    theta.spines["right"].set_visible(True)
    theta.set_ylabel("threshold θ")
    several = len(found) > 1

    for run, epochs in found:
        loss.plot(epochs, run.column("train_loss"), "-", color=run.colour)
        if steps := run.longer_validation:
            runs.note(f"{run.folder}: loss of {steps} validation steps, not drawn beside that of training")
        else:
            loss.plot(epochs, run.column("validation_loss"), "--", color=run.colour)
        last = len(run.layers) - 1
        for layer in [last] if several else range(last + 1):
            values = [run.layers[layer].threshold.start, *(row[layer] for row in run.column("thresholds"))]
            colour = run.colour if several else LAYER_COLOURS[layer]
            label = None if several else f"θ, layer {layer + 1}"
            width = 1.6 + last - layer  # equal thresholds stay visible
            theta.plot([0, *epochs], values, ":", color=colour, lw=width, label=label)
    if is_wide([value for line in loss.lines for value in line.get_ydata()]):
        loss.set_yscale("log")
    theta.set_ylim(bottom=0)
    loss.set(ylabel="loss", title="loss and thresholds")
    for run, epochs in accurate:
        panels[1].plot(epochs, run.column("train_accuracy"), "-", color=run.colour)
        panels[1].plot(epochs, run.column("validation_accuracy"), "--", color=run.colour)
    if accurate:
        panels[1].set(ylabel="accuracy (%)", title="accuracy")
        panels[1].grid(axis="y", alpha=0.3)
        panel_letters(panels)
    for ax in panels:
        ax.set_xlabel("epoch")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, theta, [run for run, _ in found])
    return figure


def _legend(figure: Figure, theta: Axes, shown: list[ShownRun]) -> None:
    """Line styles in grey, then the layers of a single run or the colours of several."""
    selections = dict.fromkeys(run.config.selection if run.has_classes else "evaluation" for run in shown)
    styles = {"training": "-", " or ".join(selections): "--", **({"θ, last layer": ":"} if len(shown) > 1 else {})}
    entries = {name: Line2D([], [], color=GREY, ls=style) for name, style in styles.items()}
    if len(shown) > 1:
        entries |= {run.label: Line2D([], [], color=run.colour, lw=3) for run in shown}
    else:
        handles, labels = theta.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(len(entries), 5))


def thresholds(runs: Runs, options: Options) -> Figure:
    """Per iteration: theta (Eq. 4), its step (left of Eq. 5), the learning rate (Eq. 28); and what the steps silenced.

    Eqs. (5)-(7) ask that no step of the threshold silence a neuron. The last panel is our measured form of that
    bound: the share of a layer's neurons that fired before the last step of an epoch and not after it.
    """
    found = runs.having(lambda run: run.column("iteration"))
    figure = Figure(figsize=(WIDTH, 4.6))
    panels = figure.subplots(2, 2, sharex=True)
    theta, step, rate, silenced = panels.flat
    for number, (run, recorded) in enumerate(found):
        iterations = list(range(recorded[-1] + 1))
        shares = _silenced(runs, run)
        for layer, spec in enumerate(run.layers):
            look, threshold = _look(found, number, layer), spec.threshold
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
        rate.plot(iterations[:-1], rates, color=run.colour if len(found) > 1 else GREY)
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


def _silenced(runs: Runs, run: ShownRun) -> list[list[float]]:
    """Shares of each epoch and layer; none, with a note, in older runs."""
    try:
        return run.column("silenced_by_threshold")
    except Missing as error:
        runs.note(str(error))
        return []


def _look(found: list, number: int, layer: int) -> dict[str, Any]:
    """Colour says the layer of a single run, or the run; later layers are thinner, so that equal lines stay visible."""
    run, _ = found[number]
    if len(found) > 1:
        return {"color": run.colour, "ls": LINE_STYLES[layer], "lw": 1.5}
    return {"color": LAYER_COLOURS[layer], "ls": "-", "lw": 1.2 + 1.4 * (len(run.layers) - 1 - layer)}
