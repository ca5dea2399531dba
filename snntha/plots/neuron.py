"""Pictures that need no data: one neuron (Fig. 1) and its surrogate gradient under annealing (Fig. 3).

Without a run they use the numbers below, chosen to look like the paper's drawings, with a run its first layer's.
"""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snntha.neuron import fires, integrate, surrogate_gradient
from snntha.plots.folders import Options, Runs
from snntha.plots.style import BLUE, GREY, ORANGE, VERMILION, WIDTH, panel_letters

BETA, SLOPE = 0.8, 0.5
START, FINAL = 1.0, 4.0  # thresholds of Fig. 1: normalised, and of a high dynamic range
SURROGATE_START, SURROGATE_FINAL = 4.0, 12.0
COLOURS = BLUE, ORANGE, VERMILION  # thresholds from low to high
STEPS, INPUTS, INPUT_RATE, INPUT_SEED = 60, 12, 0.13, 3  # random spikes on +-1 synapses, for the three regimes


def respond(current_T: np.ndarray, beta: float, theta_T: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eqs. (1) and (2) for one neuron whose threshold may change with time: u_T before the reset, and z_T."""
    u_T, z_T = np.zeros(len(current_T)), np.zeros(len(current_T), dtype=bool)
    for t, current in enumerate(current_T):  # before the first step stands the last one, which is still 0
        u_T[t] = integrate(u_T[t - 1], current, z_T[t - 1], beta, theta_T[t - 1])
        z_T[t] = fires(u_T[t], theta_T[t])
    return u_T, z_T


def neuron(runs: Runs, options: Options) -> Figure:
    """Response to the post-synaptic currents 0, -1 and +1 at rest, and three regimes of the threshold (Fig. 1)."""
    beta, _, start, final = _numbers(runs, options, START, FINAL)
    figure = Figure(figsize=(WIDTH, 3.9))
    top, bottom = figure.subplots(2, 3)
    outcomes = {0.0: "no response", -1.0: "memory, no spike", 1.0: "spike, then reset"}
    for ax, (current, outcome) in zip(top, outcomes.items(), strict=True):
        _draw(ax, np.where(np.arange(16) == 4, current, 0.0), beta, np.ones(16))
        ax.set(title=f"x = {current:g}: {outcome}".replace("-", "\N{MINUS SIGN}"), ylim=(-1.4, 1.6))

    generator = np.random.default_rng(INPUT_SEED)
    weights = np.where(np.arange(INPUTS) < 0.6 * INPUTS, 1.0, -1.0)  # somewhat more excitatory ones
    current_T = (generator.random((STEPS, INPUTS)) < INPUT_RATE) @ weights
    regimes = {
        f"θ = {start:g}: spikes, little memory": np.full(STEPS, start),
        f"θ = {final:g}: wide range, few spikes": np.full(STEPS, final),
        f"θ from {start:g} to {final:g}: both": start + (final - start) * (1 - np.exp(-np.arange(STEPS) / (STEPS / 3))),
    }
    for ax, (title, theta_T) in zip(bottom, regimes.items(), strict=True):
        _draw(ax, current_T, beta, theta_T)
        ax.set(title=title, xlabel="time step t")
        ax.sharey(bottom[0])
    for ax in (top[0], bottom[0]):
        ax.set_ylabel("membrane u")
    panel_letters([*top, *bottom])
    return figure


def _draw(ax: Axes, current_T: np.ndarray, beta: float, theta_T: np.ndarray) -> None:
    u_T, z_T = respond(current_T, beta, theta_T)
    spikes = np.flatnonzero(z_T)
    ax.plot(u_T, color=BLUE, lw=1.2)
    ax.plot(theta_T, color="black", ls="--", lw=0.9)
    ax.axhline(0, color=GREY, lw=0.5)
    ax.plot(spikes, u_T[spikes], "|", color=VERMILION, ms=9, mew=1.8)


def surrogate(runs: Runs, options: Options) -> Figure:
    """Spike, surrogate and surrogate gradient while the threshold rises: clamped at theta_0, or moving (Fig. 3)."""
    _, slope, start, final = _numbers(runs, options, SURROGATE_START, SURROGATE_FINAL)
    thetas = [start, (start + final) / 2, final]
    u = np.linspace(-0.25 * final, 1.5 * final, 1401)
    point = 0.5 * start  # A: subthreshold from the first iteration on
    figure = Figure(figsize=(WIDTH * 0.85, 4.6))
    axes = figure.subplots(3, 2, sharex=True, sharey="row")
    for column, (name, centres) in enumerate({"clamped at θ₀": [start] * 3, "moving with θ": thetas}.items()):
        spike, smooth, gradient = axes[:, column]
        for number, (theta, centre, colour) in enumerate(zip(thetas, centres, COLOURS, strict=True)):
            dashes = "-" if column else (4 * number, (4, 8))  # three colours by turns on one curve
            spike.plot(u, fires(u, theta), color=colour, label=f"θ = {theta:g}")
            smooth.plot(u, fast_sigmoid(u, slope, centre), color=colour, ls=dashes)
            gradient.plot(u, surrogate_gradient(u, centre, slope), color=colour, ls=dashes)
            gradient.plot(point, surrogate_gradient(point, centre, slope), "o", color=colour, ms=4)
        for ax in axes[:, column]:
            ax.axvline(point, color=GREY, lw=0.8, ls=":")
        weakest = f"at A: s = {surrogate_gradient(point, centres[-1], slope):.2g} when θ = {final:g}"
        gradient.text(0.98, 0.98, weakest, transform=gradient.transAxes, ha="right", va="top")
        gradient.set(ylim=(-0.05, 1.45), xlabel="membrane u")
        spike.text(point, 1.1, "A ", ha="right")
        spike.set(ylim=(-0.05, 1.3), title=name)
    for ax, label in zip(axes[:, 0], ("spike z", "surrogate z̃", f"gradient s, k = {slope:g}"), strict=True):
        ax.set_ylabel(label)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    panel_letters(axes[0])
    return figure


def fast_sigmoid(u: np.ndarray, slope: float, centre: float) -> np.ndarray:
    """What Eq. (8) is the derivative of, up to its scale, from 0 to 1: (1 + k x / (1 + k |x|)) / 2, x = u - centre."""
    x = slope * (u - centre)
    return (1 + x / (1 + np.abs(x))) / 2


def _numbers(runs: Runs, options: Options, start: float, final: float) -> list[float]:
    """beta, slope, first and last threshold: of the command line, else of the run, else the figure's own."""
    numbers = (BETA, SLOPE, start, final)
    if runs.shown:
        layer = runs.shown[0].layers[0]
        numbers = (layer.beta, layer.slope, layer.threshold.start, layer.threshold.end)
    typed = (options.beta, options.slope, options.start, options.final)
    return [own if given is None else given for own, given in zip(numbers, typed, strict=True)]
