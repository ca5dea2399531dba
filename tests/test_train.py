"""Training runs end to end on the bundled digits: records, determinism, resume after a kill, Ctrl-C, failures."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snntha import data as datasets
from snntha import run as runs
from snntha.config import compose, from_yaml
from snntha.diagnostics import layer_warnings, silenced_by_threshold
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.kernels import reference
from snntha.network import SpikingNetwork
from snntha.neuron import Neuron
from snntha.records import Run, SeedRecord
from snntha.run import evaluate_run
from snntha.threshold import survives_update

TINY = [
    "backend=reference",
    "debug=smoke",
    "dataset.limit=48",
    "model.topology=4Conv3-AP2-36Dense10",
    "dataset.time_steps=10",
]
METRICS = {
    "epoch", "iteration", "train_loss", "train_accuracy", "validation_accuracy", "learning_rate", "seconds",
    "thresholds", "firing_rate", "dead_fraction",
}  # fmt: skip


def train(folder: Path, *overrides: str) -> RunFolder:
    runs.run(compose([*TINY, f"output_dir={folder}", *overrides]))
    return RunFolder(folder)


def start(*arguments: str) -> subprocess.Popen:
    """`snntha train` as a process of its own, which a signal may hit."""
    return subprocess.Popen(
        [sys.executable, "-c", "import sys; from snntha.cli import main; sys.exit(main())", "train", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for it, and return what it printed."""
    with process:
        output, _ = process.communicate(timeout=100)
    return output


def resume(folder: Path, *changes: str) -> None:
    process = start(f"resume={folder}", *changes)
    output = finish(process)
    assert process.returncode == 0, output


def results(record: RunFolder) -> list[dict]:
    """Summary and metrics without what a clock wrote."""
    entries = [{key: value for key, value in entry.items() if key != "seconds"} for entry in record.entries]
    for seed in record.seeds:
        for metrics in seed.metrics:
            entries.append({key: value for key, value in metrics.items() if key != "seconds"})
    return entries


def weights(record: RunFolder, which: str = "last", seed: int = 0) -> dict[str, torch.Tensor]:
    return SeedRecord(record.seed(seed).folder).read_checkpoint(which)["network"]


def test_a_run_is_a_folder_a_stranger_can_read(tmp_path: Path) -> None:
    record = train(tmp_path / "run", "epochs=2", "trials=2", "seed=7")
    summary = record.summary
    assert (summary["dataset"], summary["mode"], summary["fidelity"]) == ("digits", "annealed", "paper")
    assert summary["selection"] == "validation"
    assert [seed["seed"] for seed in summary["trials"]] == [7, 8]
    accuracies = [seed["test_accuracy"] for seed in summary["trials"]]
    assert summary["test_accuracy"]["mean"] == pytest.approx(sum(accuracies) / 2)
    assert summary["test_accuracy"]["std"] == pytest.approx(abs(accuracies[0] - accuracies[1]) / math.sqrt(2))
    # 36 + 360 binary weights; BatchNorm scale and shift of 4 channels, 10 biases and 2 thresholds as floats
    assert summary["footprint_bits"] == 396 + 32 * (8 + 10 + 2)
    for number in (0, 1):
        lines = record.seed(number).metrics
        assert [line["epoch"] for line in lines] == [1, 2]
        assert all(line.keys() >= METRICS for line in lines)
        assert lines[1]["iteration"] == 2 * 6
    assert record.environment["versions"]["torch"] == torch.__version__.split("+")[0]
    assert len(record.environment["data_fingerprint"]) >= 16
    assert record.load_config() == from_yaml(tmp_path / "run" / "config.yaml")


def test_sign_flips_are_those_between_two_epochs(tmp_path: Path) -> None:
    record = train(tmp_path / "run", "epochs=1", "optimizer.lr=0.02")
    before = SpikingNetwork(record.load_config(), seed=0).state_dict()
    after, (line,) = weights(record), record.seed(0).metrics
    for number, share in enumerate(line["sign_flips"]):
        name = f"synapses.{number}.weight"
        assert 0 < share == ((before[name] >= 0) != (after[name] >= 0)).double().mean().item()
    floats = train(tmp_path / "floats", "mode=flt32", "hparams=digits_flt32", "epochs=1")
    assert "sign_flips" not in floats.seed(0).metrics[0]


