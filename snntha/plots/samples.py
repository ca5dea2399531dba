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
    text: str  # its class
    label: int | None
    spikes_TN: list[np.ndarray]  # of each layer

    @classmethod
    def read(cls, run: ShownRun) -> "Sample":
        """The first of the test set, under the best epoch's weights."""
        sample = run.activity("end", "sample")
        label = sample["label"]
        text = "" if label is None else f": a sample of class {label}"
        return cls(sample["input"].numpy(), text, label, [layer.numpy() for layer in sample["spikes_TN"]])

    def draw_input(self, ax: Axes, colour: str) -> None:
        """As an image, or as spikes of this colour."""
        if self.input.ndim == 3:
            ax.imshow(self.input[0], cmap="gray_r", vmin=0)
            without_frame(ax)
        else:
            draw_spikes(ax, self.input, colour)


def raster(runs: Runs, options: Options) -> Figure:
    """A raster of one sample through all layers, input first; one column a run."""
    found = runs.having(Sample.read)
    rows = 1 + max(len(sample.spikes_TN) for _, sample in found)
    figure = Figure(figsize=(max(4.6, min(WIDTH, 3.6 * len(found))), 0.5 + 1.35 * rows))
    axes = figure.subplots(rows, len(found), squeeze=False)
    for column, (run, sample) in enumerate(found):
        first, *others = axes[: 1 + len(run.layers), column]
        sample.draw_input(first, GREY)
        first.set_title(f"{run.label}{sample.text}")
        for ax, spec, spikes_TN in zip(others, run.layers, sample.spikes_TN, strict=True):
            draw_spikes(ax, spikes_TN, run.colour)
            if column == 0 or run.layers != found[0][0].layers:
                ax.set_ylabel(f"{spec.kind}, {spec.neurons}")
            ax.set_title(f"{spikes_TN.mean():.3f} per step", loc="left", fontsize=7)
        outputs = run.layers[-1].neurons
        others[-1].set(xlabel="time step t", yticks=range(0, outputs, 1 if outputs <= 11 else 5))
        others[-1].tick_params(axis="y", labelsize=6)
    axes[0, 0].set_ylabel("input")
    figure.align_ylabels(axes[:, 0])
    return figure


def draw_spikes(ax: Axes, spikes_TN: np.ndarray, colour: str) -> None:
    """One mark a spike: time to the right, neuron upward; of a large layer one neuron in n, as the corner says."""
    stride = math.ceil(spikes_TN.shape[1] / ROWS)
    steps, rows = np.nonzero(spikes_TN[:, ::stride])
    box, points = ax.get_window_extent(), 72 / ax.figure.dpi
    size = min(max(box.height * points / math.ceil(spikes_TN.shape[1] / stride), 1.8), 9.0) ** 2
    width = min(0.6 * box.width * points / len(spikes_TN), 1.0)
    dense = len(rows) > 2000
    ax.scatter(steps + 0.5, rows * stride, size, marker="|", color=colour, linewidths=width, rasterized=dense)
    ax.set(xlim=(0, len(spikes_TN)), ylim=(-0.7 * stride, spikes_TN.shape[1] - 0.3 * stride))
    if stride > 1:
        ax.text(1, 1.02, f"1 in {stride}", transform=ax.transAxes, ha="right", va="bottom", fontsize=7, color=GREY)


def samples(runs: Runs, options: Options) -> Figure:
    """A sample of each data set among the runs: an image, an event recording in four frames, or a raster."""
    found = {run.title: (run.config.dataset, sample) for run, sample in runs.having(Sample.read)}
    figure = Figure(figsize=(WIDTH, 0.3 + 1.9 * len(found)))
    rows = figure.subfigures(len(found), 1, squeeze=False).flat
    for row, (dataset, sample) in zip(rows, found.values(), strict=True):
        row.suptitle(f"{dataset.title or dataset.name}{sample.text}", fontsize=9)
        if len(dataset.input_shape) == 3 and sample.input.ndim == 2:
            _draw_event_frames(row.subplots(1, FRAMES_OF_EVENTS), sample.input.reshape(-1, *dataset.input_shape))
            continue
        ax = row.subplots()
        sample.draw_input(ax, "black")
        if sample.input.ndim == 2:
            unit = "" if dataset.bin_ms is None else f" of {dataset.bin_ms:g} ms"
            ax.set(xlabel=f"time step{unit}", ylabel="input channel")
    return figure


