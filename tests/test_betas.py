"""Betas of layers and neurons: drawn, learned, recorded, stored, refused. Parity of the kernels is in test_kernels."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_runs import BETAS, SHD, write_run
from test_predict import call
from test_runtime import some_batch

from snntha import nir
from snntha.config import compose
from snntha.config.rules import BETAS as LIMITS
from snntha.decay import draw
from snntha.errors import UserError
from snntha.export import cost, golden, onnx
from snntha.export.freeze import freeze, load_network
from snntha.export.nir import to_bytes
from snntha.folder import RunFolder
from snntha.kernels import reference
from snntha.kernels.cpu_network import run_network
from snntha.kernels.spec import Layer, Static
from snntha.network import SpikingNetwork
from snntha.neuron import Neuron
from snntha.records import SeedRecord
from snntha.runtime.integer import quantize, representable
from snntha.snntorch_loop import SnnTorchLoop

DIGITS = ("dataset=digits", "model.topology=4Conv3-AP2-36Dense10", "dataset.limit=60", "epochs=1", "plots=false")
EACH = ("hparams.beta_scope=neuron", "hparams.beta_spread=0.5", "hparams.beta_trainable=true")


def betas(network: SpikingNetwork) -> list[torch.Tensor]:
    return [beta_C for beta_C in network.betas() if beta_C is not None]


def test_time_constants_are_drawn_around_the_one_of_beta() -> None:
    beta_C = draw(0.9, 0.5, 20_000, torch.Generator().manual_seed(0)).sigmoid().double()
    tau_C, tau = -1 / beta_C.log(), -1 / math.log(0.9)
    assert tau_C.mean().item() == pytest.approx(tau, rel=0.02)
    assert tau_C.std().item() == pytest.approx(tau / 2, rel=0.03)
    for beta in LIMITS:  # far out, and still inside
        for spread in (0.0, 2.0):
            drawn_C = draw(beta, spread, 1000, torch.Generator().manual_seed(0)).sigmoid()
            assert drawn_C.min() > LIMITS[0] * 0.99 and drawn_C.max() < 1 - (1 - LIMITS[1]) * 0.99
    assert draw(0.9, 0.0, 3, torch.Generator()).sigmoid().tolist() == pytest.approx([0.9] * 3)


@pytest.mark.parametrize(("scope", "sizes"), [("network", [4, 10]), ("layer", [1, 1]), ("neuron", [4, 10])])
def test_what_has_a_beta_of_its_own(scope: str, sizes: list[int]) -> None:
    """The weights begin as without; a channel of a convolution has one beta."""
    plain = SpikingNetwork(compose(DIGITS), seed=3)
    own = SpikingNetwork(compose([*DIGITS, f"hparams.beta_scope={scope}", "hparams.beta_trainable=true"]), seed=3)
    weights, others = plain.state_dict(), own.state_dict()
    assert betas(plain) == [] and all(torch.equal(others[name], weights[name]) for name in weights)
    if scope == "network":
        assert others.keys() - weights.keys() == {"decay"} and len(others["decay"]) == 1
        sizes = [1, 0]
    else:
        assert [len(others[f"synapses.{number}.decay"]) for number in (0, 1)] == sizes
    bits = [sum(spec.footprint_bits for spec in network.specs) for network in (plain, own)]
    assert bits[1] - bits[0] == (32 * sum(sizes) if scope != "network" else 0)
    assert [len(beta_C) for beta_C in betas(own)] == [4, 10]


def test_the_gradient_is_the_change_of_the_loss() -> None:
    """By central differences in float64, of a loss of membranes, on which beta acts directly where no spike flips."""
    generator = torch.Generator().manual_seed(1)
    current_BN = torch.rand(3, 5, generator=generator, dtype=torch.float64)
    beta_N = torch.rand(5, generator=generator, dtype=torch.float64) * 0.9
    cotangent_TBN = torch.randn(12, 3, 5, generator=generator, dtype=torch.float64)

    def loss(beta_N: torch.Tensor) -> torch.Tensor:
        neuron = Neuron(beta_N, threshold=1.5, slope=1.0, centre=1.5, strict=False)
        spikes_TBN, membrane_TBN = reference.scan(current_BN.expand(12, 3, 5), neuron)
        assert spikes_TBN.any()
        return (membrane_TBN * cotangent_TBN).sum()

    step = 1e-6
    slopes = [(loss(beta_N + step * one) - loss(beta_N - step * one)).item() / (2 * step) for one in torch.eye(5)]
    leaf_N = beta_N.clone().requires_grad_()
    loss(leaf_N).backward()
    assert leaf_N.grad is not None and leaf_N.grad.tolist() == pytest.approx(slopes, rel=1e-6)
    leaf_N = beta_N.float().requires_grad_()
    layer = kernel_layer(leaf_N)
    membrane_TBN = run_network(Static(current_BN.float(), 12), [layer], membrane=True).membrane_TBN
    assert membrane_TBN is not None
    (membrane_TBN * cotangent_TBN).sum().backward()
    assert leaf_N.grad is not None and leaf_N.grad.tolist() == pytest.approx(slopes, rel=1e-4)


def kernel_layer(beta_N: torch.Tensor) -> Layer:
    """Whose currents are its inputs."""
    config = compose(["dataset=shd", "model.topology=700Dense20", "hparams.dropout=[0]", *one_layer(1.5)])
    spec = SpikingNetwork(config, seed=0).specs[0]
    size = len(beta_N)
    spec = type(spec)(**{**vars(spec), "input_shape": (size,), "output_shape": (size,), "binary": False})
    neuron = Neuron(beta_N, threshold=1.5, slope=1.0, centre=1.5, strict=False)
    return Layer(spec, torch.eye(size), None, None, None, neuron)


def one_layer(theta: float) -> list[str]:
    return [f"hparams.threshold.start=[{theta}]", "hparams.threshold.rise=[0]", "hparams.threshold.rate=[0]"]


def test_training_moves_betas_and_no_clip_does(tmp_path: Path) -> None:
    clips = "hparams.weight_clip=0.01", "hparams.grad_clip=1e-9", "fidelity.weight_clip=all_before_step"
    found = {}
    for name, *more in (("learned",), ("again",), ("clipped", *clips), ("fixed", "hparams.beta_trainable=false")):
        assert call("train", *DIGITS, *EACH, "optimizer.lr=0.5", f"output_dir={tmp_path / name}", *more) == 0
        found[name] = SeedRecord(RunFolder(tmp_path / name).seed(0).folder).read_checkpoint("last")["network"]
    drawn = SpikingNetwork(RunFolder(tmp_path / "learned").load_config(), seed=0).state_dict()
    for number in (0, 1):
        key = f"synapses.{number}.decay"
        assert torch.equal(found["learned"][key], found["again"][key])
        assert torch.equal(found["fixed"][key], drawn[key])
        assert (found["learned"][key] - drawn[key]).abs().max() > 0.5
        assert (found["clipped"][key] - drawn[key]).abs().max() > 0.5
        assert found["clipped"][f"synapses.{number}.weight"].abs().max() <= 0.51
        moved = found["learned"][key].sigmoid()
        assert ((moved > 0) & (moved < 1)).all()
    lines = (RunFolder(tmp_path / "learned").seed(0).folder / "metrics.jsonl").read_text().splitlines()
    metrics = json.loads(lines[-1])
    assert metrics["beta_mean"][1] == pytest.approx(found["learned"]["synapses.1.decay"].sigmoid().mean().item())
    assert len(metrics["beta_std"]) == 2 and min(metrics["beta_std"]) > 0


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("hparams.beta_spread=0.5",), "one beta of the network has no spread"),
        (("hparams.beta_scope=neurons",), "network | layer | neuron"),
        (("hparams.beta_scope=layer", "hparams.beta=1"), "it begins at 0.001 to 0.999"),
        (("hparams.beta_trainable=true", "hparams.beta=0"), "it begins at 0.001 to 0.999"),
        (("hparams.beta_scope=layer", "hparams.beta_spread=-1"), "expected 0 to 2"),
        (("hparams.recurrent_gradient=1.5",), "expected 0 to 1"),
    ],
)
def test_betas_that_cannot_be_are_refused(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words.replace("|", r"\|")):
        compose(["dataset=shd", *overrides])


def test_exports_say_betas_or_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", *BETAS)
    frozen = freeze(run)
    path = tmp_path / "model.safetensors"
    assert call("export", f"run={run}", "golden=0", f"output={path}") == 0
    assert f"{24 + 20 + 24 + 20 + 2} other numbers" in capsys.readouterr().out
    for form, name in (("c", "c"), ("nir", "nir profile=portable")):
        more = ("profile=portable",) if form == "nir" else ("quantize=int8",)
        assert call("export", f"run={run}", f"format={form}", *more) == 1
        assert f"format={name} cannot say betas of single neurons, which layer 1, 2 has" in capsys.readouterr().err
    network, thresholds = load_network(run, 0, "best")
    recorded = golden.record(network, thresholds, some_batch(frozen, 3), frozen.encoding)
    assert cost.count(frozen.layers, recorded.inputs, recorded.spikes)[0].other_bits == 32 * (24 + 1 + 24)
    pytest.importorskip("nirtorch")
    (tmp_path / "model.nir").write_bytes(to_bytes(frozen, None))
    simulated = nir.simulate(tmp_path / "model.nir", frozen, recorded.inputs)
    assert all(np.any(spikes) for spikes in recorded.spikes)
    assert all((one != other).mean() < 1e-3 for one, other in zip(recorded.spikes, simulated, strict=True))
    pytest.importorskip("onnxruntime")
    (tmp_path / "model.onnx").write_bytes(onnx.build(frozen).SerializeToString())
    simulated = onnx.simulate(tmp_path / "model.onnx", frozen, recorded.inputs)
    assert all((one != other).mean() < 1e-3 for one, other in zip(recorded.spikes, simulated, strict=True))


def test_integers_have_the_nearest_leak_of_each_neuron(tmp_path: Path) -> None:
    frozen = freeze(write_run(tmp_path / "run", *BETAS))
    layer = quantize(type(frozen)(**{**vars(frozen), "quantize": "int16"}))[0]
    state = layer.start(1)
    state.membrane_BN[:] = 2**14
    layer.threshold_C[:] = 2**20  # silent
    layer.recurrent_NM = None
    layer.fire(state, np.zeros((1, 24), np.int64))
    kept = [representable(16, float(beta)).beta for beta in np.atleast_1d(frozen.layers[0].beta)]
    assert state.membrane_BN[0] / 2**14 == pytest.approx(kept, abs=2e-4)
    assert len(set(kept)) > 10


def test_betas_of_a_layer_alone_stay_one_number(tmp_path: Path) -> None:
    frozen = freeze(write_run(tmp_path / "run", *SHD, "hparams.beta_scope=layer", "hparams.beta_spread=0.5"))
    assert [layer.beta.size for layer in frozen.layers] == [1, 1] and frozen.layers[0].beta != frozen.layers[1].beta


def test_one_beta_for_all_is_learned_from_all_layers(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert call("train", *DIGITS, "hparams.beta_trainable=true", "optimizer.lr=0.1", f"output_dir={folder}") == 0
    weights = SeedRecord(RunFolder(folder).seed(0).folder).read_checkpoint("last")["network"]
    assert weights["decay"].sigmoid().item() != pytest.approx(RunFolder(folder).load_config().hparams.beta, abs=1e-3)


def test_the_snntorch_loop_refuses_what_it_has_not() -> None:
    for words in ("hparams.beta_scope=layer", "hparams.beta_trainable=true"):
        with pytest.raises(UserError, match="one beta that stays"):
            SnnTorchLoop(SpikingNetwork(compose(["dataset=shd", words]), seed=0))