def test_thresholds_follow_eq_4_once_per_minibatch(tmp_path: Path) -> None:
    overrides = (
        "hparams.threshold.start=[2.0,3.0]",
        "hparams.threshold.rise=[4.0,1.0]",
        "hparams.threshold.rate=[0.1,0.02]",
    )
    record = train(tmp_path / "run", "epochs=3", *overrides)
    for line in record.seed(0).metrics:
        updates = line["iteration"]
        expected = [2 + 4 * (1 - 0.9**updates), 3 + 1 * (1 - 0.98**updates)]
        assert line["thresholds"] == pytest.approx(expected, rel=1e-9)


def test_same_seed_same_bits_other_seed_other_weights(tmp_path: Path) -> None:
    first, second = train(tmp_path / "a", "epochs=2"), train(tmp_path / "b", "epochs=2")
    other = train(tmp_path / "c", "epochs=2", "seed=1")
    assert results(first) == results(second)
    assert all(torch.equal(tensor, weights(second)[name]) for name, tensor in weights(first).items())
    assert not torch.equal(weights(first)["synapses.0.weight"], weights(other)["synapses.0.weight"])


def test_both_backends_train_alike(tmp_path: Path) -> None:
    """Equal spikes while rounding has not moved a weight across zero, the same accuracy within noise at the end."""
    reference = train(tmp_path / "reference", "epochs=8", "dataset.limit=400")
    numba = train(tmp_path / "numba", "epochs=8", "dataset.limit=400", "backend=numba")
    first, *_, last = reference.seed(0).metrics
    numba_first, *_, numba_last = numba.seed(0).metrics
    assert numba_first["firing_rate"] == first["firing_rate"]
    assert numba_first["train_loss"] == pytest.approx(first["train_loss"], rel=1e-5)
    assert abs(numba_last["train_accuracy"] - last["train_accuracy"]) < 5


@pytest.mark.parametrize("seed, trials", [("same", [3, 3]), ("seed_plus_trial", [3, 4])])
def test_trial_seeds(tmp_path: Path, seed: str, trials: list[int]) -> None:
    record = train(tmp_path / "run", "trials=2", "seed=3", f"fidelity.trial_seed={seed}")
    assert [entry["seed"] for entry in record.summary["trials"]] == trials
    same = torch.equal(weights(record)["synapses.0.weight"], weights(record, seed=1)["synapses.0.weight"])
    assert same == (seed == "same")


def test_selection_on_the_test_set_is_said(tmp_path: Path) -> None:
    record = train(tmp_path / "run", "fidelity=code")
    assert record.summary["selection"] == "test"
    (trial,) = record.summary["trials"]
    assert trial["validation_accuracy"] == trial["test_accuracy"]


def test_early_stopping_and_best_epoch(tmp_path: Path) -> None:
    record = train(tmp_path / "run", "epochs=40", "patience=2", "optimizer.lr=1e-9")
    lines = record.seed(0).metrics
    scores = [line["validation_accuracy"] for line in lines]
    best = record.summary["trials"][0]["best_epoch"]
    assert best == scores.index(max(scores)) + 1
    assert len(lines) == best + 2 < 40


def test_overfit_fits_a_handful_of_samples(tmp_path: Path) -> None:
    runs.run(compose(["backend=reference", "debug=overfit", f"output_dir={tmp_path / 'run'}"]))
    *_, last = RunFolder(tmp_path / "run").seed(0).metrics
    assert last["train_accuracy"] == 100.0


