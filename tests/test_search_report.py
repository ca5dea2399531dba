"""`snntha search`: its tables and files are the study's own numbers, and a young study is shown as far as it goes."""

import csv
import json
import math
import random
import shutil
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.storages import RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState, create_trial
from rich.console import Console

from snntha import config as configuration
from snntha.errors import UserError
from snntha.search.command import run_command
from snntha.search.pictures import draw_comparison, draw_pictures
from snntha.search.report import print_report, write_results
from snntha.search.snapshot import Snapshot

NOW = datetime(2026, 1, 1, 12)
NAME = "shd_annealed"
SPACE: dict[str, BaseDistribution] = {
    "hparams.beta": FloatDistribution(0.05, 0.999),
    "optimizer.lr": FloatDistribution(1e-5, 1e-1, log=True),
    "hparams.grad_clip": CategoricalDistribution(["null", 1.0]),
    "optimizer.name": CategoricalDistribution(["adam", "sgd"]),
    "optimizer.momentum": FloatDistribution(0, 0.99),
    "hparams.threshold.start.0": FloatDistribution(0.5, 25),
}

pytestmark = pytest.mark.usefixtures("quiet_optuna")


@pytest.fixture
def parent(tmp_path: Path) -> Path:
    return tmp_path / "search"


def url(folder: Path) -> str:
    return f"sqlite:///{folder / 'study.db'}"


def new_study(folder: Path, dataset: str = "shd", mode: str = "annealed", n_trials: int = 20) -> optuna.Study:
    """An empty study in the folder's study.db, which has what a search records of itself."""
    folder.mkdir(parents=True)
    study = optuna.create_study(study_name=folder.name, storage=url(folder), direction="maximize")
    config = {"dataset.name": dataset, "mode.name": mode, "search.epochs": 3, "search.seeds": 2, "search.limit": None}
    for key, value in {"n_trials": n_trials, "folder": str(folder), "config": json.dumps(config)}.items():
        study.set_user_attr(key, value)
    return study


def a_trial(state: TrialState, value: float | None = None, *, minutes: float = 10, **attributes: Any) -> FrozenTrial:
    """A trial that began `minutes` before NOW, which is also its length; its parameters follow from its value."""
    generator = random.Random(str(value))
    params: dict[str, Any] = {
        "hparams.beta": 0.5 if value is None else value / 100,
        "optimizer.lr": math.exp(generator.uniform(math.log(1e-5), math.log(1e-1))),
        "hparams.grad_clip": generator.choice(["null", 1.0]),
        "optimizer.name": generator.choice(["adam", "sgd"]),
        "hparams.threshold.start.0": generator.uniform(0.5, 25),
    }
    if params["optimizer.name"] == "sgd":
        params["optimizer.momentum"] = 0.9
    trial = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=params,
        distributions={name: SPACE[name] for name in params},
        intermediate_values={} if value is None else {1: value / 2, 2: value},
        user_attrs={"worker": "host:1", **attributes},
    )
    trial.datetime_start = None if state == TrialState.WAITING else NOW - timedelta(minutes=minutes)
    trial.datetime_complete = NOW if state.is_finished() else None
    return trial


def tuned(value: float) -> dict[str, Any]:
    """What the job of a trial with this value has recorded."""
    found = configuration.tuned(configuration.compose(["dataset=shd", "mode=annealed"]))
    found["hparams"] |= {"beta": value / 100, "grad_clip": None}
    return found


def add_all_states(study: optuna.Study) -> None:
    """12 complete trials, of which number 3 is the best, and of every other state some; 14 died and became 19."""
    recorded = tuned(50.0)
    for value in (50.0, 60.0, 55.0, 92.5, 70.0, 71.0, 72.0, 73.0, 74.0, 75.0, 76.0, 77.0):
        attributes = {"hparams": tuned(value) if value == 92.5 else recorded}
        study.add_trial(a_trial(TrialState.COMPLETE, value, **attributes))
    study.add_trial(a_trial(TrialState.PRUNED, 20.0))
    for reason in ("loss is nan", "", "loss is nan"):
        study.add_trial(a_trial(TrialState.FAIL, **({"failure": reason} if reason else {})))
    study.add_trial(a_trial(TrialState.RUNNING, 65.0, minutes=4))
    study.add_trial(a_trial(TrialState.RUNNING, minutes=20))
    study.add_trial(a_trial(TrialState.FAIL))
    RetryHeartbeatStaleTrialCallback()(study, study.trials[18])


