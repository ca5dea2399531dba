"""The temporal-coding task (Sec. 4.1): membrane and spikes of its output neuron at chosen iterations (Fig. 4)."""

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snntha.data.temporal_coding import target_membrane
from snntha.errors import Missing
from snntha.neuron import fires
from snntha.plots.folders import Options, Runs, ShownRun
from snntha.plots.style import GREY, WIDTH, Animation

SHOWN_IN_FIG_4 = {"flt32": (1, 100, 500), "bsnn_theta1": (0, 75, 750), "bsnn": (0, 75, 750), "annealed": (0, 100, 400)}
SMOOTHING = 5  # width of the running mean, time steps


@dataclass
class Recording:
    """What a run recorded of its output neuron."""

    run: ShownRun
    target_T: np.ndarray  # y_t
    iterations: dict[int, tuple[np.ndarray, float]]  # its membrane u_t after so many updates, and its threshold

    @classmethod
    def read(cls, run: ShownRun) -> "Recording":
        """All iterations but that before the first update."""
        dataset = run.config.dataset
        if dataset.target_peak is None or dataset.target_step is None:
            raise Missing(f"{run.folder} is a run of dataset={dataset.name}: this figure needs dataset=temporal_coding")
        target_T = target_membrane(dataset.target_peak, dataset.target_step, dataset.time_steps).flatten().numpy()
        lines = zip(run.column("iteration"), run.column("output_membrane"), run.column("thresholds"), strict=True)
        return cls(run, target_T, {iteration: (np.array(u), thetas[-1]) for iteration, u, thetas in lines})

    def add_untrained(self, runs: Runs) -> None:
        """Iteration 0, before any update, which older runs have not recorded."""
        try:
            u, thetas = (self.run.activity("initial", key) for key in ("output_membrane", "thresholds"))
            self.iterations = {0: (np.array(u), thetas[-1]), **self.iterations}
        except Missing as error:
            runs.notes.append(f"iteration 0 is not drawn: {error}")

    def spikes(self, iteration: int) -> np.ndarray:
        """Time steps at which the output neuron fires, Eq. (2)."""
        membrane, threshold = self.iterations[iteration]
        return np.flatnonzero(fires(membrane, threshold, self.run.layers[-1].strict))


def temporal(runs: Runs, options: Options) -> Figure:
    """One row a run: its target and three iterations, membrane above and spike raster below (Fig. 4)."""
    found = runs.having(Recording.read)
    wanted = [options.iterations or SHOWN_IN_FIG_4[run.config.mode.name] for run, _ in found]
    columns = 1 + max(map(len, wanted))
    figure = Figure(figsize=(WIDTH, 0.5 + 1.75 * len(found)))
    axes = figure.subplots(2 * len(found), columns, sharex=True, squeeze=False, height_ratios=[5, 1] * len(found))
    for row, (run, recording) in enumerate(found):
        (above, below), *others = axes[2 * row : 2 * row + 2].T
        y = recording.target_T
        _draw_trace(above, below, y, run.layers[-1].threshold.end, np.array([y.argmax()]), GREY)
        above.set_title(f"({'abcdefghij'[row]}) {run.of_one}: target", loc="left")
        above.set_ylabel("membrane u")
        below.set_ylabel("spikes", rotation=0, ha="right", va="center")
        if 0 in wanted[row]:
            recording.add_untrained(runs)
        for (above, below), iteration in zip(others, [*wanted[row], *[-1] * columns], strict=False):  # -1: none
            nearest = max((number for number in recording.iterations if number <= iteration), default=None)
            if nearest is None:
                above.set_visible(False)
                below.set_visible(False)
                continue
            if nearest != iteration:
                runs.notes.append(f"{run.folder} ends at iteration {nearest}: drawn in place of {iteration}")
            membrane, threshold = recording.iterations[nearest]
            _draw_trace(above, below, membrane, threshold, recording.spikes(nearest), run.colour)
            above.plot(y, color=GREY, lw=0.8)
            above.set_title(f"γ = {nearest}, θ = {threshold:.3g}")
    for ax in axes[-1]:
        ax.set_xlabel("time step t")
    axes[0, 0].set_xticks([0, int(found[0][1].target_T.argmax())])
    figure.align_ylabels(axes[:, 0])
    return figure


def _draw_trace(above: Axes, below: Axes, u_T: np.ndarray, theta: float, spikes: np.ndarray, colour: str) -> None:
    above.plot(u_T, color=colour, lw=1.2)
    above.axhline(theta, color="black", ls="--", lw=0.9)
    below.vlines(spikes, 0, 1, color=colour, lw=1)
    below.set(ylim=(-0.1, 1.1), yticks=[], xlim=(0, len(u_T) - 1))
    below.spines["left"].set_visible(False)


def animation(runs: Runs, options: Options, *, smooth: bool = False) -> Animation:
    """Membrane, if `smooth` its running mean over time, against target; the threshold as line and text."""
    run, recording = runs.single(Recording.read)
    recording.add_untrained(runs)
    y, recorded = recording.target_T, recording.iterations
    places = np.linspace(0, len(recorded) - 1, min(len(recorded), options.frames))
    chosen = [sorted(recorded)[round(place)] for place in places]
    figure = Figure(figsize=(5.6, 3.4))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[6, 1])
    above.plot(y, color=GREY, label="target")
    (trace,) = above.plot(y, color=run.colour, lw=1.2, label="membrane u" + f", running mean of {SMOOTHING}" * smooth)
    line = above.axhline(0, color="black", ls="--", lw=0.9, label="threshold θ")
    peak = max(y.max(), *(threshold for _, threshold in recorded.values()))
    lowest = min(0.0, *(np.percentile(membrane, 2) for membrane, _ in recorded.values()))
    above.set(ylim=(max(lowest, -0.5 * peak), 1.35 * peak), ylabel="membrane u")
    above.legend(loc="upper left", ncols=3)
    marks = below.vlines([], 0, 1, color=run.colour, lw=1)
    below.set(ylim=(0, 1), yticks=[], xlim=(0, len(y) - 1), xlabel="time step t")
    below.set_ylabel("spikes", rotation=0, ha="right", va="center")

    def update(frame: int) -> None:
        membrane, threshold = recorded[chosen[frame]]
        trace.set_ydata(running_mean(membrane) if smooth else membrane)
        line.set_ydata([threshold, threshold])
        above.set_title(f"{run.of_one}: iteration γ = {chosen[frame]}, threshold θ = {threshold:.2f}")
        marks.set_segments([np.array([(step, 0), (step, 1)]) for step in recording.spikes(chosen[frame])])

    return Animation(figure, len(chosen), update)


def running_mean(values: np.ndarray, width: int = SMOOTHING) -> np.ndarray:
    """Centred mean over `width` steps; at the ends over those that exist. Shape as given."""
    ones = np.ones(width)
    return np.convolve(values, ones, "same") / np.convolve(np.ones_like(values), ones, "same")
