"""Topologies, initial weights, footprint, dropout masks and the neuron by hand."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snntha.binarize import binarize
from snntha.config import compose
from snntha.errors import UserError
from snntha.kernels import reference
from snntha.kernels.spec import BatchNorm, Dropout
from snntha.network import SpikingNetwork
from snntha.neuron import Neuron
from snntha.topology import LayerShape, parse


def test_published_topologies() -> None:
    assert parse("16Conv5-AP2-64Conv5-AP2-1024Dense10", (1, 28, 28)) == [
        LayerShape("conv", (1, 28, 28), (16, 12, 12), kernel=5, pool=2),
        LayerShape("conv", (16, 12, 12), (64, 4, 4), kernel=5, pool=2),
        LayerShape("dense", (64, 4, 4), (10,)),
    ]
    assert parse("700Dense3000Dense20", (700,)) == [
        LayerShape("dense", (700,), (3000,)),
        LayerShape("dense", (3000,), (20,)),
    ]


@pytest.mark.parametrize(
    "dataset, weights",
    [("mnist", 36_240), ("fashion_mnist", 36_240), ("dvs_gesture", 22_400), ("shd", 2_160_000)],
)
def test_published_footprints(dataset: str, weights: int) -> None:
    network = SpikingNetwork(compose([f"dataset={dataset}"]), seed=0)
    assert sum(shape.weights for shape in network.specs) == weights
    floats = (sum(spec.footprint_bits for spec in network.specs) - weights) / 32
    neurons = sum(shape.neurons for shape in network.specs if shape.kind == "dense")
    norms = sum(2 * shape.output_shape[0] for shape in network.specs if shape.kind == "conv")
    has_norm = network.config.hparams.batch_norm
    assert floats == neurons + len(network.specs) + (norms if has_norm else 0)


@pytest.mark.parametrize(
    "topology, shape, message",
    [
        ("16Conv5-MP2-10Dense10", (1, 28, 28), "'MP2' at position 8: unknown token"),
        ("16Conv5-AP2-64Conv5-AP2-1000Dense10", (1, 28, 28), "'1000Dense10' at position 24: 1000 inputs do not fit"),
        ("700Dense300", (600,), "'700Dense300' at position 0: 700 inputs do not fit"),
        ("16Conv5-16Dense10", (100,), "'16Conv5' at position 0: a convolution needs"),
        ("16Conv9-16Dense10", (1, 8, 8), "a 9x9 kernel does not fit its 8x8 input"),
        ("AP2-16Dense10", (1, 8, 8), "'AP2' at position 0: average pooling acts on"),
        ("16Conv3-AP2-AP2-16Dense10", (1, 8, 8), "'AP2' at position 12: average pooling acts on"),
        ("16Conv3-AP2", (1, 8, 8), "ends without a dense layer; append -144Dense<classes>"),
        ("8Dense0", (8,), "at least one neuron"),
        ("", (8,), "'' at position 0: unknown token"),
    ],
)
def test_topology_errors_name_token_and_position(topology: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match="model.topology=") as error:
        parse(topology, shape)
    assert message in str(error.value)


def test_initial_weights_paper_and_code() -> None:
    for fidelity, mode in (("paper", "annealed"), ("code", "annealed"), ("code", "flt32")):
        config = compose(["dataset=mnist", f"fidelity={fidelity}", f"mode={mode}"])
        network = SpikingNetwork(config, seed=0)
        for synapse in network.synapses:
            shape = synapse.spec
            fan_in, fan_out = shape.inputs, shape.neurons
            if shape.kind == "conv":
                fan_in, fan_out = shape.input_shape[0] * 25, shape.output_shape[0] * 25
            glorot = fidelity == "code" and mode == "annealed"
            bound = math.sqrt(1.5 / (fan_in + fan_out)) if glorot else math.sqrt(1 / fan_in)
            largest = synapse.weight.abs().max().item()
            assert 0.95 * bound < largest <= bound
            if synapse.bias is not None:
                assert (synapse.bias == 0).all() == glorot
    zero_bias = SpikingNetwork(compose(["dataset=temporal_coding"]), seed=0)
    assert all((synapse.bias == 0).all() for synapse in zero_bias.synapses)


def test_binarize_sign_of_zero_is_plus_one_and_gradient_passes_straight_through() -> None:
    weight = torch.tensor([-2.0, -0.0, 0.0, 1e-30, 0.5], requires_grad=True)
    binary = binarize(weight)
    assert binary.tolist() == [-1.0, 1.0, 1.0, 1.0, 1.0]
    gradient = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0])
    binary.backward(gradient)
    assert weight.grad is not None
    assert torch.equal(weight.grad, gradient)


@pytest.mark.parametrize("strict, spikes", [(False, [1.0, 0.0, 1.0]), (True, [0.0, 1.0, 0.0])])
def test_neuron_by_hand(strict: bool, spikes: list[float]) -> None:
    """u = 2, then 0.5 * 2 + 1.5 - 2 z, ... ; the threshold 2 is met exactly in the first step."""
    neuron = Neuron(beta=0.5, threshold=2.0, slope=1.0, centre=2.0, strict=strict)
    currents = torch.tensor([2.0, 1.5, 1.75]).view(3, 1, 1)
    spikes_TBN, membrane_TBN = reference.scan(currents, neuron)
    expected = [2.0, 0.5, 2.0] if not strict else [2.0, 2.5, 1.0]
    assert membrane_TBN.flatten().tolist() == expected
    assert spikes_TBN.flatten().tolist() == spikes


def test_surrogate_gradient_by_hand() -> None:
    """One step: dz/dI = 1 / (1 + k |u - c|)^2; two steps: + beta times it through the membrane, none by the reset."""
    neuron = Neuron(beta=0.5, threshold=1.0, slope=2.0, centre=3.0, strict=False)
    currents = torch.tensor([2.0, 4.0]).view(2, 1, 1).requires_grad_()
    spikes_TBN, _ = reference.scan(currents, neuron)
    spikes_TBN.sum().backward()
    first = 1 / (1 + 2 * abs(2.0 - 3.0)) ** 2
    second = 1 / (1 + 2 * abs((1.0 + 4.0 - 1.0) - 3.0)) ** 2
    assert currents.grad is not None
    torch.testing.assert_close(currents.grad.flatten(), torch.tensor([first + 0.5 * second, second]))


@given(probability=st.floats(0.01, 0.95), key=st.integers(0, 2**32 - 1))
def test_dropout_mask_keeps_the_right_share_independently_of_the_key(probability: float, key: int) -> None:
    size = 20_000
    mask = reference.dropout_mask(Dropout(probability, key), (10, 20, 100))
    spread = math.sqrt(probability * (1 - probability) / size)
    assert abs(mask.float().mean().item() - (1 - probability)) < 6 * spread
    other = reference.dropout_mask(Dropout(probability, key ^ 0x5BD1E995), (10, 20, 100))
    agreement = (mask == other).float().mean().item()
    expected = probability**2 + (1 - probability) ** 2
    assert abs(agreement - expected) < 6 * math.sqrt(0.25 / size)


def test_running_statistics_in_closed_form_equal_the_loop() -> None:
    """T updates of nn.BatchNorm2d, on changing and on constant currents."""
    generator = torch.Generator().manual_seed(0)
    currents = 3 * torch.randn(7, 4, 5, 3, 3, generator=generator) + 1
    for steps, updates in ((7, 1), (1, 7)):
        module = torch.nn.BatchNorm2d(5)
        norm = BatchNorm(module.weight, module.bias, torch.zeros(5), torch.ones(5), training=True)
        ours = reference.batch_norm(currents[:steps], norm, updates_per_step=updates)
        theirs = torch.stack([module(currents[step if steps > 1 else 0]) for step in range(7)])
        torch.testing.assert_close(ours, theirs[:steps], rtol=1e-5, atol=1e-5)
        assert module.running_mean is not None and module.running_var is not None
        torch.testing.assert_close(norm.running_mean_C, module.running_mean)
        torch.testing.assert_close(norm.running_var_C, module.running_var)
