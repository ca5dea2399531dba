"""The temporal-coding task (Sec. 4.1): membrane and spikes of its output neuron at chosen iterations (Fig. 4)."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snntha.data.temporal_coding import target_membrane
from snntha.neuron import fires
from snntha.plots.folders import Missing, Options, Runs, ShownRun
from snntha.plots.style import GREY, WIDTH, Animation

ITERATIONS = {  # of Fig. 4
    "flt32": (1, 100, 500),
    "bsnn_theta1": (0, 75, 750),
    "bsnn": (0, 75, 750),
    "annealed": (0, 100, 400),
}
SMOOTHING = 5  # width of the running mean, time steps


def target(run: ShownRun) -> np.ndarray:
    """y_t, shape (T,)."""
    dataset = run.config.dataset
    if dataset.target_peak is None or dataset.target_step is None:
        raise Missing(f"{run.folder} is a run of dataset={dataset.name}: this figure needs dataset=temporal_coding")
    return target_membrane(dataset.target_peak, dataset.target_step, dataset.time_steps).flatten().numpy()


def membranes(run: ShownRun) -> dict[int, tuple[np.ndarray, float]]:
    """Iteration -> membrane u_t of the output neuron, shape (T,), and its threshold.

    What an iteration's forward pass computes: after that many updates of weights and threshold, from the first on.
    """
    target(run)
    recorded = zip(run.column("iteration"), run.column("output_membrane"), run.column("thresholds"), strict=True)
    return {iteration: (np.array(membrane), thetas[-1]) for iteration, membrane, thetas in recorded}


def _with_untrained(runs: Runs, run: ShownRun, recorded: dict[int, tuple[np.ndarray, float]]) -> dict:
    """The same with iteration 0, before any update, where the run has recorded it; older ones have not."""
    try:
        membrane, thetas = (run.activity("initial", key) for key in ("output_membrane", "thresholds"))
    except Missing as error:
        runs.note(f"iteration 0 is not drawn: {error}")
        return recorded
    return {0: (np.array(membrane), thetas[-1]), **recorded}


def spike_steps(run: ShownRun, membrane: np.ndarray, threshold: float) -> np.ndarray:
    """Time steps at which the output neuron fires, Eq. (2)."""
    return np.flatnonzero(fires(membrane, threshold, run.config.fidelity.spike == "above_threshold"))


def temporal(runs: Runs, options: Options) -> Figure:
    """One row a run: its target and three iterations, membrane above and spike raster below (Fig. 4)."""
    found = runs.having(membranes)
    columns = 1 + max(len(options.iterations or ITERATIONS[run.config.mode.name]) for run, _ in found)
    figure = Figure(figsize=(WIDTH, 0.5 + 1.75 * len(found)))
    axes = figure.subplots(
        2 * len(found), columns, sharex=True, squeeze=False, gridspec_kw={"height_ratios": [5, 1] * len(found)}
    )
    for row, (run, recorded) in enumerate(found):
        wanted = options.iterations or ITERATIONS[run.config.mode.name]
        if 0 in wanted:
            recorded = _with_untrained(runs, run, recorded)
        above, below = axes[2 * row], axes[2 * row + 1]
        y = target(run)
        _draw_trace(above[0], below[0], y, run.final_thresholds[-1], np.array([y.argmax()]), GREY)
        above[0].set_title(f"({'abcdefghij'[row]}) {run.label}: target", loc="left")
        for column, iteration in enumerate(wanted, start=1):
            if iteration < min(recorded):
                above[column].set_visible(False)
                below[column].set_visible(False)
                continue
            nearest = max(number for number in recorded if number <= iteration)
            if nearest != iteration:
                runs.note(f"{run.folder} ends at iteration {nearest}: drawn in place of {iteration}")
            membrane, threshold = recorded[nearest]
            _draw_trace(
                above[column], below[column], membrane, threshold, spike_steps(run, membrane, threshold), run.colour
            )
            above[column].plot(y, color=GREY, lw=0.8)
            above[column].set_title(f"γ = {nearest}, θ = {threshold:.3g}")
        for unused in [*above[len(wanted) + 1 :], *below[len(wanted) + 1 :]]:
            unused.set_visible(False)
        above[0].set_ylabel("membrane u")
        below[0].set_ylabel("spikes", rotation=0, ha="right", va="center")
    for ax in axes[-1]:
        ax.set_xlabel("time step t")
    axes[0, 0].set_xticks([0, int(target(found[0][0]).argmax())])
    figure.align_ylabels(axes[:, 0])
    return figure


def _draw_trace(
    above: Axes, below: Axes, membrane: np.ndarray, threshold: float, spikes: np.ndarray, colour: str
) -> None:
    above.plot(membrane, color=colour, lw=1.2)
    above.axhline(threshold, color="black", ls="--", lw=0.9)
    below.vlines(spikes, 0, 1, color=colour, lw=1)
    below.set(ylim=(-0.1, 1.1), yticks=[], xlim=(0, len(membrane) - 1))
    below.spines["left"].set_visible(False)


def animation(runs: Runs, options: Options, *, smooth: bool = False) -> Animation:
    """Membrane against target over the iterations, with the threshold as line and text.

    Args:
        smooth: the membrane smoothed over time by a running mean of width 5.
    """
    run, recorded = runs.single(membranes)
    recorded = _with_untrained(runs, run, recorded)
    y = target(run)
    numbers = sorted(recorded)
    chosen = [numbers[index] for index in _spread(len(numbers), options.frames)]
    figure = Figure(figsize=(5.6, 3.4))
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[6, 1])
    above.plot(y, color=GREY, label="target")
    (trace,) = above.plot(y, color=run.colour, lw=1.2, label="membrane u" + ", running mean of 5" * smooth)
    line = above.axhline(0, color="black", ls="--", lw=0.9, label="threshold θ")
    peak = max(y.max(), *(threshold for _, threshold in recorded.values()))
    lowest = min(0.0, *(np.percentile(membrane, 2) for membrane, _ in recorded.values()))
    above.set(ylim=(max(lowest, -0.5 * peak), 1.35 * peak), ylabel="membrane u")
    above.legend(loc="upper left", ncols=3)
    below.set(ylim=(0, 1), yticks=[], xlim=(0, len(y) - 1), xlabel="time step t")
    below.set_ylabel("spikes", rotation=0, ha="right", va="center")

    def update(frame: int) -> None:
        membrane, threshold = recorded[chosen[frame]]
        trace.set_ydata(running_mean(membrane) if smooth else membrane)
        line.set_ydata([threshold, threshold])
        above.set_title(f"{run.label}: iteration γ = {chosen[frame]}, threshold θ = {threshold:.2f}")
        for old in list(below.collections):
            old.remove()
        below.vlines(spike_steps(run, membrane, threshold), 0, 1, color=run.colour, lw=1)

    update(0)
    return Animation(figure, len(chosen), update)


def running_mean(values: np.ndarray, width: int = SMOOTHING) -> np.ndarray:
    """Centred mean over `width` steps; at the ends over those that exist. Shape as given."""
    ones = np.ones(width)
    return np.convolve(values, ones, "same") / np.convolve(np.ones_like(values), ones, "same")


def _spread(count: int, at_most: int) -> list[int]:
    """Up to `at_most` of `count` indices, evenly, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, at_most)).round().astype(int)).tolist()
