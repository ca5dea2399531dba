"""The same network as a user of snnTorch writes it: one Python step per time step.

Oracle of the tests and baseline of the benchmark, with `fidelity=code` semantics (strict threshold, surrogate that
moves with it). Written as fast as such a loop can be: weights are binarized once a forward pass, nothing is recorded
that the loss does not need.
"""

from typing import Any, cast

import snntorch
import snntorch.functional
import snntorch.surrogate
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snntha.errors import UserError
from snntha.network import SpikingNetwork


class SnnTorchLoop(nn.Module):
    """Takes its initial weights from a SpikingNetwork; parameters have the same order and shapes.

    Raises:
        UserError: the network has delays, recurrent layers or several betas, which this loop has not.
    """

    def __init__(self, network: SpikingNetwork):
        super().__init__()
        own_beta = network.decay is not None
        if own_beta or any(spec.delay or spec.recurrent or spec.betas for spec in network.specs):
            raise UserError(
                "the snnTorch loop has no delays and no recurrent layers, and one beta that stays: compare a network "
                "without them"
            )
        self.specs = network.specs
        self.weights = nn.ParameterList(synapse.weight.detach().clone() for synapse in network.synapses)
        biases, norms, neurons = nn.ParameterDict(), nn.ModuleDict(), nn.ModuleList()
        for number, (spec, synapse) in enumerate(zip(self.specs, network.synapses, strict=True)):
            if synapse.bias is not None:
                biases[str(number)] = nn.Parameter(synapse.bias.detach().clone())
            if synapse.norm is not None:
                norm = norms[str(number)] = nn.BatchNorm2d(synapse.norm.num_features)
                norm.load_state_dict(synapse.norm.state_dict())
            surrogate = snntorch.surrogate.fast_sigmoid(slope=cast(Any, spec.slope))
            start = spec.threshold.start
            neurons.append(
                snntorch.Leaky(beta=spec.beta, threshold=start, spike_grad=surrogate, reset_mechanism="subtract")
            )
            snntorch.SpikingNeuron.instances.pop()  # snnTorch keeps every neuron ever built in a class-level list
        self.biases, self.norms = biases, norms
        self.neurons = cast(list[snntorch.Leaky], neurons)  # torch types the entries as any module
        rates: dict[str, Any] = vars(network.config.loss)
        self._count_loss = snntorch.functional.mse_count_loss(**rates)

    def set_thresholds(self, thresholds: list[float]) -> None:
        for neuron, theta in zip(self.neurons, thresholds, strict=True):
            neuron.threshold.fill_(theta)

    def forward(self, inputs_TBX: Tensor, membranes: list[list[Tensor]] | None = None) -> Tensor:
        """Output spikes_TBN; appends every layer's membrane of every step to `membranes` where given."""
        weights = [
            torch.where(weight >= 0, 1.0, -1.0) + (weight - weight.detach()) if spec.binary else weight
            for spec, weight in zip(self.specs, self.weights, strict=True)
        ]
        states = [torch.zeros(0) for _ in self.neurons]
        outputs = []
        for spikes in inputs_TBX:
            for layer, weight in enumerate(weights):
                current = self._synapse(spikes, weight, layer)
                spikes, states[layer] = self.neurons[layer](current, states[layer])
                if membranes is not None:
                    membranes[layer].append(states[layer])
            outputs.append(spikes)
        return torch.stack(outputs)

    def _synapse(self, spikes: Tensor, weight: Tensor, layer: int) -> Tensor:
        spec, key = self.specs[layer], str(layer)
        if spec.kind == "dense":
            current = F.linear(spikes.flatten(1), weight) + self.biases[key]  # bias last: sums of +-1 stay exact
            return F.dropout(current, spec.dropout, self.training)
        current = F.conv2d(spikes, weight)
        if spec.pool > 1:
            current = F.avg_pool2d(current, spec.pool)
        return self.norms[key](current) if spec.batch_norm else current

    def loss(self, spikes_TBN: Tensor, labels_B: Tensor) -> Tensor:
        """snnTorch's count loss, which divides by T."""
        return self._count_loss(spikes_TBN, labels_B)
