"""TensorBoard holds what metrics.jsonl holds."""

import sys

import pytest

from snntha.config import compose
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.logger import open_log, require, scalars
from snntha.run import run

METRICS = {
    "epoch": 1,
    "train_loss": 2.0,
    "train_accuracy": None,
    "selection": "test",
    "firing_rate": [0.1, 0.2],
    "warnings": [],
}


def test_names_are_those_of_the_record_and_lists_are_layers():
    assert dict(scalars(METRICS)) == {"train_loss": 2.0, "firing_rate/layer_1": 0.1, "firing_rate/layer_2": 0.2}


def events_of(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_training_writes_both(tmp_path):
    pytest.importorskip("tensorboard")
    run(compose(["debug=smoke", "backend=reference", "epochs=2", "logger=tensorboard", f"output_dir={tmp_path}/run"]))
    seed = RunFolder(tmp_path / "run").seed(0)
    events = events_of(seed.folder / "tensorboard")
    for metrics in seed.metrics:
        for name, value in scalars(metrics):
            assert (metrics["epoch"], pytest.approx(value)) in events[name]
    assert "thresholds/layer_2" in events


def test_a_resumed_trial_replaces_the_epochs_it_repeats(tmp_path):
    pytest.importorskip("tensorboard")
    first, second = open_log("tensorboard", tmp_path), open_log("tensorboard", tmp_path)
    for epoch in (1, 2, 3):
        first({"epoch": epoch, "train_loss": 1.0})
    second({"epoch": 3, "train_loss": 7.0})
    assert events_of(tmp_path / "tensorboard")["train_loss"] == [(1, 1.0), (2, 1.0), (3, 7.0)]


def test_no_logger_writes_nothing(tmp_path):
    assert open_log("none", tmp_path) is None


def test_missing_package_is_told_before_training(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'snntha\[tensorboard\]'"):
        run(compose(["debug=smoke", "logger=tensorboard", f"output_dir={tmp_path}/run"]))
    assert not (tmp_path / "run").exists()
    require("none")
