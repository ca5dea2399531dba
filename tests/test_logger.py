"""TensorBoard holds what metrics.jsonl holds."""

import os
import subprocess
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
    assert events["result/test_accuracy"][0][1] == pytest.approx(seed.entry["test_accuracy"])


def test_the_hparams_table_has_a_row_of_a_seed_that_ended(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    log = open_log("tensorboard", tmp_path, {"hparams": {"beta": 0.9, "dropout": [0.5]}, "patience": None})
    log.epoch({"epoch": 1, "train_loss": 1.0})
    log.finish({"seed": 3, "test_accuracy": 71.5})
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    contents = events.PluginTagToContent("hparams").values()
    assert any(b"hparams.beta" in content for content in contents)
    assert any(b"result/test_accuracy" in content for content in contents)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # MLflow's own, of what it asks SQLAlchemy for
@pytest.mark.parametrize("logger", ["mlflow", "wandb"])
def test_training_logs_offline_through_the_library_itself(tmp_path, logger):
    """In a process of its own: these libraries warn of what is not ours, and start helpers."""
    pytest.importorskip(logger)
    overrides = ["debug=smoke", "backend=reference", "epochs=2", f"logger={logger}", f"output_dir={tmp_path}/run"]
    places = {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/mlflow.db", "WANDB_MODE": "offline"}
    command = [sys.executable, "-m", "snntha", "train", *overrides]
    subprocess.run(command, env={**os.environ, **places}, cwd=tmp_path, check=True)
    metrics = RunFolder(tmp_path / "run").seed(0).metrics
    if logger == "wandb":
        assert list((tmp_path / "run/trial_0/wandb").glob("offline-run-*/*.wandb"))
        return
    os.environ.setdefault("MLFLOW_TRACKING_URI", places["MLFLOW_TRACKING_URI"])
    from mlflow.tracking import MlflowClient

    client = MlflowClient(places["MLFLOW_TRACKING_URI"])
    run_id = (tmp_path / "run/trial_0/mlflow_run_id").read_text()
    logged = [(point.step, point.value) for point in client.get_metric_history(run_id, "train_loss")]
    assert logged == [(line["epoch"], line["train_loss"]) for line in metrics]
    assert client.get_run(run_id).data.params["hparams.beta"] == "0.9"


def test_a_resumed_trial_replaces_the_epochs_it_repeats(tmp_path):
    pytest.importorskip("tensorboard")
    first, second = (open_log("tensorboard", tmp_path, {}) for _ in range(2))
    for epoch in (1, 2, 3):
        first.epoch({"epoch": epoch, "train_loss": 1.0})
    second.epoch({"epoch": 3, "train_loss": 7.0})
    assert events_of(tmp_path / "tensorboard")["train_loss"] == [(1, 1.0), (2, 1.0), (3, 7.0)]


def test_no_logger_writes_nothing(tmp_path):
    assert open_log("none", tmp_path, {}) is None


def test_missing_package_is_told_before_training(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'snntha\[tensorboard\]'"):
        run(compose(["debug=smoke", "logger=tensorboard", f"output_dir={tmp_path}/run"]))
    assert not (tmp_path / "run").exists()
    require("none")