INTERRUPTED = ("epochs=4", "trials=2", "dataset.limit=200", "hparams.dropout=[0.3]", "hparams.grad_clip=1.0")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run of the interruption tests, left alone."""
    return train(tmp_path_factory.mktemp("whole") / "run", *INTERRUPTED)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT], ids=["kill", "ctrl-c"])
def test_an_interrupted_run_ends_bit_for_bit_where_a_whole_one_does(
    tmp_path: Path, whole: RunFolder, number: signal.Signals
) -> None:
    process = start(*TINY, *INTERRUPTED, f"output_dir={tmp_path / 'cut'}")
    deadline = time.monotonic() + 60
    lines = tmp_path / "cut/trial_0/metrics.jsonl"
    while (not lines.exists() or lines.read_text().count("\n") < 2) and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    output = finish(process)
    assert not (tmp_path / "cut/summary.json").exists(), "the run was over before the signal came"
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert f"snntha train resume={tmp_path / 'cut'}" in output.replace("\n", "")
        position = SeedRecord(tmp_path / "cut/trial_0").read_checkpoint("last")["progress"]
        assert position["epoch"] >= 2

    resume(tmp_path / "cut")
    cut = RunFolder(tmp_path / "cut")
    assert results(cut) == results(whole)
    for seed in (0, 1):
        for which in ("last", "best"):
            resumed = weights(cut, which, seed)
            assert all(torch.equal(tensor, resumed[name]) for name, tensor in weights(whole, which, seed).items())


def test_a_finished_run_can_be_given_more_epochs(tmp_path: Path) -> None:
    whole = train(tmp_path / "whole", "epochs=4")
    train(tmp_path / "cut", "epochs=2")
    resume(tmp_path / "cut", "epochs=4")
    assert results(RunFolder(tmp_path / "cut")) == results(whole)
    assert RunFolder(tmp_path / "cut").load_config().epochs == 4
    (again,) = RunFolder(tmp_path / "cut").environment["resumed"]
    assert again.keys() == RunFolder(tmp_path / "whole").environment.keys()


def test_resume_refuses_changed_data_and_strange_folders(tmp_path: Path) -> None:
    record = train(tmp_path / "run")
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    environment["data_fingerprint"] = "0" * 32
    (tmp_path / "run" / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(UserError, match="the data have changed"):
        runs.run(record.load_config(), resume=tmp_path / "run")
    with pytest.raises(UserError, match="the data have changed"):
        evaluate_run(tmp_path / "run", trial=0, checkpoint="best")
    with pytest.raises(UserError, match="config.yaml is missing"):
        Run.open(tmp_path, "0" * 32)
    with pytest.raises(UserError, match="already holds a run"):
        train(tmp_path / "run")


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="output_dir=.*cannot be written: Not a directory"):
        train(tmp_path / "file" / "run")


def test_one_process_at_a_time_trains_in_a_folder(tmp_path: Path) -> None:
    record = train(tmp_path / "run")
    with Run(record.folder).lock(), pytest.raises(UserError, match="another process trains in it"):
        runs.run(record.load_config(), resume=tmp_path / "run")
    assert "resumed" not in record.environment, "the other one's record stays as it is"
    runs.run(record.load_config(), resume=tmp_path / "run")


@pytest.mark.parametrize("content", [b"", b"garbage"])
def test_a_damaged_checkpoint_is_named(content: bytes, tmp_path: Path) -> None:
    path = train(tmp_path / "run").seed(0).checkpoint_path("best")
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"{path} is damaged: "):
        evaluate_run(tmp_path / "run", trial=0, checkpoint="best")


def test_a_loss_that_is_not_finite_in_evaluation_fails_the_seed(tmp_path: Path) -> None:
    overrides = ["dataset=temporal_coding", "mode=flt32", "optimizer.lr=1e30", "epochs=1", "backend=reference"]
    outcome = runs.run(compose([*overrides, "trials=2", "plots=false", f"output_dir={tmp_path / 'run'}"]))
    with pytest.raises(UserError, match="2 of 2 seeds failed: NaN or Inf at epoch 1"):
        _ = outcome.score


def test_without_other_samples_the_record_says_selection_on_training(tmp_path: Path) -> None:
    overrides = ["dataset=temporal_coding", "model.topology=100Dense9Dense1", "epochs=1", "backend=reference"]
    runs.run(compose([*overrides, "plots=false", f"output_dir={tmp_path / 'run'}"]))
    record = RunFolder(tmp_path / "run")
    assert record.summary["selection"] == "training"
    assert record.seed(0).metrics[0]["selection"] == "training"


def test_nan_stops_the_seed_and_names_epoch_iteration_and_layer(tmp_path: Path) -> None:
    run = train(tmp_path / "run", "mode=flt32", "optimizer.lr=1e38", "hparams.threshold.rise=[0.0,0.0]")
    assert run.state == "failed"
    summary = run.summary
    assert "epoch 1, iteration" in summary["trials"][0]["failed"]
    assert "of layer" in summary["trials"][0]["failed"]
    assert summary["test_accuracy"] == {"best": None, "mean": None, "std": None}


def test_a_silent_layer_is_named_once_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rise = "hparams.threshold.rise=[0.0,0.0]"
    train(tmp_path / "run", "hparams.threshold.start=[500.0,1.0]", rise, "epochs=2")
    for line in RunFolder(tmp_path / "run").seed(0).metrics:
        assert line["warnings"][0].startswith("layer 1 of 2 (conv, 36 neurons) is silent")
        assert line["firing_rate"][0] == 0 and line["dead_fraction"][0] == 1
    printed = " ".join(capsys.readouterr().out.split())
    assert printed.count("layer 1 of 2 (conv, 36 neurons) is silent") == 1, "said once a trial, not every epoch"
    assert "lower hparams.threshold.start.0 or hparams.threshold.rise.0" in printed


def test_a_saturated_layer_is_named_with_the_remedy() -> None:
    network = SpikingNetwork(compose(TINY), seed=0)
    assert layer_warnings(network.specs, [0.2, 0.97]) == [
        "layer 2 of 2 (dense, 10 neurons) is saturated: 0.97 spikes per neuron and step; "
        "raise hparams.threshold.start.1 or lower hparams.beta"
    ]


def test_eval_repeats_the_recorded_test_accuracy(tmp_path: Path) -> None:
    from rich.console import Console

    record = train(tmp_path / "run", "epochs=2")
    console = Console(width=100, record=True, file=open(os.devnull, "w"))
    with console.file:
        console.print(evaluate_run(tmp_path / "run", trial=0, checkpoint="best"))
    assert f"test accuracy {record.summary['trials'][0]['test_accuracy']:.2f} %" in console.export_text()
    with pytest.raises(UserError, match="trial=3: the run in .* has 1 seed, counted from 0"):
        evaluate_run(tmp_path / "run", trial=3, checkpoint="best")


def test_a_checkpoint_that_does_not_fit_says_what_differs(tmp_path: Path) -> None:
    record = train(tmp_path / "run")
    config = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(config.replace("4Conv3-AP2-36Dense10", "8Conv3-AP2-72Dense10"))
    with pytest.raises(UserError, match=r"synapses.0.weight has shape \(4, 1, 3, 3\), expected \(8, 1, 3, 3\)"):
        evaluate_run(record.folder, trial=0, checkpoint="best")


@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_silenced_is_what_one_layers_new_threshold_alone_stops(backend: str) -> None:
    config = compose(["hparams.batch_norm=false", f"backend={backend}", "dataset.limit=16"])
    network = SpikingNetwork(config, seed=0)
    batch = datasets.load(config.dataset, selection="validation", seed=0).train.batch(torch.arange(8))
    before, after = [0.5, 2.0], [3.0, 12.0]
    first, second = (network.eval()(batch.inputs, thresholds).layers for thresholds in (before, [0.5, 12.0]))
    fired = [layer.spike_count_N > 0 for layer in first]
    still = [network(batch.inputs, [3.0, 2.0]).layers[0].spike_count_N > 0, second[1].spike_count_N > 0]
    expected = [(was & ~is_).double().mean().item() for was, is_ in zip(fired, still, strict=True)]
    shares = silenced_by_threshold(network, batch, before, after)
    assert shares["silenced_by_threshold"] == expected
    assert sum(expected) > 0
    fired = [share.double().mean().item() for share in fired]
    for measured, five, total in zip(expected, shares["violates_eq5"], fired, strict=True):
        assert measured <= five <= total  # who is silenced violates Eq. (5)


@given(
    beta=st.floats(0, 1),
    start=st.floats(0.1, 5),
    rise=st.floats(0, 5),
    rate=st.floats(0.01, 1),
    strict=st.booleans(),
    currents=st.lists(st.floats(-2, 3, width=32), min_size=1, max_size=30),
)
def test_no_neuron_that_fulfils_eq5_is_silenced(beta, start, rise, rate, strict, currents) -> None:
    """By the reference's own neurons: a spike lost to the new threshold was below Eq. (5)'s bound everywhere."""
    after = start + rate * rise
    current_TBN = torch.tensor(currents).view(-1, 1, 1)
    spikes, membrane = reference.scan(current_TBN, Neuron(beta, start, 1.0, start, strict))
    spikes_after, _ = reference.scan(current_TBN, Neuron(beta, after, 1.0, start, strict))
    peak = membrane.max().item()
    if spikes.any() and abs(peak - after) > 1e-4 and survives_update(peak, start, after):
        assert spikes_after.any()


def test_silenced_shares_are_zero_where_no_threshold_moved() -> None:
    config = compose(["hparams.batch_norm=false", "dataset.limit=16"])
    network = SpikingNetwork(config, seed=0)
    batch = datasets.load(config.dataset, selection="validation", seed=0).train.batch(torch.arange(8))
    before = [0.5, 2.0]
    assert all(shares == [0.0, 0.0] for shares in silenced_by_threshold(network, batch, before, before).values())
