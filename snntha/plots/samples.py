"""One recorded sample: what goes in, and the spikes that it causes in every layer."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import BLUE, GREY, VERMILION, WIDTH, Animation, without_frame

FRAMES_OF_EVENTS = 4  # into which the recording of an event camera is summed
ROWS = 150  # neurons in a raster, at most
TRAIL = 0.6  # of a spike's brightness is left a frame later


@dataclass(frozen=True)
class Sample:
    """What went into the network, and what it caused."""

    input: np.ndarray  # (T, inputs) spike counts, or a (C, H, W) image as a constant current
    label: int | None
    spikes_TN: list[np.ndarray]  # of each layer

    @property
    def is_image(self) -> bool:
        return self.input.ndim == 3

    @property
    def text(self) -> str:
        return "" if self.label is None else f": a sample of class {self.label}"


def recorded_sample(run: ShownRun) -> Sample:
    """The first of the test set, under the best epoch's weights."""
    sample = run.activity("end", "sample")
    return Sample(sample["input"].numpy(), sample["label"], [layer.numpy() for layer in sample["spikes_TN"]])


def raster(runs: Runs, options: Options) -> Figure:
    """A raster of one sample through all layers, input first; one column a run."""
    found = runs.having(recorded_sample)
    rows = 1 + max(len(sample.spikes_TN) for _, sample in found)
    figure = Figure(figsize=(max(4.6, min(WIDTH, 3.6 * len(found))), 0.5 + 1.35 * rows))
    axes = figure.subplots(rows, len(found), squeeze=False)
    for column, (run, sample) in enumerate(found):
        _draw_input(axes[0, column], sample, GREY)
        axes[0, column].set_title(f"{run.label}{sample.text}")
        for ax, layer, spikes_TN in zip(axes[1:, column], run.layers, sample.spikes_TN, strict=False):
            draw_spikes(ax, spikes_TN, run.colour)
            if column == 0 or run.layers != found[0][0].layers:
                ax.set_ylabel(f"{layer.kind}, {layer.neurons}")
            ax.set_title(f"{spikes_TN.mean():.3f} per step", loc="left", fontsize=7)
        last = axes[len(sample.spikes_TN), column]
        last.set_xlabel("time step t")
        outputs = sample.spikes_TN[-1].shape[1]
        last.set_yticks(range(0, outputs, 1 if outputs <= 11 else 5))
        last.tick_params(axis="y", labelsize=6)
    axes[0, 0].set_ylabel("input")
    figure.align_ylabels(axes[:, 0])
    return figure


def _draw_input(ax: Axes, sample: Sample, colour: str) -> None:
    if sample.is_image:
        ax.imshow(sample.input[0], cmap="gray_r", vmin=0)
        without_frame(ax)
    else:
        draw_spikes(ax, sample.input, colour)


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
    ax.set(xlim=(0, len(spikes_TN)), ylim=(-0.7 * stride, spikes_TN.shape[1] - 0.3 * stride))
    if stride > 1:
        ax.text(1, 1.02, f"1 in {stride}", transform=ax.transAxes, ha="right", va="bottom", fontsize=7, color=GREY)


def samples(runs: Runs, options: Options) -> Figure:
    """A sample of each data set among the runs: an image, an event recording in four frames, or a raster."""
    found = {run.config.dataset.name: (run, sample) for run, sample in runs.having(recorded_sample)}
    figure = Figure(figsize=(WIDTH, 0.3 + 1.9 * len(found)))
    rows = figure.subfigures(len(found), 1, squeeze=False)[:, 0]
    for row, (name, (run, sample)) in zip(rows, found.items(), strict=True):
        shape, bin_ms = run.config.dataset.input_shape, run.config.dataset.bin_ms
        row.suptitle(f"{name}{sample.text}", fontsize=9)
        if len(shape) == 3 and not sample.is_image:
            _draw_event_frames(row.subplots(1, FRAMES_OF_EVENTS), sample.input.reshape(-1, *shape))
            continue
        ax = row.subplots()
        _draw_input(ax, sample, "black")
        if not sample.is_image:
            ax.set(xlabel="time step" if bin_ms is None else f"time step of {bin_ms:g} ms", ylabel="input channel")
    return figure


