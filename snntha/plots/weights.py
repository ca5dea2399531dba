"""First-layer weights before and after binarization."""

import numpy as np
from matplotlib.figure import Figure

from snntha.binarize import binarize
from snntha.plots.folders import Options, Runs
from snntha.plots.samples import layout
from snntha.plots.style import BLUE, WIDTH, without_frame

SHOWN = 60  # rows and columns of a dense layer's matrix


def weights(runs: Runs, options: Options) -> Figure:
    """Best epoch, first layer: latent weights, their signs, and the distribution of the latent ones."""
    run, latent = runs.single(lambda run: run.weights(0))
    pictures = {"latent weights": latent.numpy()}
    if run.config.mode.binarize:
        pictures["after binarization"] = binarize(latent).numpy()
    figure = Figure(figsize=(WIDTH, 2.7))
    *axes, histogram = figure.subplots(1, len(pictures) + 1)
    for ax, (title, values) in zip(axes, pictures.items(), strict=True):
        bound = float(np.abs(values).max())
        image = ax.imshow(mosaic(values), cmap="RdBu_r", vmin=-bound, vmax=bound)
        without_frame(ax, title=title)
        if values.ndim == 2:
            rows, columns = mosaic(values).shape
            ax.set(xlabel=f"input (first {columns})", ylabel=f"neuron (first {rows})")
        figure.colorbar(image, ax=ax, ticks=[-bound, 0, bound], format="%.2g", shrink=0.8)
    histogram.hist(latent.flatten().numpy(), 50, color=BLUE)
    positive = 100 * float((latent >= 0).double().mean())
    histogram.axvline(0, color="black", lw=0.8)
    histogram.set(title=f"{positive:.0f} % positive", xlabel="latent weight", ylabel=f"of {latent.numel()} weights")
    figure.suptitle(f"{run.config.dataset.name}, {run.label}: layer 1", fontsize=9)
    return figure


def mosaic(values: np.ndarray) -> np.ndarray:
    """A picture of a weight tensor: kernels (O, I, k, k) side by side, NaN between them; a matrix's corner."""
    if values.ndim == 2:
        return values[:SHOWN, :SHOWN]
    kernels = values.reshape(-1, *values.shape[2:])
    place = layout(kernels.shape)[:-1, :-1]
    return np.where(place < 0, np.nan, kernels.flatten()[place])
