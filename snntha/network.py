"""A topology becomes a spiking network: one class for both precisions, layer after layer, time first."""

import hashlib
import math
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from snntha import decay, layers
from snntha.binarize import binarize
from snntha.config.schema import Config
from snntha.delays import whole_delays
from snntha.errors import UserError
from snntha.kernels.backend import run_network
from snntha.kernels.spec import BatchNorm, Dropout, Events, Layer, Result, Static
from snntha.layers import LayerSpec
from snntha.parallel import WHOLE, Share


class Synapse(nn.Module):
    """Latent weights of one layer, its bias (dense) or BatchNorm (convolution); dense weight (out, in), conv OIkk.

    `delay`, one for each input of a dense layer that has them, is the share 0 to 1 of the longest: its gradient and its
    learning rate then are of the size of a weight's. `decay` are latents of the layer's own betas, see `decay.draw`.
    """

    def __init__(self, spec: LayerSpec, *, delays_trainable: bool = True, beta_trainable: bool = False):
        super().__init__()
        self.spec = spec
        self.delay: nn.Parameter | None = None
        self.recurrent: nn.Parameter | None = None  # (neurons, neurons)
        self.bias: nn.Parameter | None = None
        self.decay: nn.Parameter | None = None
        if spec.betas > 0:
            self.decay = nn.Parameter(torch.empty(spec.betas), requires_grad=beta_trainable)
        self.norm: nn.BatchNorm2d | None = None
        if spec.kind == "dense":
            self.weight = nn.Parameter(torch.empty(spec.neurons, spec.inputs))
            self.bias = nn.Parameter(torch.empty(spec.neurons))
            if spec.recurrent:
                self.recurrent = nn.Parameter(torch.empty(spec.neurons, spec.neurons))
            if spec.delay > 0:
                self.delay = nn.Parameter(torch.empty(spec.inputs), requires_grad=delays_trainable)
        else:
            channels = spec.output_shape[0]
            self.weight = nn.Parameter(torch.empty(channels, spec.input_shape[0], spec.kernel, spec.kernel))
            if spec.batch_norm:
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

    def deployed(self, latent: Tensor) -> Tensor:
        """Weights as the kernels use them."""
        return binarize(latent) if self.spec.binary else latent

    def batch_norm(self, share: Share) -> BatchNorm | None:
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
            share=share,
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
        self.specs = layers.resolve(config)
        hparams = config.hparams
        learned = {"delays_trainable": hparams.delays_trainable, "beta_trainable": hparams.beta_trainable}
        synapses = nn.ModuleList(Synapse(spec, **learned) for spec in self.specs)
        self.decay: nn.Parameter | None = None  # latent of the one beta of the network, where that is learned
        if hparams.beta_scope == "network" and hparams.beta_trainable:
            self.decay = nn.Parameter(decay.draw(hparams.beta, 0.0, 1, torch.Generator()))
        self.synapses = cast(list[Synapse], synapses)  # torch types the entries as any module
        generator = torch.Generator().manual_seed(seed)
        glorot = config.fidelity.init == "glorot" and config.mode.binarize
        for synapse in self.synapses:
            synapse.initialise(generator, glorot=glorot, zero_bias=config.model.zero_bias)
        # What is beyond the paper comes last, so that the weights are those of the same network without.
        for synapse in self.synapses:
            if synapse.recurrent is not None:
                bound = math.sqrt(1 / synapse.spec.neurons)
                nn.init.uniform_(synapse.recurrent, -bound, bound, generator)
            if synapse.delay is not None:
                nn.init.uniform_(synapse.delay, generator=generator)
        for synapse in self.synapses:
            if synapse.decay is not None:
                latent_C = decay.draw(hparams.beta, hparams.beta_spread, len(synapse.decay), generator)
                synapse.decay.data.copy_(latent_C)

    def forward(
        self,
        inputs: Events | Static,
        thresholds: list[float],
        *,
        step: int = 0,
        share: Share = WHOLE,
        record: bool = False,
        membrane: bool = False,
        depth: int | None = None,
    ) -> Result:
        """Run one minibatch over all its time steps.

        Args:
            inputs: event rows or images, see `kernels.spec`.
            thresholds: theta of each layer.
            step: minibatch number, which picks the dropout masks of training mode.
            share: of the minibatch, the inputs of this process.
            record: keep every layer's spikes and membranes.
            membrane: return the output membrane with its gradient.
            depth: run only so many layers, from the input; None: all.
        """
        if isinstance(inputs, Static):
            if self.specs[0].recurrent or self.specs[0].delay:  # of data whose kind the configuration does not say
                raise UserError(
                    "an image is the same at every step: a first layer that sees it has no delays and is not "
                    "recurrent; pass 0 as the first entry of hparams.delays, and leave its R out"
                )
            inputs = Static(inputs.image_BX.to(self.device), inputs.time_steps)
        layers = self.layers(thresholds, step, share)[:depth]
        how = {"backend": self.config.backend, "precision": self.config.precision}
        return run_network(inputs, layers, **how, record=record, membrane=membrane)

    def layers(self, thresholds: list[float], step: int = 0, share: Share = WHOLE) -> list[Layer]:
        """What the kernels need of each layer for one minibatch."""
        return [
            Layer(
                spec=synapse.spec,
                weight=synapse.deployed(synapse.weight),
                bias_N=synapse.bias,
                batch_norm=synapse.batch_norm(share if self.config.batch_statistics == "shared" else WHOLE),
                dropout=self._dropout(synapse.spec, step, number, share),
                neuron=synapse.spec.neuron(theta, beta_C),
                recurrent_NM=None if synapse.recurrent is None else synapse.deployed(synapse.recurrent),
                delay_I=None if synapse.delay is None else whole_delays(synapse.delay, synapse.spec.delay),
            )
            for number, (synapse, theta, beta_C) in enumerate(zip(self.synapses, thresholds, self.betas(), strict=True))
        ]

    def betas(self) -> list[Tensor | None]:
        """Beta of each channel of each layer; None where it is the constant of the configuration."""
        latents = [synapse.decay if self.decay is None else self.decay for synapse in self.synapses]
        return [
            None if latent is None else latent.sigmoid().expand(synapse.spec.output_shape[0])
            for latent, synapse in zip(latents, self.synapses, strict=True)
        ]

    def _dropout(self, spec: LayerSpec, step: int, layer: int, share: Share) -> Dropout | None:
        if not self.training or spec.dropout == 0:
            return None
        return Dropout(spec.dropout, key=_key(self.seed, step, layer), share=share)

    @property
    def device(self) -> torch.device:
        return self.synapses[0].weight.device

    def anneal(self, thresholds: list[float]) -> list[float]:
        """Eq. (4) for every layer: the thresholds after one more minibatch."""
        return [spec.threshold.step(theta) for spec, theta in zip(self.specs, thresholds, strict=True)]

    def latent_weights(self) -> list[Tensor]:
        """The weights that binarization reads, without biases and BatchNorm."""
        latent = [(synapse.weight, synapse.recurrent) for synapse in self.synapses]
        return [weight for of_layer in latent for weight in of_layer if weight is not None]

    @torch.no_grad()
    def signs(self) -> list[Tensor]:
        """Which weights are +1, bool, one flat tensor a layer; nothing where weights are floats."""
        return [
            torch.cat([weight.flatten() >= 0 for weight in (synapse.weight, synapse.recurrent) if weight is not None])
            for synapse in self.synapses
            if synapse.spec.binary
        ]

    def timing(self) -> list[Tensor]:
        """The parameters that say when: delays and betas. No clip bounds their gradients or their values."""
        return [*self._delays(), *self._decays()]

    def _delays(self) -> list[Tensor]:
        return [synapse.delay for synapse in self.synapses if synapse.delay is not None]

    def _decays(self) -> list[Tensor]:
        return [part.decay for part in (self, *self.synapses) if part.decay is not None]

    def clipped(self) -> list[Tensor]:
        """All other parameters, in their order."""
        timing = {id(parameter) for parameter in self.timing()}
        return [parameter for parameter in self.parameters() if id(parameter) not in timing]

    @torch.no_grad()
    def keep_in_range(self) -> None:
        """After an update: delays stay between none and the longest, and betas clear of 0 and 1."""
        for delay in self._delays():
            delay.clamp_(0, 1)
        for latent in self._decays():
            decay.keep_inside(latent)


def load_weights(network: nn.Module, weights: dict[str, Tensor], source: Path) -> None:
    """Fill the network, or say which names or shapes differ."""
    own = network.state_dict()
    differences = [f"{name} is missing" for name in own.keys() - weights.keys()]
    differences += [f"{name} is unknown" for name in weights.keys() - own.keys()]
    differences += [
        f"{name} has shape {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own.keys() & weights.keys()
        if weights[name].shape != own[name].shape
    ]
    if differences:
        raise UserError(f"{source} does not fit the network of its config.yaml: {'; '.join(sorted(differences))}")
    network.load_state_dict(weights)


def _key(seed: int, step: int, layer: int) -> int:
    """32 bits that name one layer's dropout masks in one minibatch."""
    digest = hashlib.blake2b(f"{seed} {step} {layer}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "little")
