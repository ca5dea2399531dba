"""The network equals a step-by-step snnTorch loop: spikes, membranes, loss and every gradient, over several updates."""

from collections.abc import Iterable

import pytest
import torch
from conftest import random_events

from snntha import optimizer as optimizers
from snntha.config import Config, compose
from snntha.data.batch import Batch
from snntha.kernels import reference
from snntha.kernels.spec import Events, Static
from snntha.network import SpikingNetwork
from snntha.progress import Progress
from snntha.snntorch_loop import SnnTorchLoop
from snntha.train import train_step

TIME_STEPS, SAMPLES = 12, 6
NO_DROPOUT = "hparams.dropout=[0.0]"

DENSE = [
    "dataset=shd",
    "model.topology=30Dense40Dense20",
    "dataset.input_shape=[30]",
    "hparams.dropout=[0.0,0.0]",
    "hparams.threshold.start=[3.0,2.5]",
    "hparams.threshold.rise=[2.0,1.5]",
    "hparams.threshold.rate=[0.1,0.2]",
]
CONV = [
    "dataset=dvs_gesture",
    "model.topology=6Conv3-AP2-5Conv2-AP2-20Dense11",
    "dataset.input_shape=[2,14,14]",
    NO_DROPOUT,
    "hparams.threshold.start=[1.5,2.0,1.5]",
    "hparams.threshold.rise=[1.0,0.5,0.7]",
    "hparams.threshold.rate=[0.1,0.2,0.05]",
]
STATIC = [
    "dataset=mnist",
    "model.topology=6Conv3-AP2-5Conv2-AP2-20Dense10",
    "dataset.input_shape=[1,14,14]",
    NO_DROPOUT,
    "hparams.threshold.start=[0.6,0.8,0.6]",
    "hparams.threshold.rise=[1.0,0.5,0.7]",
    "hparams.threshold.rate=[0.1,0.2,0.05]",
]
NORM, NO_NORM = "hparams.batch_norm=true", "hparams.batch_norm=false"
CASES = {
    "dense": DENSE,
    "conv": [*CONV, NO_NORM],
    "conv-batchnorm": [*CONV, NORM],
    "static": [*STATIC, NO_NORM],
    "static-batchnorm": [*STATIC, NORM],
}


def make_config(overrides: Iterable[str], backend: str, mode: str = "annealed") -> Config:
    if mode == "flt32":
        overrides = [*overrides, "hparams.threshold.rise=[0.0,0.0,0.0]"]
    common = ["fidelity=code", f"mode={mode}", f"backend={backend}", f"dataset.time_steps={TIME_STEPS}"]
    return compose([*overrides, *common])


def make_inputs(config: Config, seed: int) -> Events | Static:
    shape = tuple(config.dataset.input_shape)
    if config.dataset.name == "mnist":
        images = torch.rand(SAMPLES, *shape, generator=torch.Generator().manual_seed(seed))
        return Static(images, TIME_STEPS)
    return random_events(TIME_STEPS, SAMPLES, shape, density=0.2, seed=seed)


def dense(inputs: Events | Static) -> torch.Tensor:
    if isinstance(inputs, Events):
        return reference.dense(inputs)
    return inputs.image_BX.expand(inputs.time_steps, *inputs.image_BX.shape)


@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("case", CASES)
def test_training_agrees_over_several_updates(case: str, backend: str) -> None:
    """Loss, every gradient and the weights after each of four optimizer and threshold steps."""
    config = make_config(CASES[case], backend)
    network = SpikingNetwork(config, seed=3)
    loop = SnnTorchLoop(network)
    optimizer = optimizers.build(config.optimizer, network.parameters())
    loop_optimizer = optimizers.build(config.optimizer, loop.parameters())
    start = config.hparams.threshold.start
    progress = Progress(thresholds=start, previous_thresholds=start)
    labels_B = torch.arange(SAMPLES) % config.dataset.classes
    for update in range(4):
        inputs = make_inputs(config, seed=update)
        loop.set_thresholds(progress.thresholds)
        loop_optimizer.zero_grad()
        loss = loop.loss(loop(dense(inputs)), labels_B)
        loss.backward()
        loop_gradients = [parameter.grad.clone() for parameter in in_network_order(loop)]
        progress.totals.loss = 0.0
        network.train()
        train_step(network, optimizer, Batch(inputs, labels_B), progress, half_period=None)

        assert progress.totals.loss / SAMPLES == pytest.approx(loss.item(), rel=1e-5)
        norm = torch.nn.utils.get_total_norm(loop_gradients)
        assert norm > 0
        if config.hparams.grad_clip is not None:
            torch.nn.utils.clip_grads_with_norm_(loop.parameters(), config.hparams.grad_clip, norm)
        for name, ours, theirs in zip(names(network), network.parameters(), in_network_order(loop), strict=True):
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=2e-6 * norm.item(), msg=name)
        if config.hparams.weight_clip is not None:
            with torch.no_grad():
                for parameter in loop.parameters():
                    parameter.clamp_(-config.hparams.weight_clip, config.hparams.weight_clip)
        loop_optimizer.step()
        copy_weights(loop, network)  # the optimizers' rounding must not add up over the updates


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("backend", ["reference", "numba"])
@pytest.mark.parametrize("case", CASES)
def test_spikes_and_membranes_agree(case: str, backend: str, training: bool) -> None:
    """Exactly for binary weights on event counts; within rounding where grey values or BatchNorm enter."""
    config = make_config(CASES[case], backend)
    network = SpikingNetwork(config, seed=5).train(training)
    loop = SnnTorchLoop(network).train(training)
    inputs = make_inputs(config, seed=9)
    thresholds = [theta + 0.3 for theta in config.hparams.threshold.start]
    loop.set_thresholds(thresholds)
    membranes: list[list[torch.Tensor]] = [[] for _ in network.specs]
    spikes_TBN = loop(dense(inputs), membranes)
    result = network(inputs, thresholds, record=True)

    assert 0 < spikes_TBN.mean() < 1
    exact = isinstance(inputs, Events) and not config.hparams.batch_norm
    tolerance = {"rtol": 0.0, "atol": 0.0} if exact else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(result.layers[-1].spikes_TBX, spikes_TBN, rtol=0, atol=0)
    assert torch.equal(result.spike_count_BN, spikes_TBN.sum(0))
    for layer, membrane in zip(result.layers, membranes, strict=True):
        torch.testing.assert_close(layer.membrane_TBX, torch.stack(membrane), **tolerance)
    for synapse, norm in zip([s for s in network.synapses if s.norm is not None], loop.norms.values(), strict=True):
        torch.testing.assert_close(synapse.norm.running_mean, norm.running_mean, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(synapse.norm.running_var, norm.running_var, rtol=1e-4, atol=1e-5)


def in_network_order(loop: SnnTorchLoop) -> list[torch.nn.Parameter]:
    """The loop's parameters as SpikingNetwork.parameters() lists its own."""
    ordered: list[torch.nn.Parameter] = []
    for number, (spec, weight) in enumerate(zip(loop.specs, loop.weights, strict=True)):
        ordered.append(weight)
        if spec.kind == "dense":
            ordered.append(loop.biases[str(number)])
        elif spec.batch_norm:
            ordered.extend(loop.norms[str(number)].parameters())
    return ordered


def names(network: SpikingNetwork) -> list[str]:
    return [name for name, _ in network.named_parameters()]


@torch.no_grad()
def copy_weights(loop: SnnTorchLoop, network: SpikingNetwork) -> None:
    for ours, theirs in zip(network.parameters(), in_network_order(loop), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-4)
        theirs.copy_(ours)
