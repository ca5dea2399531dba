"""`snntha search`: its tables and files are the study's own numbers, and a young study is shown as far as it goes."""

import csv
import math
import random
import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from snntha.search.compare import comparison
from snntha.search.storage import connect, default_storage
from snntha.search.study import open_study
from snntha.search.tables import report_tables, seconds_left

from snntha import config as configuration
from snntha.errors import UserError
from snntha.search.command import run_command
from snntha.search.pictures import PICTURES, Scale, draw_pictures
from snntha.search.results import write_results
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


def new_study(folder: Path, **attributes: Any) -> optuna.Study:
    """An empty study in the folder's study.db, which has what a search records of itself."""
    folder.mkdir(parents=True)
    study = optuna.create_study(study_name=folder.name, storage=default_storage(folder), direction="maximize")
    recorded = {"n_trials": 20, "dataset": "shd", "mode": "annealed", "folder": str(folder), "epochs": 3, "seeds": 2}
    for key, value in {**recorded, "limit": None, **attributes}.items():
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
    reported = {} if value is None else {1: value / 2, 2: value}
    trial = create_trial(
        state=state,
        value=value if state == TrialState.COMPLETE else None,
        params=params,
        distributions={name: SPACE[name] for name in params},
        intermediate_values=reported,
        user_attrs={"worker": "host:1:1", **attributes},
    )
    trial.datetime_start = None if state == TrialState.WAITING else NOW - timedelta(minutes=minutes)
    trial.datetime_complete = NOW if state.is_finished() else None
    return trial


def hparams_of(value: float) -> dict[str, Any]:
    """What the job of a trial with this value has recorded."""
    tuned = configuration.tuned(configuration.compose(["dataset=shd", "mode=annealed"]))
    tuned["hparams"] |= {"beta": value / 100, "grad_clip": None}
    tuned["optimizer"] |= {"lr": 1e-5}
    return tuned


def add_all_states(study: optuna.Study) -> None:
    """12 complete trials, of which number 3 is the best, and of every other state some."""
    for value in (50.0, 60.0, 55.0, 92.5, 70.0, 71.0, 72.0, 73.0, 74.0, 75.0, 76.0, 77.0):
        study.add_trial(a_trial(TrialState.COMPLETE, value, hparams=hparams_of(value)))
    study.add_trial(a_trial(TrialState.PRUNED, 20.0))
    for reason in ("loss is nan", "killed", "loss is nan"):
        study.add_trial(a_trial(TrialState.FAIL, failure=reason))
    study.add_trial(a_trial(TrialState.RUNNING, 65.0, minutes=4, heartbeat=NOW.timestamp() - 7))
    study.add_trial(a_trial(TrialState.RUNNING, minutes=20))
    study.add_trial(a_trial(TrialState.WAITING))


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
    study = optuna.load_study(study_name=NAME, storage=default_storage(folder))
    study.set_user_attr("folder", str(folder))
    return study


def tables_of(study: optuna.Study, width: int = 80) -> dict[str, Any]:
    return {table.name: table for table in report_tables(Snapshot.of(study), NOW, width)}


def test_best_trials_are_complete_ones_in_the_order_of_their_values(study):
    rows = tables_of(study)["best"].rows
    assert [row["number"] for row in rows] == [3, 11, 10, 9, 8, 7, 6, 5, 4, 1]
    assert (rows[0]["value"], rows[0]["epochs"], rows[0]["seconds"]) == (92.5, 2, 600)
    assert rows[0]["hparams.beta"] == "0.925"


def test_parameters_are_left_out_where_the_terminal_is_narrow(study):
    keys = {"number", "value", "epochs", "seconds"}
    narrow, wide = tables_of(study, width=50)["best"], tables_of(study, width=200)["best"]
    assert {column.key for column in wide.columns} == keys | set(SPACE) and not wide.notes
    kept = [column.key for column in narrow.columns if column.key not in keys]
    assert kept == list(Snapshot.of(study).importances.shares)[: len(kept)]
    assert narrow.notes == [f"{len(SPACE) - len(kept)} more parameters are in trials.csv"]


