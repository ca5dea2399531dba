"""`snntha verify` and `snntha cost` on drawn networks, and golden inputs that cannot be."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_runs import DIGITS, DVS, write_run
from test_predict import call
from test_runtime import some_batch

from snntha import data as datasets
from snntha.config import compose
from snntha.errors import UserError
from snntha.export import cost, golden
from snntha.export.freeze import freeze, load_network
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
    assert "accuracy of 20 samples" in printed


def test_verify_fails_where_a_spike_differs(run, model, tmp_path, capsys):
    frozen = freeze(run)
    first, last = frozen.layers
    other = tmp_path / "model.safetensors"
    wrong = replace(first, threshold=np.nextafter(first.threshold, np.float32(0)) - np.float32(0.3))
    other.write_bytes(packed.to_bytes(replace(frozen, layers=(wrong, last))))
    golden.path_beside(other).write_bytes(golden.path_beside(model).read_bytes())
    assert call("verify", f"model={other}", f"run={run}", "samples=5") == 1
    assert "runtime, numpy, runtime, kernels: spikes differ that must be equal" in capsys.readouterr().err


def test_the_first_difference_is_named():
    one = [np.zeros((4, 2, 3), bool), np.zeros((4, 2, 5), bool)]
    other = [spikes.copy() for spikes in one]
    assert compare(one, other).first is None
    other[1][2, 1, 4] = other[1][3, 0, 0] = True
    found = compare(one, other)
    assert (found.first, found.differing, found.spikes) == ((2, 3, 4, 1), 2, 64)


@pytest.mark.parametrize("case", [DIGITS, DVS])
def test_golden_inputs_come_back(tmp_path, case):
    run = write_run(tmp_path / "run", *case)
    network, thresholds = load_network(run, 0, "best")
    frozen = freeze(run)
    recorded = golden.record(network, thresholds, some_batch(frozen, 3), frozen.encoding)
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
