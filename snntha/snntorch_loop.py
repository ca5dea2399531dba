"""The same network as a user of snnTorch writes it: one Python step per time step.

Oracle of the tests and baseline of the benchmark, with `fidelity=code` semantics (strict threshold, surrogate that
moves with it). Written as fast as such a loop can be: weights are binarized once a forward pass, nothing is recorded
that the loss does not need.
"""

from collections.abc import Iterator
from typing import Any, cast

import snntorch
import snntorch.functional
import snntorch.surrogate
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntha.config.schema import Config
from snntha.network import SpikingNetwork


class SnnTorchLoop(nn.Module):
    """Takes its initial weights from a SpikingNetwork; parameters have the same order and shapes."""

    def __init__(self, network: SpikingNetwork):
        super().__init__()
        self.config: Config = network.config
        self.shapes = network.shapes
        self.weights = nn.ParameterList(synapse.weight.detach().clone() for synapse in network.synapses)
        self.biases = nn.ParameterList(
            synapse.bias.detach().clone() for synapse in network.synapses if synapse.bias is not None
        )
        norms = nn.ModuleList()
        for synapse in network.synapses:
            if synapse.norm is not None:
                norm = nn.BatchNorm2d(synapse.norm.num_features)
                norm.load_state_dict(synapse.norm.state_dict())
                norms.append(norm)
        hparams = self.config.hparams
        surrogate = snntorch.surrogate.fast_sigmoid(slope=cast(Any, hparams.slope))
        neurons = nn.ModuleList(
            snntorch.Leaky(beta=hparams.beta, threshold=start, spike_grad=surrogate, reset_mechanism="subtract")
            for start in hparams.threshold.start
        )
        self.norms = cast(list[nn.BatchNorm2d], norms)  # torch types the entries as any module
        self.neurons = cast(list[snntorch.Leaky], neurons)
        for _ in self.neurons:  # snnTorch keeps every neuron ever built in a class-level list
            snntorch.SpikingNeuron.instances.pop()
        rates: dict[str, Any] = {
            "correct_rate": self.config.loss.correct_rate,
            "incorrect_rate": self.config.loss.incorrect_rate,
        }
        self._count_loss = snntorch.functional.mse_count_loss(**rates)

    def set_thresholds(self, thresholds: list[float]) -> None:
        for neuron, theta in zip(self.neurons, thresholds, strict=True):
            neuron.threshold.fill_(theta)

    def forward(self, inputs_TBX: Tensor, membranes: list[list[Tensor]] | None = None) -> Tensor:
        """Output spikes_TBN; appends every layer's membrane of every step to `membranes` where given."""
        binary = self.config.mode.binarize
        weights = [
            torch.where(weight >= 0, 1.0, -1.0) + (weight - weight.detach()) if binary else weight
            for weight in self.weights
        ]
        states = [torch.zeros(0) for _ in self.neurons]
        outputs = []
        for spikes in inputs_TBX:
            norms, biases, dropouts = iter(self.norms), iter(self.biases), iter(self.config.hparams.dropout)
            for layer, weight in enumerate(weights):
                current = self._synapse(spikes, weight, layer, norms, biases, dropouts)
                spikes, states[layer] = self.neurons[layer](current, states[layer])
                if membranes is not None:
                    membranes[layer].append(states[layer])
            outputs.append(spikes)
        return torch.stack(outputs)

    def _synapse(
        self,
        spikes: Tensor,
        weight: Tensor,
        layer: int,
        norms: Iterator[nn.Module],
        biases: Iterator[Tensor],
        dropouts: Iterator[float],
    ) -> Tensor:
        shape = self.shapes[layer]
        if shape.kind == "dense":
            current = F.linear(spikes.flatten(1), weight) + next(biases)  # bias last: sums of +-1 stay exact
            return F.dropout(current, next(dropouts), self.training)
        current = F.conv2d(spikes, weight)
        if shape.pool > 1:
            current = F.avg_pool2d(current, shape.pool)
        return next(norms)(current) if self.config.hparams.batch_norm else current

    def loss(self, spikes_TBN: Tensor, labels_B: Tensor) -> Tensor:
        """snnTorch's count loss, which divides by T."""
        return self._count_loss(spikes_TBN, labels_B)
