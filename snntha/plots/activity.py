"""What the neurons did: spike counts and dead neurons (Figs. 5 and 7), and which classes they told apart."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import WIDTH, panel_letters, without_frame

BINS = 30
CELL_NUMBERS = 12  # a confusion matrix of more classes shows colours alone


def spike_counts(runs: Runs, options: Options, *, when: str) -> Figure:
    """Mean spike count of each neuron, and the share of dead ones, `end`: of the best epoch on the test set (Fig. 5).

    `start`: after the first epoch, on the selection samples (Fig. 7).
    """
    found = runs.having(lambda run: [count_N.numpy() for count_N in run.activity(when, "spike_count_N")])
    layers = max(len(counts) for _, counts in found)
    figure = Figure(figsize=(max(4.2, min(WIDTH, 2.7 * layers)), 2.6 + 0.25 * len(found)))
    axes = figure.subplots(2, layers, squeeze=False, height_ratios=[5, 0.6 + 0.6 * len(found)])
    for layer in range(layers):
        present = [(run, counts[layer]) for run, counts in found if len(counts) > layer]
        _draw_counts(axes[0, layer], present)
        _draw_dead(axes[1, layer], present)
        shape = present[0][0].layers[layer]
        axes[0, layer].set_title(f"layer {layer + 1} ({shape.kind}, {shape.neurons})")
        axes[0, layer].set_xlabel("mean spikes per sample")
    axes[0, 0].set_ylabel("neurons (%)")
    for ax in axes[1, 1:]:
        ax.set_yticklabels([])
    panel_letters(axes[0])
    return figure


def _draw_counts(ax: Axes, present: list[tuple[ShownRun, np.ndarray]]) -> None:
    """Histograms over common bins, each of all neurons of the layer."""
    highest = max(float(count_N.max()) for _, count_N in present)
    edges = np.linspace(0, highest or 1.0, BINS + 1).tolist()
    for run, count_N in present:
        weights = np.full(len(count_N), 100 / len(count_N))
        ax.hist(count_N, edges, weights=weights, histtype="stepfilled", color=run.colour, alpha=0.3)
        ax.hist(count_N, edges, weights=weights, histtype="step", color=run.colour, lw=1.2)
    ax.set_xlim(0, edges[-1])


def _draw_dead(ax: Axes, present: list[tuple[ShownRun, np.ndarray]]) -> None:
    for row, (run, count_N) in enumerate(present):
        dead = 100 * float((count_N == 0).mean())
        ax.barh(row, dead, color=run.colour, height=0.7)
        ax.text(dead + 2, row, f"{dead:.1f} %", va="center", fontsize=8)
    ax.set(xlim=(0, 130), xticks=(0, 25, 50, 75, 100), ylim=(len(present) - 0.4, -0.6), xlabel="dead neurons (%)")
    ax.set_yticks(range(len(present)), [run.label for run, _ in present])
    ax.tick_params(axis="y", length=0)


def confusion(runs: Runs, options: Options) -> Figure:
    """Test set, best epoch: percent of each class (row) that was taken for each class (column)."""
    found = runs.having(lambda run: run.activity("end", "confusion").numpy())
    columns = min(len(found), 2)
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(3.8 * columns + 0.4, 3.6 * rows))
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat[len(found) :]:
        ax.set_visible(False)
    for ax, (run, counts) in zip(axes.flat, found, strict=False):
        percent = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        few = len(counts) <= CELL_NUMBERS
        for (row, column), value in np.ndenumerate(percent):
            if few and value >= 0.5:
                colour = "white" if value > 60 else "black"
                ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
        accuracy = 100 * counts.trace() / counts.sum()
        without_frame(ax, xlabel="predicted class", ylabel="class", title=f"{run.label}: {accuracy:.1f} % correct")
        ticks = range(0, len(counts), 1 if few else 2)
        ax.set(xticks=ticks, yticks=ticks)
    shown = list(axes.flat[: len(found)])
    figure.colorbar(shown[0].images[0], ax=shown, label="share of the class (%)", shrink=0.8)
    return figure
