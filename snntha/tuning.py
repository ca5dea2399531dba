"""hparams=auto: numbers for data that nobody has tuned, from one minibatch through the untrained network.

Thresholds are set layer by layer, from the input on, so that each layer fires at the rate that is wanted of it: from
the first minibatch no layer is silent and none saturated. docs/data.md compares the outcome with tuned sets.
"""

import math
from dataclasses import replace
from statistics import fmean
from typing import Any

import torch

from snntha import config as configuration
from snntha import topology
from snntha.config import Config
from snntha.data.batch import Data
from snntha.network import SpikingNetwork

RATE = 0.15  # spikes per neuron and step of a hidden layer at the start; the output layer's is what the loss asks for
ANNEALED = 1 / 3  # what the threshold at the end of annealing would leave of these spikes before any training
STEP = 0.05  # learning rate as a share of the smallest range of initial weights: signs flip, and do not flutter
TIME_CONSTANTS = 5  # of the annealing, in a whole training
_DOUBLINGS, _HALVINGS = 24, 16
_SAMPLES = 32  # that are looked at, at most


def tune(config: Config, data: Data) -> dict[str, Any]:
    """Learning rate, slope and thresholds that the configuration leaves open, as changes of it."""
    fixed = [1.0] if config.mode.name == "bsnn_theta1" else config.hparams.threshold.start
    trial = _Trial(config, data)
    start, end = trial.thresholds(fixed)
    layers, iterations = len(start), math.ceil(len(data.train) / config.hparams.batch_size) * config.epochs
    rise = [_rounded(max(last - first, 0.0)) for first, last in zip(start, end, strict=True)]
    found = {
        "optimizer.lr": _rounded(STEP * min(trial.weight_ranges)),
        "hparams.slope": _rounded(1 / fmean(trial.distances(start))),
        "hparams.threshold.start": start,
        "hparams.threshold.rise": rise,
        "hparams.threshold.rate": [_rounded(min(TIME_CONSTANTS / iterations, 0.5))] * layers,
    }
    return configuration.nested({key: found[key] for key in configuration.open_numbers(config)})


class _Trial:
    """An untrained network, and a minibatch that it sees under different thresholds."""

    def __init__(self, config: Config, data: Data):
        shapes = topology.parse(config.model.topology, tuple(config.dataset.input_shape))
        ones, zeros = [1.0] * len(shapes), [0.0] * len(shapes)
        threshold = replace(config.hparams.threshold, start=ones, rise=zeros, rate=zeros)
        dropout = [0.0] * sum(shape.kind == "dense" for shape in shapes)
        hparams = replace(config.hparams, slope=1.0, threshold=threshold, dropout=dropout)
        self.network = SpikingNetwork(replace(config, hparams=hparams), seed=config.seed).train().requires_grad_(False)
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(config.seed))
        self.batch = data.train.batch(order[: min(config.hparams.batch_size, _SAMPLES)]).inputs
        classes = config.dataset.classes
        wanted = (config.loss.correct_rate + (classes - 1) * config.loss.incorrect_rate) / classes
        self.rates = [RATE] * (len(shapes) - 1) + [wanted]

    @property
    def weight_ranges(self) -> list[float]:
        """Of each layer, up to where its initial weights go: sqrt(1 / fan_in), Eq. (26)."""
        return [math.sqrt(spec.output_shape[0] / spec.weights) for spec in self.network.specs]

    def thresholds(self, fixed: list[float]) -> tuple[list[float], list[float]]:
        """Of each layer, the threshold at the start and at the end; `fixed` ones, if any, at the start."""
        layers = len(self.rates)
        start, end = [1.0] * layers, [1.0] * layers
        for layer, rate in enumerate(self.rates):
            start[layer] = (fixed * layers)[layer] if fixed else self._at_rate(start, layer, rate)
            end[layer] = self._at_rate(start, layer, ANNEALED * self._rate(start, layer, start[layer]))
        return start, end

    def _at_rate(self, thresholds: list[float], layer: int, rate: float) -> float:
        """The threshold of one layer at which its neurons fire at the rate, or at half the rate that they can reach."""
        low = high = 2.0 ** -(_DOUBLINGS // 2)
        rate = min(rate, self._rate(thresholds, layer, low) / 2)
        for _ in range(_DOUBLINGS):
            if self._rate(thresholds, layer, high) <= rate:
                break
            low, high = high, 2 * high
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self._rate(thresholds, layer, middle) > rate else (low, middle)
        return _rounded(high)

    def _rate(self, thresholds: list[float], layer: int, theta: float) -> float:
        """Spikes per neuron and step of a layer under a threshold."""
        changed = [*thresholds[:layer], theta, *thresholds[layer + 1 :]]
        count_N = self.network(self.batch, changed, depth=layer + 1).layers[layer].spike_count_N
        return count_N.double().mean().item() / (self.batch.batch * self.batch.time_steps)

    def distances(self, thresholds: list[float]) -> list[float]:
        """Of each layer, how far its membranes are from the threshold, on average over neurons, samples and steps."""
        records = self.network(self.batch, thresholds, record=True).layers
        membranes = [record.membrane_TBX for record in records]
        pairs = zip(membranes, thresholds, strict=True)
        return [float((membrane - theta).abs().mean()) for membrane, theta in pairs if membrane is not None]


def _rounded(value: float) -> float:
    """To three digits: more say nothing."""
    return float(f"{value:.3g}")