def test_running_trials_and_their_last_sign_of_life(study):
    first, second = tables_of(study)["running"].rows
    assert (first["number"], first["value"], first["epochs"], first["seconds"], first["silent"]) == (16, 65, 2, 240, 7)
    assert (second["value"], second["silent"]) == (None, None)


def test_failures_are_counted_by_reason(study):
    rows = tables_of(study)["failures"].rows
    assert rows == [
        {"count": 2, "reason": "loss is nan", "numbers": [13, 15]},
        {"count": 1, "reason": "killed", "numbers": [14]},
    ]


def test_time_left_is_shared_by_the_running_trials(study):
    # 16 of 20 ended, 600 s each; of the 4 left, two have run 240 s and 600 s (not 1200: it should have ended)
    assert seconds_left(Snapshot.of(study), NOW) == (4 * 600 - 240 - 600) / 2


def test_time_left_counts_no_trial_of_two_workers_and_is_unknown_before_the_first_end(parent):
    study = new_study(parent / "one")
    study.add_trial(a_trial(TrialState.COMPLETE, 50.0, minutes=1, deaths=1))
    assert seconds_left(Snapshot.of(study), NOW) is None
    study.add_trial(a_trial(TrialState.COMPLETE, 51.0, minutes=5))
    assert seconds_left(Snapshot.of(study), NOW) == 18 * 300


def test_importances_are_those_of_what_the_value_follows(study):
    found = Snapshot.of(study).importances
    assert set(found.shares) == set(SPACE)
    assert next(iter(found.shares)) == "hparams.beta"
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found == Snapshot.of(study).importances
    assert found.note == "What tells the best 5 of 12 complete trials from all (PED-ANOVA)"


@pytest.mark.parametrize(
    ("values", "note"),
    [((), "there are 0"), ((10.0, 20.0, 30.0), "there are 3"), ((90.0, 50.0, 50.0, 50.0), "have the same value")],
)
def test_no_importances_and_why(parent, values, note):
    study = new_study(parent / NAME)
    for value in values:
        study.add_trial(a_trial(TrialState.COMPLETE, value))
    found = Snapshot.of(study).importances
    assert not found.shares and note in found.note


