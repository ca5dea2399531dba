"""The rows that describe a network: one `LayerSpec` for each spiking layer, resolved once from the configuration.

Network, kernels, benchmark, report and export read these rows; nothing else pairs a layer with its numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snntha import topology
from snntha.neuron import Neuron
from snntha.threshold import Annealing
from snntha.topology import LayerShape

if TYPE_CHECKING:
    from snntha.config.schema import Config

FLOAT_BITS = 32


@dataclass(frozen=True, kw_only=True)
class LayerSpec(LayerShape):
    """One spiking layer: its shape, how its currents are made, its neurons and their threshold."""

    binary: bool  # weights are sign(w), +1 or -1
    batch_norm: bool  # of the current, convolutions only
    dropout: float  # of the current, dense layers only
    recurrent_dropout: bool = False  # also of what a recurrent layer adds to it
    recurrent_gradient: float = 1.0  # share that passes back through the spikes of the layer itself
    delay: int = 0  # the longest of its inputs, in steps, dense layers only; 0: they arrive at once
    beta: float  # where layers or neurons have betas of their own, that at the start
    betas: int = 0  # how many it has of its own: 0, 1 or one for each channel
    slope: float
    strict: bool  # fires above the threshold, not at it
    clamped: bool  # the surrogate gradient stays at the start threshold
    threshold: Annealing

    @property
    def footprint_bits(self) -> int:
        """Bits when deployed: 1 a weight (32 as float), 32 each bias, scale, shift, theta, own beta; delays."""
        biases = self.neurons if self.kind == "dense" else 0
        floats = 1 + self.betas + biases + 2 * self.output_shape[0] * self.batch_norm
        return self.weights * (1 if self.binary else FLOAT_BITS) + floats * FLOAT_BITS + self.delay_bits

    @property
    def delay_bits(self) -> int:
        """Of all delays: each takes what the longest possible one needs."""
        return self.inputs * self.delay.bit_length()

    def neuron(self, threshold: float, beta: Any = None) -> Neuron:
        """The layer's neurons while the threshold has this value, and beta, if it is given, these values_C."""
        centre = self.threshold.start if self.clamped else threshold
        return Neuron(self.beta if beta is None else beta, threshold, self.slope, centre, self.strict)


def resolve(config: Config) -> tuple[LayerSpec, ...]:
    """The rows of a checked configuration, from input to output."""
    shapes = topology.parse(config.model.topology, tuple(config.dataset.input_shape))
    hparams = config.hparams
    dropouts, delays = iter(hparams.dropout), iter(hparams.delays)
    annealings = map(Annealing, hparams.threshold.start, hparams.threshold.rise, hparams.threshold.rate)
    return tuple(
        LayerSpec(
            **vars(shape),
            binary=config.mode.binarize,
            batch_norm=hparams.batch_norm and shape.kind == "conv",
            dropout=next(dropouts) if shape.kind == "dense" else 0.0,
            recurrent_dropout=hparams.recurrent_dropout,
            recurrent_gradient=hparams.recurrent_gradient,
            delay=next(delays) if shape.kind == "dense" else 0,
            beta=hparams.beta,
            betas={"network": 0, "layer": 1, "neuron": shape.output_shape[0]}[hparams.beta_scope],
            slope=hparams.slope,
            strict=config.fidelity.spike == "above_threshold",
            clamped=config.fidelity.surrogate == "clamped",
            threshold=annealing,
        )
        for shape, annealing in zip(shapes, annealings, strict=True)
    )
