"""A topology becomes a spiking network: one class for both precisions, layer after layer, time first."""

import hashlib
import math
from typing import cast

import torch
from torch import Tensor, nn

from snntha import kernels, topology
from snntha.binarize import binarize
from snntha.config.schema import Config
from snntha.kernels.spec import BatchNorm, Dropout, Events, Layer, Neuron, Result, Static
from snntha.topology import LayerShape

FLOAT_BITS = 32


class Synapse(nn.Module):
    """Latent weights of one layer, its bias (dense) or BatchNorm (convolution); dense weight (out, in), conv OIkk."""

    def __init__(self, shape: LayerShape, *, batch_norm: bool):
        super().__init__()
        self.shape = shape
        self.bias: nn.Parameter | None = None
        self.norm: nn.BatchNorm2d | None = None
        if shape.kind == "dense":
            self.weight = nn.Parameter(torch.empty(shape.neurons, shape.inputs))
            self.bias = nn.Parameter(torch.empty(shape.neurons))
        else:
            channels = shape.output_shape[0]
            self.weight = nn.Parameter(torch.empty(channels, shape.input_shape[0], shape.kernel, shape.kernel))
            if batch_norm:
                self.norm = nn.BatchNorm2d(channels)

    @torch.no_grad()
    def initialise(self, generator: torch.Generator, *, glorot: bool, zero_bias: bool) -> None:
        """U(+-sqrt(1 / fan_in)) for weight and bias (Eqs. 26, 27), or U(+-sqrt(1.5 / (fan_in + fan_out))), bias 0."""
        fan_in = self.weight[0].numel()
        fan_out = self.weight.numel() // self.weight.shape[1]
        bound = math.sqrt(1.5 / (fan_in + fan_out)) if glorot else math.sqrt(1 / fan_in)
        self.weight.uniform_(-bound, bound, generator=generator)
        if self.bias is not None:
            if glorot or zero_bias:
                self.bias.zero_()
            else:
                self.bias.uniform_(-bound, bound, generator=generator)

    def batch_norm(self) -> BatchNorm | None:
        """The normalisation as a kernel takes it; its running statistics are updated in place while training."""
        norm = self.norm
        if norm is None:
            return None
        assert norm.running_mean is not None and norm.running_var is not None and norm.momentum is not None
        return BatchNorm(
            scale_C=norm.weight,
            shift_C=norm.bias,
            running_mean_C=norm.running_mean,
            running_var_C=norm.running_var,
            training=self.training,
            momentum=norm.momentum,
            eps=norm.eps,
        )


class SpikingNetwork(nn.Module):
    """All spiking layers. Thresholds are not its state: they are passed to every forward.

    Args:
        config: topology, precision, neuron constants and fidelity switches.
        seed: of the initial weights and of the dropout masks.
    """

    def __init__(self, config: Config, seed: int):
        super().__init__()
        self.config = config
        self.seed = seed
        self.shapes = topology.parse(config.model.topology, tuple(config.dataset.input_shape))
        synapses = nn.ModuleList(Synapse(shape, batch_norm=config.hparams.batch_norm) for shape in self.shapes)
        self.synapses = cast(list[Synapse], synapses)  # torch types the entries as any module
        generator = torch.Generator().manual_seed(seed)
        glorot = config.fidelity.init == "glorot" and config.mode.binarize
        for synapse in self.synapses:
            synapse.initialise(generator, glorot=glorot, zero_bias=config.model.zero_bias)

    def forward(
        self,
        inputs: Events | Static,
        thresholds: list[float],
        *,
        step: int = 0,
        record: bool = False,
        membrane: bool = False,
        depth: int | None = None,
    ) -> Result:
        """Run one minibatch over all its time steps.

        Args:
            inputs: event rows or images, see `kernels.spec`.
            thresholds: theta of each layer.
            step: minibatch number, which picks the dropout masks of training mode.
            record: keep every layer's spikes and membranes.
            membrane: return the output membrane with its gradient.
            depth: run only so many layers, from the input; None: all.
        """
        if isinstance(inputs, Static):
            inputs = Static(inputs.image_BX.to(self.device), inputs.time_steps)
        layers = self.layers(thresholds, step)[:depth]
        return kernels.run_network(inputs, layers, backend=self.config.backend, record=record, membrane=membrane)

    def layers(self, thresholds: list[float], step: int = 0) -> list[Layer]:
        """What the kernels need of each layer for one minibatch."""
        hparams = self.config.hparams
        starts = hparams.threshold.start
        clamped = self.config.fidelity.surrogate == "clamped"
        dropouts = iter(hparams.dropout)
        layers = []
        for number, (synapse, theta, start) in enumerate(zip(self.synapses, thresholds, starts, strict=True)):
            shape = synapse.shape
            probability = next(dropouts) if shape.kind == "dense" else 0.0
            dropout = None
            if self.training and probability > 0:
                dropout = Dropout(probability, key=_key(self.seed, step, number))
            layers.append(
                Layer(
                    weight=binarize(synapse.weight) if self.config.mode.binarize else synapse.weight,
                    bias_N=synapse.bias,
                    pool=shape.pool,
                    batch_norm=synapse.batch_norm(),
                    dropout=dropout,
                    neuron=Neuron(
                        beta=hparams.beta,
                        threshold=theta,
                        slope=hparams.slope,
                        centre=start if clamped else theta,
                        strict=self.config.fidelity.spike == "above_threshold",
                    ),
                    input_shape=shape.input_shape,
                    output_shape=shape.output_shape,
                    binary=self.config.mode.binarize,
                )
            )
        return layers

    @property
    def device(self) -> torch.device:
        return self.synapses[0].weight.device

    @property
    def footprint_bits(self) -> int:
        """Bits of a deployed network: 1 a weight (32 in flt32), 32 each bias, BatchNorm scale and shift, and theta."""
        weight_bits = 1 if self.config.mode.binarize else FLOAT_BITS
        weights = sum(shape.weights for shape in self.shapes)
        floats = len(self.shapes) + sum(
            parameter.numel() for name, parameter in self.named_parameters() if name.rsplit(".", 1)[1] == "bias"
        )
        floats += sum(synapse.norm.weight.numel() for synapse in self.synapses if synapse.norm is not None)
        return weights * weight_bits + floats * FLOAT_BITS

    def latent_weights(self) -> list[Tensor]:
        """The weights that binarization reads, without biases and BatchNorm."""
        return [synapse.weight for synapse in self.synapses]


def _key(seed: int, step: int, layer: int) -> int:
    """32 bits that name one layer's dropout masks in one minibatch."""
    digest = hashlib.blake2b(f"{seed} {step} {layer}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