@pytest.fixture(scope="module")
def written_study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study in the middle of its work, written once: a database takes its time."""
    folder = tmp_path_factory.mktemp("written") / NAME
    add_all_states(new_study(folder))
    return folder


@pytest.fixture
def study(written_study: Path, parent: Path) -> optuna.Study:
    """A copy of it for one test."""
    folder = parent / NAME
    shutil.copytree(written_study, folder)
    study = optuna.load_study(study_name=NAME, storage=url(folder))
    study.set_user_attr("folder", str(folder))
    return study


def printed(study: optuna.Study, width: int = 100) -> str:
    console = Console(width=width, file=StringIO(), record=True)
    print_report(Snapshot(study), console, NOW)
    return console.export_text()


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_best_trials_are_complete_ones_in_the_order_of_their_values(study):
    text = printed(study, width=200)
    rows = [row for row in cells(text) if len(row) == 4 + len(SPACE) and row[0].isdecimal()]
    assert [row[0] for row in rows] == ["3", "11", "10", "9", "8", "7", "6", "5", "4", "1"]
    assert rows[0][:4] == ["3", "92.50", "2", "600"]
    assert "0.925" in rows[0]


def test_parameters_are_left_out_where_the_terminal_is_narrow(study):
    most_important = next(iter(Snapshot(study).importances)).removeprefix("hparams.")
    (head,) = [row for row in cells(printed(study, width=50)) if row[:2] == ["trial", "value"]]
    assert head[:5] == ["trial", "value", "epochs", "seconds", most_important]
    assert len(head) < 4 + len(SPACE)


def test_running_trials_and_failures_by_reason(study):
    rows = cells(printed(study))
    assert ["16", "host:1", "2", "65.00", "240"] in rows
    assert ["17", "host:1", "-", "-", "1200"] in rows
    assert "2 loss is nan 13, 15".split() in rows
    assert "1 its process died (killed, perhaps for want of memory) 14".split() in rows
    assert not any("18" in row for row in rows), "it goes on as trial 19"


def test_time_left_is_shared_by_the_running_trials(study, parent):
    # 13 of 20 ended, 600 s each; of the 7 left, two have run 240 s and 600 s (not 1200: it should have ended)
    assert f"{timedelta(seconds=(7 * 600 - 240 - 600) / 2)} with 2 running" in printed(study)
    assert "? with 1 worker, but none is running" in printed(new_study(parent / "young"))


def test_importances_are_those_of_what_the_value_follows(study):
    found = Snapshot(study).importances
    assert set(found) == set(SPACE)
    assert next(iter(found)) == "hparams.beta"
    assert sum(found.values()) == pytest.approx(1)
    assert found == Snapshot(study).importances


@pytest.mark.parametrize("values", [(), (10.0, 20.0, 30.0), (90.0, 50.0, 50.0, 50.0)])
def test_no_importances_of_few_or_equal_trials(parent, values):
    study = new_study(parent / NAME)
    for value in values:
        study.add_trial(a_trial(TrialState.COMPLETE, value))
    assert not Snapshot(study).importances
    assert "of 20 ended" in printed(study)


def test_trials_csv_has_every_trial_but_those_that_went_on_as_another(study, parent):
    write_results(Snapshot(study), parent / NAME)
    with (parent / NAME / "trials.csv").open(newline="") as file:
        rows = {row["number"]: row for row in csv.DictReader(file)}
    assert list(rows) == [str(number) for number in range(20) if number != 18]
    best, pruned, failed, running, waiting = (rows[number] for number in ("3", "12", "13", "16", "19"))
    assert (best["state"], best["value"], best["pruned_at_epoch"], best["seconds"]) == ("COMPLETE", "92.5", "", "600.0")
    assert float(best["optimizer.lr"]) == study.trials[3].params["optimizer.lr"]
    assert (pruned["state"], pruned["value"], pruned["pruned_at_epoch"]) == ("PRUNED", "20.0", "2")
    assert (failed["value"], failed["failure"], failed["worker"]) == ("", "loss is nan", "host:1")
    assert (running["state"], running["value"], waiting["seconds"]) == ("RUNNING", "", "")
    without = [row for row in rows.values() if row["optimizer.name"] == "adam"]
    assert without and all(row["optimizer.momentum"] == "" for row in without)


def test_best_yaml_is_a_set_of_hyperparameters_under_a_name_of_its_own(study, parent):
    written = write_results(Snapshot(study), parent / NAME)
    assert written == [parent / NAME / "trials.csv", path := parent / NAME / "best.yaml"]
    package, comment, *_ = path.read_text().splitlines()
    assert package == "# @package _global_"
    for said in (NAME, "trial 3", "92.50", "selection on validation", "13 trials so far", "3 epochs", "2 seeds"):
        assert said in comment
    expected = tuned(92.5)
    expected["hparams"]["name"] = "shd_annealed_best"
    assert yaml.safe_load(path.read_text()) == expected
    again = configuration.compose(["dataset=shd", f"hparams={configuration.add_hparams(path)}"])
    assert configuration.tuned(again) == expected


def test_a_study_of_an_earlier_version_is_shown(study, parent, capsys):
    flat = {"name": "x", "dataset": "shd", "mode": "annealed", "beta": 0.9, "lr": 0.001, "optimizer": "adam"}
    recorded = {"hparams": {**flat, "epochs": 9}, "deaths": 1, "claim": "c1", "heartbeat": 1.0, "worker": "host:1:1"}
    params, ranges = {"hparams.lr": 0.001}, {"hparams.lr": FloatDistribution(1e-4, 1e-2, log=True)}
    old = new_study(parent / "old")
    old.add_trial(create_trial(value=50.0, params=params, distributions=ranges, user_attrs=recorded))
    command(parent, "old")
    assert "50.00 (trial 0) with lr=0.001" in capsys.readouterr().out
    best = yaml.safe_load((parent / "old" / "best.yaml").read_text())
    assert (best["hparams"]["beta"], best["optimizer"]["lr"], best["epochs"]) == (0.9, 0.001, 9)


ALL = {"history", "epochs", "importances", "slices", "parallel_coordinates"}


def test_all_pictures_of_a_study_in_the_middle_of_its_work(study, parent):
    for _ in range(2):
        written = draw_pictures(Snapshot(study), parent / NAME / "pictures")
    assert {path.name for path in written} == {f"{name}.{kind}" for name in ALL for kind in ("png", "svg")}
    assert all(path.stat().st_size > 1000 for path in written)
    files = {path for path in (parent / NAME).rglob("*") if path.is_file()}
    assert files == {*written, parent / NAME / "study.db"}, "no partial file remains"


@pytest.mark.parametrize(
    ("states", "drawn"),
    [
        ([], set()),
        ([TrialState.FAIL, TrialState.RUNNING], set()),
        ([TrialState.PRUNED], {"epochs"}),
        ([TrialState.COMPLETE], ALL - {"importances"}),
    ],
)
def test_pictures_of_a_young_study(parent, states, drawn):
    study = new_study(parent / NAME)
    for state in states:
        study.add_trial(a_trial(state, None if state == TrialState.FAIL else 50.0))
    assert {path.stem for path in draw_pictures(Snapshot(study), parent / "pictures")} == drawn


def test_searches_are_compared_in_one_picture(parent, capsys):
    for name, values in {"tpe_1": [50.0, 70.0, 60.0], "tpe_2": [40.0, 90.0], "empty": []}.items():
        study = new_study(parent / name)
        study.add_trials([create_trial(value=value) for value in values])
    command(parent, "tpe_1,tpe_2,empty")
    assert {"tpe_1", "tpe_2", "70.00", "90.00"} <= set(capsys.readouterr().out.split())
    assert (parent / "comparison.png").stat().st_size > 1000
    assert draw_comparison([Snapshot(new_study(parent / "another"))], parent) == []


def command(parent: Path, study: str, storage: str = "", pictures: bool = False) -> None:
    run_command(study, storage, parent, pictures=pictures)


@pytest.mark.parametrize("by_path", [False, True])
def test_command_reports_and_says_what_is_next(study, parent, capsys, by_path):
    command(parent, str(parent / NAME) if by_path else NAME)
    said = capsys.readouterr().out
    assert "12 done, 1 pruned, 3 failed, 2 running, 1 waiting; 13 of 20 ended" in " ".join(said.split())
    assert "92.50 (trial 3)" in said
    assert f"snntha train dataset=shd mode=annealed hparams={parent / NAME / 'best.yaml'}" in said
    assert f"optuna-dashboard {url(parent / NAME)}" in said
    assert not (parent / NAME / "pictures").exists()


def test_command_draws_when_asked(parent, capsys):
    new_study(parent / NAME).add_trial(a_trial(TrialState.COMPLETE, 50.0, hparams=tuned(50.0)))
    command(parent, NAME, pictures=True)
    assert (parent / NAME / "pictures/history.png").is_file()
    assert "history.png" in capsys.readouterr().out


def test_command_finds_a_study_in_a_storage_of_its_own_and_in_a_renamed_folder(study, parent, capsys, tmp_path):
    command(tmp_path / "elsewhere", NAME, storage=url(parent / NAME))
    assert "92.50 (trial 3)" in capsys.readouterr().out
    assert (parent / NAME / "trials.csv").is_file()
    (parent / NAME).rename(parent / "renamed")
    command(parent, "renamed")
    assert "92.50 (trial 3)" in capsys.readouterr().out
    assert (parent / "renamed/trials.csv").is_file()


def test_a_wrong_study_or_value_is_named(study, parent):
    new_study(parent / "digits_bsnn")
    optuna.create_study(study_name="foreign", storage=url(parent / NAME))
    for name, where, storage, message in (
        ("shd_anealed", parent, "", r"there are digits_bsnn, shd_annealed; did you mean 'shd_annealed'"),
        ("digits", parent, url(parent / NAME), r"digits.*there are shd_annealed"),
        (NAME, parent / "empty", "", r"no such study in .*start one with: snntha train -m search=tpe"),
        ("foreign", parent, url(parent / NAME), "foreign: this study was not begun by snntha"),
    ):
        with pytest.raises(UserError, match=message):
            command(where, name, storage)


def test_table_of_all_studies(study, parent, capsys):
    new_study(parent / "digits_bsnn", dataset="digits", mode="bsnn", n_trials=5)
    command(parent, "")
    lines = cells(capsys.readouterr().out)
    assert ["digits_bsnn", "digits", "bsnn", "0", "of", "5", "-", "-"] in lines
    assert [NAME, "shd", "annealed", "13", "of", "20", "92.50", "3"] in lines
    command(parent / "empty", "")
    assert "start one with: snntha train -m search=tpe" in capsys.readouterr().out
