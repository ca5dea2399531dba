"""`snntha verify` and `snntha cost` on drawn networks, and golden inputs that cannot be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_runs import DIGITS, DVS, SHD, write_run
from test_predict import call
from test_runtime import some_batch, trained_spikes

from snntha import data as datasets
from snntha import nir
from snntha.config import compose
from snntha.errors import UserError
from snntha.export import cost, golden, onnx
from snntha.export.freeze import freeze, load_network
from snntha.export.nir import build as build_nir
from snntha.export.nir import to_bytes as nir_bytes
from snntha.export.strict import breaches
from snntha.export.verify import compare
from snntha.runtime import packed


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = compose(DIGITS)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    return write_run(tmp_path_factory.mktemp("run") / "run", *DIGITS, fingerprint=data.fingerprint)


@pytest.fixture(scope="module")
def model(run: Path) -> Path:
    path = run / "exports" / "model.safetensors"
    assert call("export", f"run={run}", f"output={path}", "golden=5") == 0
    return path


def test_verify_replays_every_way(run, model, capsys):
    assert call("verify", f"model={model}", f"run={run}", "samples=20") == 0
    printed = capsys.readouterr().out
    for way in ("runtime, numpy", "runtime, kernels", "int16, numpy", "int8, numpy"):
        assert way in printed
    assert "spikes of 5 golden inputs and 20 test samples" in " ".join(printed.split())


def test_verify_tries_only_the_ways_that_are_named(run, model, capsys):
    assert call("verify", f"model={model}", f"run={run}", "samples=5", "ways=kernels") == 0
    printed = capsys.readouterr().out
    assert "runtime, kernels" in printed and "int8" not in printed
    assert call("verify", f"model={model}", f"run={run}", "ways=telepathy") == 1
    assert "ways=telepathy: no way has such a name" in capsys.readouterr().err


def test_verify_fails_where_a_spike_differs(run, model, tmp_path, capsys):
    frozen = freeze(run)
    first, last = frozen.layers
    other = tmp_path / "model.safetensors"
    wrong = replace(first, threshold=np.nextafter(first.threshold, np.float32(0)) - np.float32(0.3))
    other.write_bytes(packed.to_bytes(replace(frozen, layers=(wrong, last))))
    golden.path_beside(other).write_bytes(golden.path_beside(model).read_bytes())
    assert call("verify", f"model={other}", f"run={run}", "samples=5") == 1
    message = capsys.readouterr().err
    assert "runtime, numpy; runtime, kernels" in message and "spikes differ that must be equal" in message


def test_the_first_difference_is_named():
    one = [np.zeros((4, 2, 3), bool), np.zeros((4, 2, 5), bool)]
    other = [spikes.copy() for spikes in one]
    labels = np.array([0, 4])
    assert compare(one, other, labels).first is None
    other[1][2, 1, 4] = other[1][3, 0, 0] = True
    found = compare(one, other, labels)
    assert (found.first, found.differing, found.spikes) == ((2, 3, 4, 1), 2, 64)
    assert (found.classes, found.correct) == (1, 2)
    both = compare(one, one, labels) + found
    assert (both.first, both.samples, both.correct) == ((2, 3, 4, 3), 4, 3)


@pytest.mark.parametrize("case", [DIGITS, DVS])
def test_golden_inputs_come_back(tmp_path, case):
    run = write_run(tmp_path / "run", *case)
    recorded, frozen = trained_spikes(run, some_batch(freeze(run), 3))
    network, thresholds = load_network(run, 0, "best")
    path = tmp_path / "golden.safetensors"
    path.write_bytes(golden.to_bytes(recorded))
    again = golden.read(path, frozen)
    assert all(map(np.array_equal, recorded.spikes, again.spikes))
    assert all(
        map(np.array_equal, recorded.spikes, golden.spikes_of(network, thresholds, golden.to_torch(again.inputs)))
    )
    content = path.read_bytes()
    for bad in (content[:-1], content[:40], b"", content.replace(b"I64", b"I32")):
        path.write_bytes(bad)
        with pytest.raises(UserError, match="does not hold golden inputs of this network"):
            golden.read(path, frozen)
    with pytest.raises(UserError, match="is missing: snntha export writes it"):
        golden.read(tmp_path / "nothing", frozen)


def test_operations_are_those_of_a_count_by_hand(tmp_path):
    """Every event reaches as many weights as a convolution of ones delivers."""
    frozen = freeze(write_run(tmp_path / "run", *DVS))
    layer = frozen.layers[0]
    ones = torch.ones(1, 2, 32, 32, requires_grad=True)
    current = torch.nn.functional.avg_pool2d(torch.nn.functional.conv2d(ones, torch.ones(4, 2, 5, 5)), 2) * 4
    current.sum().backward()
    assert ones.grad is not None
    assert cost.reach(layer).tolist() == ones.grad.flatten().tolist()


def test_cost_of_a_run(run, capsys):
    assert call("cost", f"run={run}", "samples=10") == 0
    printed = capsys.readouterr().out
    assert "means of 10 test samples" in printed and "99.8 pJ" in printed


@pytest.mark.parametrize("case", [DIGITS, DVS, SHD])
def test_simulators_give_the_same_spikes(tmp_path, case):
    """NIR exact through nirtorch, NIR portable through snnTorch with its reset put back, ONNX through onnxruntime."""
    for package in ("nirtorch", "onnxruntime"):
        pytest.importorskip(package)
    run = write_run(tmp_path / "run", *case)
    recorded, frozen = trained_spikes(run, some_batch(freeze(run), 3))
    for words in (("format=nir",), ("format=nir", "profile=portable"), ("format=onnx",)):
        path = tmp_path / "file"
        assert call("export", f"run={run}", *words, f"output={path}") == 0
        simulator = nir if "format=nir" in words else onnx
        own = simulator.simulate(path, frozen, recorded.inputs)
        for trained, simulated in zip(recorded.spikes, own, strict=True):
            assert trained.any() and (trained != simulated).mean() < 1e-3
    assert call("export", f"run={run}", "format=onnx", "quantize=int8") == 1


def test_a_nir_file_says_what_nir_cannot(tmp_path):
    pytest.importorskip("nir")
    frozen = freeze(write_run(tmp_path / "run", *SHD))
    (tmp_path / "file.nir").write_bytes(nir_bytes(frozen, "snntorch"))
    graph = nir.read(tmp_path / "file.nir")
    assert set(graph.nodes) == {"input", "0_weight", "0_lif", "1_weight", "1_lif", "output"}
    assert set(np.unique(graph.nodes["0_weight"].weight)) == {-1, 1}
    assert np.float32(1 - nir.DT / graph.nodes["0_lif"].tau[0]) == frozen.layers[0].beta
    never = tuple(replace(layer, beta=np.float32(1)) for layer in frozen.layers)
    with pytest.raises(UserError, match="beta is 1"):
        build_nir(replace(frozen, layers=never), None)


def test_strictness_is_checked_on_the_numbers(tmp_path, capsys):
    digits, shd = (write_run(tmp_path / name, *case) for name, case in (("digits", DIGITS), ("shd", SHD)))
    assert call("export", f"run={digits}", "golden=0", "strict=weights") == 0
    assert "strict: weights; not thresholds, multiplier_free" in capsys.readouterr().out
    assert call("export", f"run={digits}", "golden=0", "strict=thresholds") == 1
    assert "layer 1 (conv) has BatchNorm scales that need a threshold for each channel" in capsys.readouterr().err
    assert call("export", f"run={shd}", "golden=0", "strict=thresholds") == 0
    assert call("export", f"run={shd}", "golden=0", "strict=multiplier_free") == 1
    assert "layer 2 (dense) has beta 0.95, which is not 1 minus 3 powers of two" in capsys.readouterr().err
    halves = tuple(replace(layer, beta=np.float32(0.5)) for layer in freeze(shd).layers)
    assert not any(breaches(replace(freeze(shd), layers=halves)).values())
