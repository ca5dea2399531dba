"""What the neurons did, which classes they told apart (Figs. 5 and 7), and the weights that made them do it."""

import numpy as np
from matplotlib.figure import Figure

from snntha.binarize import binarize
from snntha.data.encoding import class_names
from snntha.plots.folders import Options, Runs
from snntha.plots.samples import layout
from snntha.plots.style import BLUE, WIDTH, panel_letters, without_frame

BINS = 30
CELL_NUMBERS = 12  # a confusion matrix of more classes shows colours alone
SHOWN = 60  # rows and columns of a dense layer's weights


def spike_counts(runs: Runs, options: Options, *, when: str = "end") -> Figure:
    """Mean spike count of each neuron, and the share of dead ones, `end`: of the best epoch on the test set (Fig. 5).

    `start`: after the first epoch, on the selection samples (Fig. 7). Of several seeds: the neurons of all, with the
    share of dead ones of each seed as a dot.
    """
    found = runs.having(lambda run: list(zip(*run.activities(when, "spike_count_N"), strict=True)))
    layers = max(len(counts) for _, counts in found)
    figure = Figure(figsize=(max(4.2, min(WIDTH, 2.7 * layers)), 2.6 + 0.25 * len(found)))
    axes = figure.subplots(2, layers, squeeze=False, height_ratios=[5, 0.6 + 0.6 * len(found)])
    for layer, (above, below) in enumerate(axes.T):
        present = [(run, list(map(np.asarray, counts[layer]))) for run, counts in found if len(counts) > layer]
        highest = max(float(count_N.max()) for _, seeds in present for count_N in seeds)
        edges = np.linspace(0, highest or 1.0, BINS + 1).tolist()
        for row, (run, seeds) in enumerate(present):
            count_N = np.concatenate(seeds)
            weights = np.full(len(count_N), 100 / len(count_N))
            above.hist(count_N, edges, weights=weights, histtype="stepfilled", color=run.colour, alpha=0.3)
            above.hist(count_N, edges, weights=weights, histtype="step", color=run.colour, lw=1.2)
            dead = 100 * float((count_N == 0).mean())
            below.barh(row, dead, color=run.colour, height=0.7)
            if len(seeds) > 1:
                shares = [100 * float((of_seed_N == 0).mean()) for of_seed_N in seeds]
                below.plot(shares, [row] * len(seeds), "o", color="white", mec="black", mew=0.6, ms=3.5)
            below.text(101, row, f"{dead:.1f} %", va="center", fontsize=8)
        spec = present[0][0].layers[layer]
        above.set_title(f"layer {layer + 1} ({spec.kind}, {spec.neurons})")
        above.set(xlim=(0, edges[-1]), xlabel="mean spikes per sample", ylabel="" if layer else "neurons (%)")
        below.set(xlim=(0, 100), ylim=(len(present) - 0.4, -0.6), xlabel="dead neurons (%)")
        below.set_yticks(range(len(present)), ["" if layer else run.label for run, _ in present])
        below.tick_params(axis="y", length=0)
    panel_letters(axes[0])
    return figure


def confusion(runs: Runs, options: Options) -> Figure:
    """Test set, best epoch, all seeds together: percent of each class (row) that was taken for each class (column).

    Classes that the test set does not have, and that were never taken for one, are left out.
    """
    found = runs.having(lambda run: np.sum([c.numpy() for c in run.activities("end", "confusion")], axis=0))
    columns = min(len(found), 2)
    rows = -(-len(found) // columns)
    figure = Figure(figsize=(3.8 * columns + 0.4, 3.6 * rows))
    shown = [figure.add_subplot(rows, columns, place) for place in range(1, len(found) + 1)]
    for ax, (run, counts) in zip(shown, found, strict=True):
        own, taken = np.flatnonzero(counts.any(axis=1)), np.flatnonzero(counts.any(axis=1) | counts.any(axis=0))
        percent = 100 * counts[np.ix_(own, taken)] / counts[own].sum(axis=1, keepdims=True)
        ax.imshow(percent, cmap="Blues", vmin=0, vmax=100)
        few = len(taken) <= CELL_NUMBERS
        for (row, column), value in np.ndenumerate(percent):
            if few and value >= 0.5:
                colour = "white" if value > 60 else "black"
                ax.text(column, row, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)
        names = class_names(run.config.dataset)
        across, down = (range(0, len(classes), 1 if few else 2) for classes in (taken, own))
        without_frame(ax, xticks=across, yticks=down, xlabel="predicted class", ylabel="class")
        ax.set_xticklabels([names[taken[place]] for place in across], rotation=90 if max(map(len, names)) > 2 else 0)
        ax.set_yticklabels([names[own[place]] for place in down])
        of = f", {len(run.seeds)} seeds" if len(run.seeds) > 1 else ""
        ax.set_title(f"{run.label}{of}: {100 * counts.trace() / counts.sum():.1f} % correct")
    figure.colorbar(shown[0].images[0], ax=shown, label="share of the class (%)", shrink=0.8)
    return figure


def weights(runs: Runs, options: Options) -> Figure:
    """Best epoch, first layer: latent weights, their signs, and the distribution of the latent ones."""
    run, latent = runs.single(lambda run: run.weights(0))
    pictures = {"latent weights": latent.numpy()}
    if run.layers[0].binary:
        pictures["after binarization"] = binarize(latent).numpy()
    figure = Figure(figsize=(WIDTH, 2.7))
    *axes, histogram = figure.subplots(1, len(pictures) + 1)
    for ax, (title, values) in zip(axes, pictures.items(), strict=True):
        bound = float(np.abs(values).max())
        if values.ndim == 2:
            picture = values[:SHOWN, :SHOWN]
            ax.set(xlabel=f"input (first {picture.shape[1]})", ylabel=f"neuron (first {picture.shape[0]})")
        else:  # kernels (O, I, k, k) side by side
            kernels = values.reshape(-1, *values.shape[2:])
            place = layout(kernels.shape)[:-1, :-1]
            picture = np.where(place < 0, np.nan, kernels.flatten()[place])
        image = ax.imshow(picture, cmap="RdBu_r", vmin=-bound, vmax=bound)
        without_frame(ax, title=title)
        figure.colorbar(image, ax=ax, ticks=[-bound, 0, bound], format="%.2g", shrink=0.8)
    histogram.hist(latent.flatten().numpy(), 50, color=BLUE)
    histogram.axvline(0, color="black", lw=0.8)
    positive = 100 * float((latent >= 0).double().mean())
    histogram.set(title=f"{positive:.0f} % positive", xlabel="latent weight", ylabel=f"of {latent.numel()} weights")
    figure.suptitle(f"{run.title}, {run.of_one}: layer 1", fontsize=9)
    return figure
