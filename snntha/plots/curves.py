"""Loss, accuracy and thresholds over training (Fig. 6), and what Eqs. (4)-(7) and (28) say of each iteration."""

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from snntha.optimizer import learning_rate
from snntha.plots.folders import Missing, Options, RunFolder, Runs
from snntha.plots.style import GREY, LAYER_COLOURS, LINE_STYLES, WIDTH, log_if_wide, panel_letters
from snntha.threshold import Annealing

MARKED = 60  # points that a curve may have to be marked one by one


def curves(runs: Runs, options: Options) -> Figure:
    """Loss and accuracy per epoch of one run or several; the thresholds on the right axis of the loss.

    Of a single run every layer's threshold is drawn, of several runs the last layer's, as in Fig. 6.
    """
    found = runs.having(lambda folder: folder.metrics)
    accurate = [folder for folder, _ in found if folder.metrics[0].get("validation_accuracy") is not None]
    figure = Figure(figsize=(WIDTH, 2.9))
    panels = figure.subplots(1, 2 if accurate else 1, squeeze=False)[0]
    theta = panels[0].twinx()
    theta.spines["right"].set_visible(True)
    theta.set_ylabel("threshold θ")
    several = len(found) > 1

    losses: list[float] = []
    for folder, _ in found:
        epochs = folder.column("epoch")
        for key, style in (("train_loss", "-"), ("validation_loss", "--")):
            if key == "validation_loss" and (steps := folder.longer_validation):
                runs.notes.append(f"{folder.path}: loss of {steps} validation steps, not drawn beside that of training")
                continue
            panels[0].plot(epochs, folder.column(key), style, color=folder.colour)
            losses += folder.column(key)
        start = folder.config.hparams.threshold.start
        rows = [start, *folder.column("thresholds")]
        for layer in [len(start) - 1] if several else range(len(start)):
            colour = folder.colour if several else LAYER_COLOURS[layer]
            label = None if several else f"θ, layer {layer + 1}"
            width = 1.6 + len(start) - 1 - layer  # equal thresholds stay visible
            theta.plot([0, *epochs], [row[layer] for row in rows], ":", color=colour, lw=width, label=label)
    log_if_wide(panels[0], losses)
    theta.set_ylim(bottom=0)
    panels[0].set(xlabel="epoch", ylabel="loss", title="loss and thresholds")
    panels[0].xaxis.set_major_locator(MaxNLocator(integer=True))
    _legend(figure, theta, [folder for folder, _ in found])

    if accurate:
        for folder in accurate:
            epochs = folder.column("epoch")
            panels[1].plot(epochs, folder.column("train_accuracy"), "-", color=folder.colour)
            panels[1].plot(epochs, folder.column("validation_accuracy"), "--", color=folder.colour)
        panels[1].set(xlabel="epoch", ylabel="accuracy (%)", title="accuracy")
        panels[1].grid(axis="y", alpha=0.3)
        panels[1].xaxis.set_major_locator(MaxNLocator(integer=True))
        panel_letters(panels)
    return figure


def _legend(figure: Figure, theta: Axes, folders: list[RunFolder]) -> None:
    """Line styles in grey, then the layers of a single run or the colours of several."""
    classes = folders[0].metrics[0].get("validation_accuracy") is not None
    selections = dict.fromkeys(folder.config.selection if classes else "evaluation" for folder in folders)
    entries = {
        "training": Line2D([], [], color=GREY),
        " or ".join(selections): Line2D([], [], color=GREY, ls="--"),
    }
    if len(folders) > 1:
        entries["θ, last layer"] = Line2D([], [], color=GREY, ls=":")
        entries |= {folder.label: Line2D([], [], color=folder.colour, lw=3) for folder in folders}
    else:
        handles, labels = theta.get_legend_handles_labels()
        entries |= dict(zip(labels, handles, strict=True))
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=min(len(entries), 5))


def thresholds(runs: Runs, options: Options) -> Figure:
    """Per iteration: theta (Eq. 4), its step (left of Eq. 5), the learning rate (Eq. 28); and what the steps silenced.

    Eqs. (5)-(7) ask that no step of the threshold silence a neuron. The last panel is our measured form of that
    bound: the share of a layer's neurons that fired before the last step of an epoch and not after it.
    """
    found = runs.having(lambda folder: folder.metrics)
    figure = Figure(figsize=(WIDTH, 4.6))
    panels = figure.subplots(2, 2, sharex=True)
    theta, step, rate, silenced = panels.flat
    for number, (folder, metrics) in enumerate(found):
        iterations = list(range(metrics[-1]["iteration"] + 1))
        threshold = folder.config.hparams.threshold
        for layer, numbers in enumerate(zip(threshold.start, threshold.rise, threshold.rate, strict=True)):
            look = _look(found, number, layer)
            start, rise, alpha = numbers
            values = [Annealing(start, rise, alpha).after(updates) for updates in iterations]
            theta.plot(iterations, values, **look, label=f"{folder.label}, layer {layer + 1}")
            theta.axhline(start + rise, color=look["color"], lw=0.8, ls=(0, (1, 2)))
            step.plot(iterations, [alpha * (start + rise - value) for value in values], **look)
            _draw_silenced(runs, silenced, folder, layer, look)
        half_period = _half_period(folder)
        lr = folder.config.optimizer.lr
        rates = [learning_rate(lr, iteration, half_period) for iteration in iterations[:-1]]
        rate.plot(iterations[:-1], rates, color=folder.colour if len(found) > 1 else GREY)
    theta.set(ylabel="threshold θ", title="threshold; dotted: θ∞")
    step.set(ylabel="Δθ per iteration", title="step of the threshold, Eq. (5)")
    rate.set(ylabel="learning rate", title="learning rate, Eq. (28)", xlabel="iteration γ")
    silenced.set(ylabel="neurons (%)", title="silenced by the last step of an epoch", xlabel="iteration γ")
    for ax in (theta, step, rate, silenced):
        top = max(ax.get_ylim()[1], 1.0 if ax is silenced else 0.0)
        ax.set_ylim(-0.03 * top, top)  # what lies at 0 stays visible
        ax.ticklabel_format(axis="y", scilimits=(-3, 4))
    figure.legend(*theta.get_legend_handles_labels(), loc="outside lower center", ncols=max(len(found), 3))
    panel_letters(panels.flat)
    return figure


def _look(found: list, number: int, layer: int) -> dict[str, Any]:
    """Colour says the layer of a single run, or the run; later layers are thinner, so that equal lines stay visible."""
    width = 1.2 + 1.4 * (len(found[number][0].layers) - 1 - layer)
    if len(found) == 1:
        return {"color": LAYER_COLOURS[layer], "ls": "-", "lw": width}
    return {"color": found[number][0].colour, "ls": LINE_STYLES[layer], "lw": 1.5}


def _half_period(folder: RunFolder) -> float | None:
    """T of Eq. (28) in iterations; an epoch's iterations are those of the first recorded line."""
    epochs = folder.config.hparams.cosine_epochs
    first = folder.metrics[0]
    return None if epochs is None else epochs * first["iteration"] / first["epoch"]


def _draw_silenced(runs: Runs, ax: Axes, folder: RunFolder, layer: int, look: dict[str, Any]) -> None:
    try:
        shares = [100 * row[layer] for row in folder.column("silenced_by_threshold")]
    except Missing as error:
        if str(error) not in runs.notes:
            runs.notes.append(str(error))
        return
    ax.plot(folder.column("iteration"), shares, **look, marker="." if len(shares) <= MARKED else "", ms=4)
