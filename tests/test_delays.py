"""Delays: what they mean, their gradient, how they are trained, stored and refused. Parity is in test_kernels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_runs import DELAYS, write_run
from test_predict import call
from test_runtime import some_batch

from snntha import nir
from snntha.config import compose
from snntha.delays import whole_delays
from snntha.errors import UserError
from snntha.export import cost, golden
from snntha.export.freeze import freeze, load_network
from snntha.export.nir import to_bytes
from snntha.folder import RunFolder
from snntha.kernels import reference
from snntha.network import SpikingNetwork
from snntha.records import SeedRecord
from snntha.runtime import packed

DIGITS = ("dataset=digits", "model.topology=4Conv3-AP2-36Dense10", "dataset.limit=60", "epochs=1", "plots=false")

ONE_LAYER = ("model.topology=784Dense10", "hparams.dropout=[]", "hparams.batch_norm=false") + tuple(
    f"hparams.threshold.{key}=[1.0]" for key in ("start", "rise", "rate")
)


def test_an_event_arrives_so_many_steps_later() -> None:
    spikes_TBI = torch.zeros(5, 1, 3)
    spikes_TBI[1, 0, 0] = spikes_TBI[1, 0, 1] = spikes_TBI[3, 0, 2] = 1
    arrived_TBI = reference.delayed(spikes_TBI, torch.tensor([0.0, 2.0, 2.0]))
    assert arrived_TBI.nonzero().tolist() == [[1, 0, 0], [3, 0, 1]]  # the last one would come after the end


def test_the_gradient_of_a_delay_is_that_of_moving_its_arrivals() -> None:
    """Of a loss sum over t of z_t t^2, whose slope at an arrival is 2 t."""
    spikes_TBI = (torch.rand(12, 3, 4, generator=torch.Generator().manual_seed(0)) < 0.3).float()
    spikes_TBI[0] = spikes_TBI[8:] = 0  # with the longest delay all arrive with a step before and behind
    spikes_TBI.requires_grad_()
    delay_I = torch.tensor([0.0, 1.0, 2.0, 3.0], requires_grad=True)
    arrived_TBI = reference.delayed(spikes_TBI, delay_I)
    square_T = torch.arange(12.0) ** 2
    (arrived_TBI * square_T[:, None, None]).sum().backward()
    assert delay_I.grad is not None and spikes_TBI.grad is not None
    expected_I = (arrived_TBI.detach() * 2 * torch.arange(12.0)[:, None, None]).sum((0, 1))
    torch.testing.assert_close(delay_I.grad, expected_I)
    assert torch.equal(spikes_TBI.grad[5], ((5 + delay_I.detach()) ** 2).expand(3, 4))


def test_delays_are_whole_and_learn_through_the_rounding() -> None:
    share = torch.tensor([0.0, 0.26, 0.5, 1.0], requires_grad=True)
    steps = whole_delays(share, 7)
    assert steps.tolist() == [0.0, 2.0, 4.0, 7.0]
    steps.sum().backward()
    assert share.grad is not None and share.grad.tolist() == [7.0] * 4


def test_weights_begin_as_without_delays() -> None:
    plain = SpikingNetwork(compose(["dataset=shd"]), seed=3).state_dict()
    late = SpikingNetwork(compose(["dataset=shd", "hparams.delays=[31,0]"]), seed=3).state_dict()
    assert late.keys() - plain.keys() == {"synapses.0.delay"}
    assert all(torch.equal(late[name], plain[name]) for name in plain)


def test_training_moves_delays_inside_their_range(tmp_path: Path) -> None:
    for name, *more in (("learned",), ("fixed", "hparams.delays_trainable=false"), ("again",)):
        folder = f"output_dir={tmp_path / name}"
        assert call("train", *DIGITS, "hparams.delays=[5]", "optimizer.lr=0.3", folder, *more) == 0
    delays = {}
    for name in ("learned", "fixed", "again"):
        record = RunFolder(tmp_path / name)
        network = SeedRecord(record.seed(0).folder).read_checkpoint("last")["network"]
        delays[name] = network["synapses.1.delay"]
    drawn = SpikingNetwork(RunFolder(tmp_path / "learned").load_config(), seed=0).state_dict()["synapses.1.delay"]
    assert torch.equal(delays["fixed"], drawn) and not torch.equal(delays["learned"], drawn)
    assert torch.equal(delays["learned"], delays["again"])
    assert ((delays["learned"] >= 0) & (delays["learned"] <= 1)).all()
    without = compose(DIGITS)
    bits = sum(spec.footprint_bits for spec in SpikingNetwork(without, seed=0).specs)
    assert RunFolder(tmp_path / "learned").summary["footprint_bits"] == bits + 36 * 3


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (("dataset=shd", "hparams.delays=[64,0]"), "whole steps, 0 to 63"),
        (("dataset=shd", "hparams.delays=[-1,0]"), "whole steps, 0 to 63"),
        (("dataset=shd", "hparams.delays=[3]"), "pass one entry per dense layer"),
        (("dataset=mnist", *ONE_LAYER, "hparams.delays=[3]"), "the same at every step"),
    ],
)
def test_delays_that_cannot_be_are_refused(overrides: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        compose(overrides)


def test_exports_say_delays_or_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", *DELAYS)
    frozen = freeze(run)
    path = tmp_path / "model.safetensors"
    assert call("export", f"run={run}", "golden=0", f"output={path}") == 0
    assert f"delays in {700 * 4 + 24 * 3:,} bits" in capsys.readouterr().out
    content = path.read_bytes()
    path.write_bytes(content.replace(b"[4, 3]", b"[4, 9]"))
    with pytest.raises(UserError, match="expected for each layer a number from 0 to 6"):
        packed.read(path)
    for form, name in (("c", "c"), ("onnx", "onnx"), ("nir", "nir profile=portable")):
        profile = ("profile=portable",) if form == "nir" else ()
        assert call("export", f"run={run}", f"format={form}", *profile) == 1
        assert f"format={name} cannot say delays, which layer 1, 2 has" in capsys.readouterr().err
    network, thresholds = load_network(run, 0, "best")
    recorded = golden.record(network, thresholds, some_batch(frozen, 3), frozen.encoding)
    counted = cost.count(frozen.layers, recorded.inputs, recorded.spikes)
    assert counted[0].other_bits == 32 * (2 + 24) + 700 * 4
    layer = network.layers(thresholds)[1]
    spikes_TBN = torch.from_numpy(recorded.spikes[0]).float()
    assert layer.delay_I is not None
    assert counted[1].effective == reference.delayed(spikes_TBN, layer.delay_I).sum().item() * 20 / 3
    pytest.importorskip("nirtorch")
    (tmp_path / "model.nir").write_bytes(to_bytes(frozen, None))
    simulated = nir.simulate(tmp_path / "model.nir", frozen, recorded.inputs)
    assert all((own != other).mean() < 1e-3 for own, other in zip(recorded.spikes, simulated, strict=True))
    assert all(np.any(spikes) for spikes in recorded.spikes)
