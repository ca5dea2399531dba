"""One recorded sample: what goes in, and the spikes that it causes in every layer."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import BLUE, GREY, VERMILION, WIDTH, Animation

FRAMES_OF_EVENTS = 4  # into which the recording of an event camera is summed
ROWS = 150  # neurons in a raster, at most
TRAIL = 0.6  # of a spike's brightness is left a frame later


def recorded_sample(run: ShownRun) -> dict[str, Any]:
    """`input`: (T, inputs) spike counts or a (C, H, W) image; `label`; `spikes_TN`: one array a layer."""
    sample = run.activity("end", "sample")
    return {**sample, "input": sample["input"].numpy(), "spikes_TN": [layer.numpy() for layer in sample["spikes_TN"]]}


def is_image(sample: dict[str, Any]) -> bool:
    """Whether the input is a constant current, not spikes."""
    return sample["input"].ndim == 3


def raster(runs: Runs, options: Options) -> Figure:
    """A raster of one sample through all layers, input first; one column a run."""
    found = runs.having(recorded_sample)
    rows = 1 + max(len(sample["spikes_TN"]) for _, sample in found)
    figure = Figure(figsize=(max(4.6, min(WIDTH, 3.6 * len(found))), 0.5 + 1.35 * rows))
    axes = figure.subplots(rows, len(found), squeeze=False)
    for column, (run, sample) in enumerate(found):
        steps = len(sample["spikes_TN"][0])
        first = axes[0, column]
        if is_image(sample):
            _draw_image(first, sample["input"])
        else:
            draw_spikes(first, sample["input"], GREY)
            first.set_xlim(0, steps)
        first.set_title(f"{run.label}{_label_text(sample)}")
        for ax, layer, spikes_TN in zip(axes[1:, column], run.layers, sample["spikes_TN"], strict=False):
            draw_spikes(ax, spikes_TN, run.colour)
            ax.set_xlim(0, steps)
            if column == 0 or run.layers != found[0][0].layers:
                ax.set_ylabel(f"{layer.kind}, {layer.neurons}")
            ax.set_title(f"{spikes_TN.mean():.3f} per step", loc="left", fontsize=7)
        last = axes[len(sample["spikes_TN"]), column]
        last.set_xlabel("time step t")
        outputs = sample["spikes_TN"][-1].shape[1]
        last.set_yticks(range(0, outputs, 1 if outputs <= 11 else 5))
        last.tick_params(axis="y", labelsize=6)
    axes[0, 0].set_ylabel("input")
    figure.align_ylabels(axes[:, 0])
    return figure


def draw_spikes(ax: Axes, spikes_TN: np.ndarray, colour: str) -> None:
    """One mark a spike: time to the right, neuron upward; of a large layer one neuron in n, as the corner says."""
    stride = math.ceil(spikes_TN.shape[1] / ROWS)
    steps, rows = np.nonzero(spikes_TN[:, ::stride])
    figure = ax.get_figure(root=True)
    assert figure is not None
    box = ax.get_window_extent()
    points = 72 / figure.dpi
    height = box.height * points / math.ceil(spikes_TN.shape[1] / stride)  # of one neuron
    width = min(0.6 * box.width * points / len(spikes_TN), 1.0)
    size = min(max(height, 1.8), 9.0) ** 2
    ax.scatter(
        steps + 0.5, rows * stride, s=size, marker="|", color=colour, linewidths=width, rasterized=len(rows) > 2000
    )
    ax.set_ylim(-0.7 * stride, spikes_TN.shape[1] - 0.3 * stride)
    if stride > 1:
        ax.text(1, 1.02, f"1 in {stride}", transform=ax.transAxes, ha="right", va="bottom", fontsize=7, color=GREY)


def _draw_image(ax: Axes, image_CHW: np.ndarray) -> None:
    ax.imshow(image_CHW[0], cmap="gray_r", vmin=0)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _label_text(sample: dict[str, Any]) -> str:
    return "" if sample["label"] is None else f": a sample of class {sample['label']}"


def samples(runs: Runs, options: Options) -> Figure:
    """A sample of each data set among the runs: an image, an event recording in four frames, or a raster."""
    found = {run.config.dataset.name: (run, sample) for run, sample in runs.having(recorded_sample)}
    figure = Figure(figsize=(WIDTH, 0.3 + 1.9 * len(found)))
    rows = figure.subfigures(len(found), 1, squeeze=False)[:, 0]
    for row, (name, (run, sample)) in zip(rows, found.items(), strict=True):
        shape = run.config.dataset.input_shape
        row.suptitle(f"{name}{_label_text(sample)}", fontsize=9)
        if is_image(sample):
            _draw_image(row.subplots(), sample["input"])
        elif len(shape) == 3:
            _draw_event_frames(row.subplots(1, FRAMES_OF_EVENTS), sample["input"].reshape(-1, *shape))
        else:
            ax = row.subplots()
            draw_spikes(ax, sample["input"], "black")
            ax.set(xlim=(0, len(sample["input"])), xlabel=_time_label(run), ylabel="input channel")
    return figure


def _time_label(run: ShownRun) -> str:
    bin_ms = run.config.dataset.bin_ms
    return "time step" if bin_ms is None else f"time step of {bin_ms:g} ms"


def _draw_event_frames(axes: np.ndarray, counts_TCHW: np.ndarray) -> None:
    """Equal parts of the recording, from its first event to its last: events of each polarity, second minus first."""
    end = int(np.nonzero(counts_TCHW)[0].max(initial=0)) + 1
    parts = np.array_split(counts_TCHW[:end].astype(float), len(axes))
    pictures = [part.sum(axis=0)[-1] - part.sum(axis=0)[0] * (part.shape[1] > 1) for part in parts]
    bound = float(np.percentile(np.abs(pictures), 99.5)) or 1.0
    first = 0
    for ax, part, picture_HW in zip(axes, parts, pictures, strict=True):
        ax.imshow(picture_HW, cmap="RdBu_r", vmin=-bound, vmax=bound)
        ax.set(xticks=[], yticks=[], xlabel=f"steps {first} to {first + len(part) - 1}")
        ax.spines[:].set_visible(False)
        first += len(part)


def flow(runs: Runs, options: Options) -> Animation:
    """The spikes of a sample flowing through the layers; the output layer also as spike counts so far."""
    run, sample = runs.single(recorded_sample)
    layers = sample["spikes_TN"]
    chunks = np.array_split(np.arange(len(layers[0])), min(len(layers[0]), options.frames))
    grids = [_layout(layer.output_shape) for layer in run.layers]
    figure = Figure(figsize=(1.9 * (len(layers) + 2), 2.5))
    axes = figure.subplots(1, len(layers) + 2, width_ratios=[1.3] * (len(layers) + 1) + [1])
    input_shape = tuple(run.config.dataset.input_shape)
    moving = [] if is_image(sample) else [(axes[0], sample["input"], _layout(input_shape))]
    if is_image(sample):
        _draw_image(axes[0], sample["input"])
    axes[0].set_title("input")
    for ax, spikes_TN, grid, layer in zip(axes[1:-1], layers, grids, run.layers, strict=True):
        moving.append((ax, spikes_TN, grid))
        ax.set_title(f"{layer.kind}, {layer.neurons}")
    images = [ax.imshow(grid * 0.0, cmap="Blues", vmin=0, vmax=1) for ax, _, grid in moving]
    for ax in axes[:-1]:
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(True)
    output_TN = layers[-1]
    colours = [VERMILION if neuron == sample["label"] else BLUE for neuron in range(output_TN.shape[1])]
    bars = axes[-1].barh(range(output_TN.shape[1]), 0, color=colours)
    axes[-1].set(xlim=(0, max(1, output_TN.sum(axis=0).max())), title="output spikes", ylabel="class")
    axes[-1].invert_yaxis()
    glow = [np.zeros(spikes_TN.shape[1]) for _, spikes_TN, _ in moving]

    def update(frame: int) -> None:
        steps = chunks[frame]
        for image, light_N, (_, spikes_TN, grid) in zip(images, glow, moving, strict=True):
            light_N *= TRAIL * (frame > 0)
            light_N[spikes_TN[steps].any(axis=0)] = 1.0
            image.set_data(np.where(grid < 0, np.nan, light_N[grid]))
        for bar, count in zip(bars, output_TN[: steps[-1] + 1].sum(axis=0), strict=True):
            bar.set_width(count)
        figure.suptitle(f"{run.label}{_label_text(sample)}, time step t = {steps[-1]:3d}", fontsize=9)

    update(0)
    return Animation(figure, len(chunks), update)


def _layout(shape: tuple[int, ...]) -> np.ndarray:
    """Where a layer's neurons stand in a picture: index of the neuron at each pixel, -1 for none.

    Maps of a convolution (C, H, W) lie side by side with a gap of one pixel, dense neurons (N,) in rows.
    """
    channels, height, width = shape if len(shape) == 3 else (math.prod(shape), 1, 1)
    gap = int(len(shape) == 3)
    columns = math.ceil(math.sqrt(channels))
    grid = np.full((math.ceil(channels / columns) * (height + gap), columns * (width + gap)), -1)
    for channel in range(channels):
        top, left = (channel // columns) * (height + gap), (channel % columns) * (width + gap)
        index = np.arange(height * width).reshape(height, width) + channel * height * width
        grid[top : top + height, left : left + width] = index
    return grid