def _draw_event_frames(axes: np.ndarray, counts_TCHW: np.ndarray) -> None:
    """Equal parts of the recording, from its first event to its last: events of each polarity, second minus first."""
    end = int(np.nonzero(counts_TCHW)[0].max(initial=0)) + 1
    parts = np.array_split(counts_TCHW[:end].astype(float), len(axes))
    pictures = [part.sum(axis=0)[-1] - part.sum(axis=0)[0] * (part.shape[1] > 1) for part in parts]
    bound = float(np.percentile(np.abs(pictures), 99.5)) or 1.0
    first = 0
    for ax, part, picture_HW in zip(axes, parts, pictures, strict=True):
        ax.imshow(picture_HW, cmap="RdBu_r", vmin=-bound, vmax=bound)
        without_frame(ax, xlabel=f"steps {first} to {first + len(part) - 1}")
        first += len(part)


def flow(runs: Runs, options: Options) -> Animation:
    """The spikes of a sample flowing through the layers; the output layer also as spike counts so far."""
    run, sample = runs.single(recorded_sample)
    layers = sample.spikes_TN
    chunks = np.array_split(np.arange(len(layers[0])), min(len(layers[0]), options.frames))
    figure = Figure(figsize=(1.9 * (len(layers) + 2), 2.5))
    axes = figure.subplots(1, len(layers) + 2, width_ratios=[1.3] * (len(layers) + 1) + [1])
    moving = []  # (spikes_TN, where the neurons stand, picture)
    shapes = [tuple(run.config.dataset.input_shape), *(layer.output_shape for layer in run.layers)]
    titles = ["input", *(f"{layer.kind}, {layer.neurons}" for layer in run.layers)]
    for ax, spikes_TN, shape, title in zip(axes, [sample.input, *layers], shapes, titles, strict=False):
        if spikes_TN is sample.input and sample.is_image:
            _draw_input(ax, sample, GREY)
        else:
            grid = layout(shape)
            moving.append((spikes_TN, grid, ax.imshow(grid * 0.0, cmap="Blues", vmin=0, vmax=1)))
        ax.set(xticks=[], yticks=[], title=title)
        ax.spines[:].set_visible(True)
    output_TN = layers[-1]
    colours = [VERMILION if neuron == sample.label else BLUE for neuron in range(output_TN.shape[1])]
    bars = axes[-1].barh(range(output_TN.shape[1]), 0, color=colours)
    axes[-1].set(xlim=(0, max(1, output_TN.sum(axis=0).max())), title="output spikes", ylabel="class")
    axes[-1].invert_yaxis()
    glow = [np.zeros(spikes_TN.shape[1]) for spikes_TN, _, _ in moving]

    def update(frame: int) -> None:
        steps = chunks[frame]
        for light_N, (spikes_TN, grid, image) in zip(glow, moving, strict=True):
            light_N *= TRAIL * (frame > 0)
            light_N[spikes_TN[steps].any(axis=0)] = 1.0
            image.set_data(np.where(grid < 0, np.nan, light_N[grid]))
        for bar, count in zip(bars, output_TN[: steps[-1] + 1].sum(axis=0), strict=True):
            bar.set_width(count)
        figure.suptitle(f"{run.label}{sample.text}, time step t = {steps[-1]:3d}", fontsize=9)

    update(0)
    return Animation(figure, len(chunks), update)


def layout(shape: tuple[int, ...]) -> np.ndarray:
    """Where a layer's neurons stand in a picture: index of the neuron at each pixel, -1 for none.

    Maps of a convolution (C, H, W) lie side by side with a gap of one pixel, dense neurons (N,) in rows.
    """
    channels, height, width = shape if len(shape) == 3 else (math.prod(shape), 1, 1)
    gap = int(len(shape) == 3)
    columns = math.ceil(math.sqrt(channels))
    tiles = np.full((columns * math.ceil(channels / columns), height + gap, width + gap), -1)
    tiles[:channels, :height, :width] = np.arange(math.prod(shape)).reshape(channels, height, width)
    return np.block([list(row) for row in tiles.reshape(-1, columns, *tiles.shape[1:])])
