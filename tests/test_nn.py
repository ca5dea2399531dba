"""snntha.nn: its layers against the reference, outputs and every gradient; annealing like a scheduler."""

import pytest
import torch
from torch import nn

from snntha.errors import UserError
from snntha.nn import LIF, BinaryConv, BinaryDense, ThresholdAnnealing


def spikes(*shape: int, density: float = 0.2, seed: int = 0) -> torch.Tensor:
    """Spike counts; some inputs fire twice in a step."""
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(seed))
    return (drawn < density).float() + (drawn < density / 5).float()


def both(module: nn.Module, values: torch.Tensor) -> list[list[torch.Tensor]]:
    """Outputs, and gradients of the input and of every parameter, of both backends, for one random cotangent."""
    found = []
    for backend in ("reference", "numba"):
        module.backend = backend  # pyright: ignore
        module.zero_grad()
        leaf = values.clone().requires_grad_()
        result = module.run(leaf) if isinstance(module, LIF) else (module(leaf),)
        generator = torch.Generator().manual_seed(1)
        cotangents = [torch.randn(output.shape, generator=generator) for output in result]
        torch.autograd.backward(result, cotangents)
        gradients = [leaf.grad, *(parameter.grad for parameter in module.parameters())]
        assert all(gradient is not None for gradient in gradients)
        found.append([*(output.detach() for output in result), *gradients])
    return found


@pytest.mark.parametrize(
    ("module", "shape"),
    [
        (BinaryDense(70, 33), (7, 3, 70)),
        (BinaryDense((2, 5, 4), 12, bias=False), (6, 2, 2, 5, 4)),
        (BinaryConv((2, 9, 8), 5, 3, pool=2), (6, 3, 2, 9, 8)),
        (BinaryConv((1, 6, 6), 17, 3), (5, 2, 1, 6, 6)),
    ],
    ids=["dense", "dense of a picture", "convolution with pooling", "convolution"],
)
def test_a_synapse_gives_what_the_reference_gives(module, shape):
    (currents, *gradients), (fast_currents, *fast_gradients) = both(module, spikes(*shape))
    assert torch.equal(fast_currents, currents)
    for fast, slow in zip(fast_gradients, gradients, strict=True):
        torch.testing.assert_close(fast, slow, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("shape", [(9, 3, 21), (5, 2, 3, 4, 5)], ids=["dense", "picture"])
def test_neurons_fire_as_the_reference(shape):
    layer = LIF(beta=0.8, threshold=0.7, slope=3.0)
    layer.threshold.fill_(0.9)  # annealed since: the surrogate stays where it was
    currents = torch.randn(shape, generator=torch.Generator().manual_seed(2))
    (fired, membrane, gradient), (fast_fired, fast_membrane, fast_gradient) = both(layer, currents)
    assert fired.mean() > 0.1
    assert torch.equal(fast_fired, fired) and torch.equal(fast_membrane, membrane)
    torch.testing.assert_close(fast_gradient, gradient, rtol=1e-6, atol=1e-6)


def test_grey_values_take_the_reference():
    layer, values = BinaryDense(6, 4, backend="numba"), torch.rand(3, 2, 6)
    fast = layer(values)
    layer.backend = "reference"
    assert torch.equal(fast, layer(values))


def test_another_device_takes_the_reference():
    model = nn.Sequential(BinaryDense(6, 4), LIF()).to("meta")
    assert model[0](torch.empty(3, 2, 6, device="meta")).device.type == "meta"


def test_thresholds_move_by_equation_4_and_survive_saving():
    model = nn.Sequential(BinaryDense(4, 3), LIF(threshold=2.0), BinaryDense(3, 2), LIF(threshold=4.0))
    annealing = ThresholdAnnealing(model, rise=[2.0, 6.0], rate=0.25)
    annealing.step()
    assert annealing.thresholds == [2.5, 5.5]
    copy = nn.Sequential(BinaryDense(4, 3), LIF(), BinaryDense(3, 2), LIF())
    copy.load_state_dict(model.state_dict())
    resumed = ThresholdAnnealing(copy, rise=0.0, rate=0.0)
    resumed.load_state_dict(annealing.state_dict())
    annealing.step()
    resumed.step()
    assert resumed.thresholds == annealing.thresholds == [2.875, 6.625]
    assert copy[1].centre.item() == 2.0


def test_a_model_of_ones_own_learns():
    torch.manual_seed(0)
    labels = torch.arange(16) % 2
    inputs = spikes(20, 16, 30, density=0.1)
    inputs[:, labels == 1, :10] += spikes(20, 8, 10, density=0.4, seed=1)
    model = nn.Sequential(BinaryDense(30, 24), LIF(threshold=2.0), BinaryDense(24, 2), LIF(threshold=3.0))
    annealing = ThresholdAnnealing(model, rise=1.0, rate=0.05)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs).sum(0), labels).backward()
        optimizer.step()
        annealing.step()
    assert (model(inputs).sum(0).argmax(1) == labels).float().mean() >= 0.9


@pytest.mark.parametrize(
    ("mistake", "part"),
    [
        (lambda: BinaryDense(4, 3)(torch.zeros(2, 5)), "expected (T, B, 4)"),
        (lambda: LIF(backend="cuda"), "backend='cuda': expected auto | reference | numba"),
        (lambda: BinaryConv((1, 3, 3), 2, 5), "do not fit an input of 3 x 3"),
        (lambda: ThresholdAnnealing(nn.Linear(2, 2), 1.0, 0.1), "expected LIF layers"),
        (lambda: ThresholdAnnealing([LIF()], [1.0, 2.0], 0.1), "expected one number, or 1"),
    ],
)
def test_a_mistake_says_what_was_expected(mistake, part):
    with pytest.raises(UserError) as raised:
        mistake()
    assert part in str(raised.value)
