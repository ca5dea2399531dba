"""What version 0.1.0 wrote stays readable: kept_0.1.0 is never made anew, later versions get folders of their own.

It was made by `snntha train debug=smoke trials=2 epochs=3` and `search=tpe search.n_trials=4` of a tiny network on the
digits; the study's database is kept as the text that `sqlite3.Connection.iterdump` gives.
"""

import io
import shutil
import sqlite3
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from snntha import cli
from snntha import run as runs
from snntha.config import from_yaml
from snntha.folder import RunFolder

KEPT = Path(__file__).parent / "kept_0.1.0"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(KEPT / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def call(monkeypatch, capsys):
    def snntha(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["snntha", *arguments])
        assert cli.main() == 0
        return capsys.readouterr().out

    return snntha


def test_a_kept_run_lacks_nothing(folder):
    run = RunFolder(folder).read()
    assert (run.problems, run.state) == ([], "finished")
    assert [seed.column("epoch") for seed in run.seeds] == [[1, 2, 3], [1, 2, 3]]
    assert run.load_config().optimizer.name == "adam"


def test_a_kept_run_is_evaluated_drawn_and_reported(folder, call, tmp_path):
    accuracy = RunFolder(folder).seed(0).entry["test_accuracy"]
    assert f"test accuracy {accuracy:.2f} %" in call("eval", f"run={folder}")
    assert "curves.png" in call("plot", f"run={folder}", "figure=curves,raster,weights", f"output={tmp_path / 'drawn'}")
    assert "left out: run" in call("report", str(folder), "--format=markdown")  # a smoke run, which is no result
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace("limit: 16", "limit: null"))  # a run on all data, which is one
    assert f"{accuracy:.2f}" in call("report", str(folder), "--format=markdown")


def test_a_kept_run_goes_on(folder):
    config = replace(from_yaml(folder / "config.yaml"), epochs=4, trials=1)
    runs.run(config, folder, Console(file=io.StringIO()))
    assert RunFolder(folder).seed(0).column("epoch") == [1, 2, 3, 4]


def test_a_kept_study_is_shown_and_its_best_is_written(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kept").mkdir()
    with sqlite3.connect(tmp_path / "kept/study.db") as database:
        database.executescript((KEPT / "study.sql").read_text())
    database.close()
    assert "kept" in call("search", "dir=.") and "4 of 4" in call("search", "kept", "dir=.", "pictures=false")
    assert "hparams=kept/best.yaml" in call("search", "kept", "dir=.", "pictures=false")
    shown = call("train", "hparams=kept/best.yaml", "model.topology=2Conv3-AP2-18Dense10", "--cfg", "job")
    assert "name: kept_best" in shown


def test_one_damaged_study_does_not_hide_the_others(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("kept", "damaged", "empty"):
        (tmp_path / name).mkdir()
    with sqlite3.connect(tmp_path / "kept/study.db") as database:
        database.executescript((KEPT / "study.sql").read_text())
    database.close()
    (tmp_path / "damaged/study.db").write_bytes(b"no database" * 99)
    (tmp_path / "empty/study.db").touch()
    shown = call("search", "dir=.")
    assert "4 of 4" in shown and "damaged is left out" in shown and "empty is left out" in shown
