"""import snntha: what it costs, what it offers, and a run's network as a model."""

import doctest
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from frozen_runs import DIGITS, DVS, SHD, write_run

import snntha
from snntha import data as datasets
from snntha.data import digits
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.records import SeedRecord
from snntha.run import SpikingNetwork
from snntha.train import evaluate

DOCS = Path(__file__).parents[1] / "docs"


@pytest.fixture(scope="module")
def digits_run(tmp_path_factory: pytest.TempPathFactory):
    return write_run(tmp_path_factory.mktemp("runs") / "digits", *DIGITS)


def test_importing_is_cheap_and_what_is_promised_is_there():
    code = (
        "import sys, snntha; print(snntha.__version__, sorted(snntha.__all__), "
        "*({'torch', 'numpy', 'hydra', 'omegaconf', 'rich'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == f"{snntha.__version__} ['__version__', 'compose', 'fit', 'load', 'nn']\n"
    assert all(getattr(snntha, name) for name in snntha.__all__) and set(snntha.__all__) <= set(dir(snntha))
    with pytest.raises(AttributeError, match="nothing_such"):
        _ = snntha.nothing_such


def test_a_runs_network_answers_as_trainings_evaluation(digits_run):
    config = RunFolder(digits_run).load_config()
    network = SpikingNetwork(config, seed=0)
    thresholds = SeedRecord(digits_run / "trial_0").load_checkpoint("best", network).thresholds
    test = datasets.load(config.dataset, selection="test", seed=0).test
    assert test is not None
    expected = evaluate(network, test, thresholds)
    model, images = snntha.load(digits_run), digits.read()[1]
    pictures, labels = images.images_BHW, images.labels
    assert model.thresholds == pytest.approx(thresholds)
    assert model.accuracy(pictures, labels) == pytest.approx(expected.accuracy)
    tensors = torch.from_numpy(pictures / 16).float().unsqueeze(1)
    assert model.accuracy(tensors, torch.from_numpy(labels)) == model.accuracy(pictures, labels)
    assert model.predict(tensors[:9]).tolist() == [answer.label for answer in model(pictures[:9])]
    spikes = model.spikes(pictures)
    assert [layer.shape for layer in spikes] == [(12, len(pictures), spec.neurons) for spec in network.specs]
    for layer, count_N in zip(spikes, expected.spike_count_N, strict=True):
        assert np.array_equal(layer.sum((0, 1)), (count_N * len(pictures)).round())


@pytest.mark.parametrize("overrides", [SHD, DVS], ids=["channels", "pixels"])
def test_recordings_are_answered_one_by_one_and_together(overrides, tmp_path):
    model = snntha.load(write_run(tmp_path / "run", *overrides))
    rng = np.random.default_rng(0)
    high = (1, 700) if overrides is SHD else (128, 128, 2, 70)
    recordings = [rng.integers(0, high, (1500, len(high))).astype(float) for _ in range(6)]
    if overrides is SHD:
        recordings = [recording * (0.0, 1) + rng.uniform(0, 0.05, (1500, 1)) * (1, 0) for recording in recordings]
    together = model.predict(recordings)
    tensors = [torch.from_numpy(recording) for recording in recordings]
    assert [int(model.predict(tensor)[0]) for tensor in tensors] == together.tolist()
    assert model.spikes(recordings)[-1].sum() == sum(sum(answer.counts) for answer in model(recordings)) > 0


def test_a_mistake_says_what_was_expected(digits_run, tmp_path):
    with pytest.raises(UserError, match="expected one for each"):
        snntha.load(digits_run).accuracy(np.zeros((3, 8, 8), np.uint8), [1, 2])
    with pytest.raises(UserError, match="not the folder of a run"):
        snntha.load(tmp_path)


def test_fitting_returns_the_folder_of_the_run(tmp_path):
    folder = snntha.fit("debug=smoke", f"output_dir={tmp_path / 'run'}", "dataset.time_steps=5", "backend=reference")
    assert folder == tmp_path / "run" and RunFolder(folder).entries[0]["epochs"] == 1


def test_the_examples_of_the_document_are_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(DOCS / "library.md"), module_relative=False)
    assert not failed and tried > 15


@pytest.mark.parametrize("name", ["digits", pytest.param("inside", marks=pytest.mark.slow)])
def test_notebooks_run_from_top_to_bottom(name, tmp_path, monkeypatch):
    """Their cells are plain Python: they run here one after the other in one namespace, as in a kernel."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "agg")
    cells = json.loads((DOCS / "notebooks" / f"{name}.ipynb").read_text())["cells"]
    found: dict[str, Any] = {}
    for number, cell in enumerate(cell for cell in cells if cell["cell_type"] == "code"):
        assert not cell["outputs"], "a notebook is kept without its outputs"
        exec(compile("".join(cell["source"]), f"{name}.ipynb, code cell {number}", "exec"), found)
    if name == "digits":
        assert found["accuracy"] > 60 and found["confusion"].sum() == len(found["labels"])
    else:
        assert found["fired"].sum() > 2 and len(found["epochs"]) == 2