def test_trials_csv_has_every_trial(study, parent):
    write_results(study, parent / NAME)
    with (parent / NAME / "trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["number"] for row in rows] == [str(number) for number in range(19)]
    best, pruned, failed, running, waiting = rows[3], rows[12], rows[13], rows[16], rows[18]
    assert (best["state"], best["value"], best["pruned_at_epoch"], best["seconds"]) == ("COMPLETE", "92.5", "", "600.0")
    assert float(best["optimizer.lr"]) == study.trials[3].params["optimizer.lr"]
    assert (pruned["state"], pruned["value"], pruned["pruned_at_epoch"]) == ("PRUNED", "20.0", "2")
    assert (failed["value"], failed["failure"], failed["worker"]) == ("", "loss is nan", "host:1:1")
    assert (running["state"], running["value"], waiting["seconds"]) == ("RUNNING", "", "")
    without = [row for row in rows if row["optimizer.name"] == "adam"]
    assert without and all(row["optimizer.momentum"] == "" for row in without)


def test_best_yaml_is_the_best_trials_hparams_under_a_name_of_its_own(study, parent):
    assert write_results(study, parent / NAME) == [parent / NAME / "trials.csv", parent / NAME / "best.yaml"]
    text = (parent / NAME / "best.yaml").read_text()
    header, comment = text.splitlines()[:2]
    assert header == "# @package _global_"
    for said in (NAME, "trial 3", "92.50 %", "selection on validation", "16 trials so far", "3 epochs", "2 seeds"):
        assert said in comment
    found = yaml.safe_load(text)
    recorded = hparams_of(92.5)
    assert list(found) == list(recorded)
    assert found == {**recorded, "hparams": {**recorded["hparams"], "name": "shd_annealed_best"}}


def test_best_yaml_gives_the_same_run_again(study, parent, tmp_path):
    write_results(study, parent / NAME)
    best = configuration.add_hparams(parent / NAME / "best.yaml")
    again = configuration.compose(["dataset=shd", "mode=annealed", f"hparams={best}"])
    recorded = hparams_of(92.5)
    assert configuration.tuned(again) == {**recorded, "hparams": {**recorded["hparams"], "name": "shd_annealed_best"}}


def test_no_partial_files_remain(study, parent):
    for _ in range(2):
        written = write_results(study, parent / NAME) + draw_pictures(study, parent / NAME / "pictures")[0]
    files = {path for path in (parent / NAME).rglob("*") if path.is_file()}
    assert files == {*written, parent / NAME / "study.db"}
    assert not list((parent / NAME).rglob(".partial*"))


def test_all_pictures_of_a_study_in_the_middle_of_its_work(study, tmp_path):
    written, notes = draw_pictures(study, tmp_path / "pictures")
    assert not notes
    assert {path.name for path in written} == {f"{name}.{kind}" for name in PICTURES for kind in ("png", "svg")}
    assert all(path.stat().st_size > 1000 for path in written)


@pytest.mark.parametrize(
    ("states", "drawn"),
    [
        ([], set()),
        ([TrialState.RUNNING], set()),
        ([TrialState.FAIL], {"history"}),
        ([TrialState.PRUNED], {"history", "slices"}),
        ([TrialState.COMPLETE], {"history", "slices", "parallel_coordinates"}),
        ([TrialState.COMPLETE] * 3, {"history", "slices", "parallel_coordinates"}),
    ],
)
def test_pictures_of_a_young_study(parent, states, drawn):
    study = new_study(parent / NAME)
    for number, state in enumerate(states):
        study.add_trial(a_trial(state, None if state == TrialState.FAIL else 50.0 + number))
    written, notes = draw_pictures(study, parent / NAME / "pictures")
    assert {path.stem for path in written} == drawn
    assert {note.partition(":")[0] for note in notes} == set(PICTURES) - drawn


def test_history_shows_each_trial_once_and_the_best_so_far(study):
    figure = PICTURES["history"](Snapshot.of(study))
    curves = {line.get_label(): line for line in figure.axes[0].lines}
    assert list(curves["best so far"].get_ydata())[:5] == [50, 60, 60, 92.5, 92.5]
    assert [len(curves[name].get_xdata()) for name in ("complete", "pruned, last value", "failed")] == [12, 1, 3]
    assert list(curves["failed"].get_xdata()) == [13, 14, 15]


def test_slices_are_logarithmic_where_the_search_was(study):
    figure = PICTURES["slices"](Snapshot.of(study))
    scales = {ax.get_xlabel(): ax.get_xscale() for ax in figure.axes if ax.get_xlabel()}
    assert scales.pop("optimizer.lr") == "log"
    assert set(scales) == {name.removeprefix("hparams.") for name in SPACE} - {"optimizer.lr"}
    assert set(scales.values()) == {"linear"}


def test_place_on_a_scale():
    assert Scale.of(SPACE["optimizer.lr"]).fraction(1e-3) == pytest.approx(0.5)
    assert Scale.of(SPACE["hparams.grad_clip"]).marks() == {0.0: "null", 1.0: "1.0"}
    assert Scale.of(CategoricalDistribution([True, False])).fraction(False) == 1.0
    assert Scale.of(FloatDistribution(2, 2)).marks() == {0.5: "2"}


def command(parent: Path, study: str, storage: str = "", pictures: bool = False) -> None:
    run_command(study, storage, parent, pictures=pictures)


@pytest.mark.parametrize("by_path", [False, True])
def test_command_reports_and_says_what_is_next(study, parent, capsys, by_path):
    command(parent, str(parent / NAME) if by_path else NAME)
    said = capsys.readouterr().out
    counts = "12 done, 1 pruned, 3 failed, 2 running, 1 waiting; 16 of 20 ended"
    assert counts in " ".join(said.split())
    assert "92.50 % (trial 3)" in said
    assert f"snntha train dataset=shd mode=annealed hparams={parent / NAME / 'best.yaml'}" in said
    assert f"optuna-dashboard sqlite:///{parent / NAME / 'study.db'}" in said
    assert not (parent / NAME / "pictures").exists()


def test_command_draws_when_asked(study, parent, capsys):
    command(parent, NAME, pictures=True)
    assert (parent / NAME / "pictures/history.png").is_file()
    assert "history.png, importances.png" in capsys.readouterr().out


def test_command_finds_a_study_in_a_storage_of_its_own(study, parent, capsys, tmp_path):
    command(tmp_path / "elsewhere", NAME, storage=default_storage(parent / NAME))
    assert "92.50 % (trial 3)" in capsys.readouterr().out
    assert (parent / NAME / "trials.csv").is_file()


def test_command_opens_a_renamed_folder(study, parent, capsys):
    (parent / NAME).rename(parent / "renamed")
    command(parent, "renamed")
    assert "92.50 % (trial 3)" in capsys.readouterr().out
    assert (parent / "renamed/trials.csv").is_file()


def test_unknown_study_names_those_that_exist(study, parent):
    new_study(parent / "digits_bsnn")
    with pytest.raises(
        UserError, match=r"shd_anealed.*there are digits_bsnn, shd_annealed; did you mean 'shd_annealed'"
    ):
        command(parent, "shd_anealed")
    with pytest.raises(UserError, match=r"digits.*there are shd_annealed"):
        command(parent, "digits", storage=default_storage(parent / NAME))
    with pytest.raises(UserError, match=r"there is no study in .*start one with: snntha train -m search=tpe"):
        command(parent / "empty", NAME)


def test_a_foreign_study_is_refused(study, parent):
    url = default_storage(parent / NAME)
    optuna.create_study(study_name="foreign", storage=url)
    with pytest.raises(UserError, match="foreign: this study was not begun by snntha"):
        command(parent, "foreign", storage=url)


def test_table_of_all_studies(study, parent, capsys):
    new_study(parent / "digits_bsnn", dataset="digits", mode="bsnn", n_trials=5)
    command(parent, "")
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["digits_bsnn", "digits", "bsnn", "0", "of", "5", "-", "-"] in lines
    assert [NAME, "shd", "annealed", "16", "of", "20", "92.50", "3"] in lines


def test_without_studies_the_way_to_the_first_is_said(parent, capsys):
    command(parent, "")
    assert "start one with: snntha train -m search=tpe" in capsys.readouterr().out


def test_searches_are_compared_with_the_median_of_repetitions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = {"tpe_1": [50.0, 70.0, 60.0], "tpe_2": [40.0, 80.0, 90.0], "random_1": [30.0, 20.0, 40.0]}
    for name, values in found.items():
        folder = tmp_path / name
        folder.mkdir()
        study = optuna.create_study(study_name=name, storage=default_storage(folder), direction="maximize")
        attributes = {"n_trials": 3, "dataset": "digits", "mode": "annealed", "folder": str(folder)}
        for key, value in {**attributes, "epochs": 1, "seeds": 1, "limit": None}.items():
            study.set_user_attr(key, value)
        for value in values:
            study.add_trial(optuna.create_trial(value=value))
    command(tmp_path, "tpe_1,tpe_2,random_1", pictures=True)
    printed = capsys.readouterr().out
    assert {"tpe_1", "tpe_2", "random_1"} <= set(printed.split())
    assert (tmp_path / "comparison.png").stat().st_size > 1000

    studies = [open_study(name, connect(default_storage(tmp_path / name))) for name in ("tpe_1", "tpe_2", "random_1")]
    (ax,) = comparison([Snapshot.of(study) for study in studies]).axes
    curves = {line.get_label(): list(line.get_ydata()) for line in ax.get_lines()}
    assert curves["tpe: median of 2"] == [45.0, 75.0, 80.0]
    assert curves["random"] == [30.0, 30.0, 40.0]
