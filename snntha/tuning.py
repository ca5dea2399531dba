"""hparams=auto: numbers for data that nobody has tuned, from one minibatch through the untrained network.

Thresholds are set layer by layer, from the input on, so that each layer fires at the rate that is wanted of it: from
the first minibatch no layer is silent and none saturated. docs/data.md compares the outcome with tuned sets.
"""

import math
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np
import torch

from snntha import config as configuration
from snntha import topology
from snntha.config import Config
from snntha.data.batch import Data
from snntha.network import SpikingNetwork
from snntha.neuron import fires, integrate

RATE = 0.15  # spikes per neuron and step of a hidden layer at the start; the output layer's is what the loss asks for
ANNEALED = 1 / 3  # what the threshold at the end of annealing would leave of these spikes before any training
STEP = 0.05  # learning rate as a share of the smallest range of initial weights: signs flip, and do not flutter
TIME_CONSTANTS = 5  # of the annealing, in a whole training
_NEVER = 1e30  # a threshold that no membrane reaches
_DOUBLINGS, _HALVINGS = 24, 12
_SAMPLES, _NEURONS = 32, 256  # that are looked at, at most


def tune(config: Config, data: Data) -> dict[str, Any]:
    """Learning rate, slope and thresholds that the configuration leaves open, as changes of it."""
    given = [1.0] if config.mode.name == "bsnn_theta1" else config.hparams.threshold.start
    trial, layers = _Trial(config, data), []
    for number, rate in enumerate(trial.rates):
        layers.append(trial.layer(number, rate, (given * len(trial.rates))[number] if given else None))
    iterations = math.ceil(len(data.train) / config.hparams.batch_size) * config.epochs
    found = {
        "optimizer.lr": _rounded(STEP * min(trial.weight_ranges)),
        "hparams.slope": _rounded(1 / fmean(layer.distance for layer in layers)),
        "hparams.threshold.start": [layer.start for layer in layers],
        "hparams.threshold.rise": [_rounded(max(layer.end - layer.start, 0.0)) for layer in layers],
        "hparams.threshold.rate": [_rounded(min(TIME_CONSTANTS / iterations, 0.5))] * len(layers),
    }
    return configuration.nested({key: found[key] for key in configuration.open_numbers(config)})


@dataclass(frozen=True)
class _Layer:
    """What one layer's currents say."""

    start: float  # threshold
    end: float
    distance: float  # of a membrane from the threshold, on average over neurons, samples and steps


class _Trial:
    """An untrained network and a minibatch, seen layer by layer."""

    def __init__(self, config: Config, data: Data):
        shapes = topology.parse(config.model.topology, tuple(config.dataset.input_shape))
        zeros = [0.0] * len(shapes)
        threshold = replace(config.hparams.threshold, start=zeros, rise=zeros, rate=zeros)
        dense = sum(shape.kind == "dense" for shape in shapes)
        nothing = {"dropout": [0.0] * dense, "delays": config.hparams.delays or [0] * dense}
        hparams = replace(config.hparams, slope=1.0, threshold=threshold, **nothing)
        self.network = SpikingNetwork(replace(config, hparams=hparams), seed=config.seed).train().requires_grad_(False)
        order = torch.randperm(len(data.train), generator=torch.Generator().manual_seed(config.seed))
        self.inputs = data.train.batch(order[: min(config.hparams.batch_size, _SAMPLES)]).inputs
        self.thresholds = [_NEVER] * len(shapes)  # set one after the other
        classes, loss = config.dataset.classes, config.loss
        wanted = (loss.correct_rate + (classes - 1) * loss.incorrect_rate) / classes
        self.rates = [RATE] * (len(shapes) - 1) + [wanted]

    @property
    def weight_ranges(self) -> list[float]:
        """Of each layer, up to where its initial weights go: sqrt(1 / fan_in), Eq. (26)."""
        return [math.sqrt(spec.output_shape[0] / spec.weights) for spec in self.network.specs]

    def layer(self, number: int, rate: float, given: float | None) -> _Layer:
        """Find a layer's thresholds, those of the layers before it being set, and set its own."""
        record = self.network(self.inputs, self.thresholds, record=True, depth=number + 1).layers[number]
        assert record.membrane_TBX is not None
        membrane_TBN = record.membrane_TBX.flatten(2)  # of neurons that never fire
        spec, beta_C = self.network.specs[number], self.network.betas()[number]
        order = torch.randperm(membrane_TBN.shape[2], generator=torch.Generator().manual_seed(number))
        membrane_TBN = membrane_TBN[..., order[:_NEURONS]].cpu().numpy()
        beta = spec.beta
        if beta_C is not None:
            beta = beta_C.repeat_interleave(spec.neurons // len(beta_C))[order[:_NEURONS]].cpu().numpy()
        currents_TBN = membrane_TBN.copy()
        currents_TBN[1:] -= beta * membrane_TBN[:-1]
        start = _threshold(currents_TBN, beta, rate) if given is None else given
        fired, distance = _fire(currents_TBN, beta, start)
        self.thresholds[number] = start
        return _Layer(start, _threshold(currents_TBN, beta, ANNEALED * fired), distance)


def _threshold(currents_TBN: np.ndarray, beta: float | np.ndarray, rate: float) -> float:
    """The threshold under which neurons fire at the rate, or at half the rate that these currents can cause."""
    low = high = 2.0 ** -(_DOUBLINGS // 2)
    rate = min(rate, _fire(currents_TBN, beta, low)[0] / 2)
    for _ in range(_DOUBLINGS):
        low, high = high, 2 * high
        if _fire(currents_TBN, beta, high)[0] <= rate:
            break
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _fire(currents_TBN, beta, middle)[0] > rate else (low, middle)
    return _rounded(high)


def _fire(currents_TBN: np.ndarray, beta: float | np.ndarray, theta: float) -> tuple[float, float]:
    """Spikes per neuron and step, and the mean distance of a membrane from the threshold."""
    membrane = np.zeros_like(currents_TBN[0])
    spikes, fired, distance = np.zeros_like(membrane), 0.0, 0.0
    for current in currents_TBN:
        membrane = integrate(membrane, current, spikes, beta, theta)
        spikes = fires(membrane, theta).astype(membrane.dtype)
        fired += float(spikes.mean())
        distance += float(np.abs(membrane - theta).mean())
    return fired / len(currents_TBN), distance / len(currents_TBN)


def _rounded(value: float) -> float:
    """To three digits: more say nothing."""
    return float(f"{value:.3g}")