def _draw_event_frames(axes: np.ndarray, counts_TCHW: np.ndarray) -> None:
    """Equal parts of the recording, from its first event to its last: events of each polarity, second minus first."""
    end = max(int(np.nonzero(counts_TCHW)[0].max(initial=0)) + 1, len(axes))  # a step in each, at least
    signed_THW = counts_TCHW[:end, -1].astype(float) - counts_TCHW[:end, 0] * (counts_TCHW.shape[1] > 1)
    pictures = [part_THW.sum(axis=0) for part_THW in np.array_split(signed_THW, len(axes))]
    bound = float(np.percentile(np.abs(pictures), 99.5)) or 1.0
    for ax, picture_HW, steps in zip(axes, pictures, np.array_split(np.arange(end), len(axes)), strict=True):
        ax.imshow(picture_HW, cmap="RdBu_r", vmin=-bound, vmax=bound)
        without_frame(ax, xlabel=f"steps {steps[0]} to {steps[-1]}")


def flow(runs: Runs, options: Options) -> Animation:
    """The spikes of a sample flowing through the layers; the output layer also as spike counts so far."""
    run, sample = runs.single(Sample.read)
    layers, output_TN = sample.spikes_TN, sample.spikes_TN[-1]
    chunks = np.array_split(np.arange(len(output_TN)), min(len(output_TN), options.frames))
    figure = Figure(figsize=(1.9 * (len(layers) + 2), 2.5))
    *axes, counts = figure.subplots(1, len(layers) + 2, width_ratios=[1.3] * (len(layers) + 1) + [1])
    shapes = [tuple(run.config.dataset.input_shape), *(spec.output_shape for spec in run.layers)]
    titles = ["input", *(f"{spec.kind}, {spec.neurons}" for spec in run.layers)]
    moving = []  # spikes_TN, the index of the neuron at each pixel, the picture, the neurons' brightness
    for ax, spikes_TN, shape, title in zip(axes, [sample.input, *layers], shapes, titles, strict=True):
        if spikes_TN.ndim == 3:
            sample.draw_input(ax, GREY)
        else:
            grid = layout(shape)
            image = ax.imshow(grid * 0.0, cmap="Blues", vmin=0, vmax=1)
            moving.append((spikes_TN, grid, image, np.zeros(spikes_TN.shape[1])))
        ax.set(xticks=[], yticks=[], title=title)
        ax.spines[:].set_visible(True)
    colours = [VERMILION if neuron == sample.label else BLUE for neuron in range(output_TN.shape[1])]
    bars = counts.barh(range(output_TN.shape[1]), 0, color=colours)
    counts.set(xlim=(0, max(1, output_TN.sum(axis=0).max())), title="output spikes", ylabel="class")
    counts.invert_yaxis()

    def update(frame: int) -> None:
        steps = chunks[frame]
        for spikes_TN, grid, image, light_N in moving:
            light_N *= TRAIL * (frame > 0)
            light_N[spikes_TN[steps].any(axis=0)] = 1.0
            image.set_data(np.where(grid < 0, np.nan, light_N[grid]))
        for bar, count in zip(bars, output_TN[: steps[-1] + 1].sum(axis=0), strict=True):
            bar.set_width(count)
        figure.suptitle(f"{run.label}{sample.text}, time step t = {steps[-1]:3d}", fontsize=9)

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
