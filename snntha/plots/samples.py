"""One recorded sample: what goes in, and the spikes that it causes in every layer."""

import math
from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from snntha.errors import Missing
from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import BLUE, GREY, VERMILION, WIDTH, Animation, without_frame

IN_A_ROW = 10  # samples
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
            _draw_picture(ax, self.input)
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
        first.set_title(f"{run.of_one}{sample.text}")
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
    """One sample of every class of each data set among the runs: an image, a camera's events summed, or a raster."""
    found = {run.title: (run.config.dataset, inputs) for run, inputs in runs.having(_of_every_class)}
    rows = [-(-len(inputs) // IN_A_ROW) for _, inputs in found.values()]
    figure = Figure(figsize=(WIDTH, sum(0.3 + 1.1 * number for number in rows)))
    parts = figure.subfigures(len(found), 1, squeeze=False, height_ratios=rows).flat
    for part, number, (dataset, inputs) in zip(parts, rows, found.values(), strict=True):
        which = "one sample of each class" if len(inputs) > 1 else "a sample"
        part.suptitle(f"{dataset.title or dataset.name}: {which}", fontsize=9)
        axes = part.subplots(number, min(len(inputs), IN_A_ROW), squeeze=False).flat
        for ax, (name, values) in zip(axes, [*inputs.items(), *[("", None)] * IN_A_ROW], strict=False):
            if values is None:
                ax.set_axis_off()
            elif values.ndim == 3:
                _draw_picture(ax, values)
            else:
                draw_spikes(ax, values, "black")
            ax.set(xticks=[], yticks=[], title=name)
    return figure


def _of_every_class(run: ShownRun) -> dict[str, np.ndarray]:
    """By the name of the class; of data without classes, and of older records, the one sample that is there."""
    try:
        inputs = run.activity("end", "class_inputs")
        return {str(label): values.numpy() for label, values in inputs.items()}
    except Missing:
        sample, shape = Sample.read(run), run.config.dataset.input_shape
        values = sample.input
        if values.ndim == 2 and len(shape) == 3:
            values = values.sum(axis=0, dtype=float).reshape(shape)
        return {"" if sample.label is None else str(sample.label): values}


def _draw_picture(ax: Axes, values_CHW: np.ndarray) -> None:
    """Grey values, or three colours; of a camera's two polarities the second minus the first."""
    if len(values_CHW) == 1:
        ax.imshow(values_CHW[0], cmap="gray_r", vmin=0)
    elif len(values_CHW) == 3:
        ax.imshow(values_CHW.transpose(1, 2, 0))
    else:
        signed_HW = values_CHW[-1] - values_CHW[0]
        bound = float(np.percentile(np.abs(signed_HW), 99.5)) or 1.0
        ax.imshow(signed_HW, cmap="RdBu_r", vmin=-bound, vmax=bound)
    without_frame(ax)


def flow(runs: Runs, options: Options) -> Animation:
    """The spikes of a sample flowing through the layers; the output layer also as spike counts so far."""
    run, sample = runs.single(Sample.read)
    layers, output_TN = sample.spikes_TN, sample.spikes_TN[-1]
    chunks = np.array_split(np.arange(len(output_TN)), min(len(output_TN), options.frames))
    figure = Figure(figsize=(1.9 * (len(layers) + 2), 2.9))
    *axes, counts = figure.subplots(1, len(layers) + 2, width_ratios=[1.3] * (len(layers) + 1) + [1])
    shapes = [tuple(run.config.dataset.input_shape), *(spec.output_shape for spec in run.layers)]
    titles = ["input", *(f"layer {n}: {spec.kind}, {spec.neurons}" for n, spec in enumerate(run.layers, start=1))]
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
    highest, ticks = max(1, output_TN.sum(axis=0).max()), range(0, len(bars), 1 if len(bars) <= 11 else 5)
    counts.set(xlim=(0, highest), yticks=ticks, xlabel="spikes so far", ylabel="class", title="output")
    counts.invert_yaxis()
    shades = {"fires now": 1.0, "fired shortly before": TRAIL, "silent": 0.0}
    keys = [Patch(fc=colormaps["Blues"](shade), ec=GREY, label=label) for label, shade in shades.items()]
    if sample.label is not None:
        keys.append(Patch(fc=VERMILION, ec=GREY, label=f"the sample's class, {sample.label}"))
    figure.legend(handles=keys, loc="outside lower center", ncols=len(keys))

    def update(frame: int) -> None:
        steps = chunks[frame]
        for spikes_TN, grid, image, light_N in moving:
            light_N *= TRAIL * (frame > 0)
            light_N[spikes_TN[steps].any(axis=0)] = 1.0
            image.set_data(np.where(grid < 0, np.nan, light_N[grid]))
        for bar, count in zip(bars, output_TN[: steps[-1] + 1].sum(axis=0), strict=True):
            bar.set_width(count)
        figure.suptitle(f"{run.of_one}{sample.text}, time step t = {steps[-1]:3d}", fontsize=9)

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
