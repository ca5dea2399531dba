"""Runs are named in short, listed, tagged, removed and compared; a multirun ends with a table of its jobs."""

import json
import shutil
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from report_folders import write_run

from snntha import cli
from snntha.catalog import folder_words, run_folder, short_id
from snntha.config import ConfigError, compose, flatten, meaning
from snntha.config.meaning import schema_comments
from snntha.config.schema import Config
from snntha.errors import UserError
from snntha.folder import RunFolder

NAMES = {"annealed": "2026-01-01_00-00-00-aaf001", "bsnn": "2026-01-01_00-00-01-ab0002"}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two runs below outputs/."""
    for number, (mode, name) in enumerate(NAMES.items()):
        write_run(tmp_path / "outputs/shd" / mode / name, [60.0, 64.0], mode=mode, first_seed=number, activity=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def snntha(home, monkeypatch, capsys):
    """Call the command; returns its exit status and what it printed."""

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["snntha", *arguments])
        status = cli.main()
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def test_a_run_is_named_by_its_folder_its_id_or_last(home):
    annealed, bsnn = (Path("outputs/shd") / mode / name for mode, name in NAMES.items())
    assert run_folder("aaf0") == run_folder("aaf001") == annealed
    assert run_folder("last") == bsnn
    assert run_folder(str(annealed)) == annealed
    assert run_folder("nowhere") == Path("nowhere")  # who opens it says that it is no run
    with pytest.raises(UserError, match="a: this may be .*aaf001 or .*ab0002: write more"):
        run_folder("a")
    assert short_id(home / "mine") == "mine"
    assert folder_words("outputs/shd/b") == [str(bsnn)]
    shutil.rmtree("outputs")
    with pytest.raises(UserError, match="last: there is no run in outputs/ yet"):
        run_folder("last")


@pytest.mark.parametrize(
    "line, expected",
    [
        ("snntha eval run=la", ["run=last"]),
        ("snntha eval run=outputs/shd/an", [f"run=outputs/shd/annealed/{NAMES['annealed']}"]),
        ("snntha compare outputs/shd/b", [f"outputs/shd/bsnn/{NAMES['bsnn']}"]),
        ("snntha train resume=outputs/shd/b", [f"resume=outputs/shd/bsnn/{NAMES['bsnn']}"]),
    ],
)
def test_folders_of_runs_are_completed(snntha, monkeypatch, line, expected):
    monkeypatch.setenv("COMP_LINE", line)
    assert snntha("-sc", "query=bash") == (0, "\n".join(expected) + "\n")


def test_runs_are_listed_tagged_and_removed(snntha, home):
    status, text = snntha("runs", "sort=accuracy")
    assert status == 0 and max(map(len, text.splitlines())) <= 80
    assert "aaf001  shd   annealed      2  62.00 ±2.83" in text
    assert text.endswith("2 runs; an id, or last, stands for its folder: snntha eval run=last\n")
    assert "keep" in snntha("runs", "aaf001", "tag=keep")[1]
    assert "keep" not in snntha("runs", "aaf001", "untag=keep")[1]
    assert "name the runs" in snntha("runs", "tag=keep")[1]
    assert "a b: expected a word" in snntha("runs", "last", "tag=a b")[1]
    assert "add --yes" in snntha("runs", "last", "--remove")[1]
    assert snntha("runs", "last", "--remove", "--yes")[0] == 0
    assert [path.parent.name for path in (home / "outputs").glob("*/*/*/summary.json")] == [NAMES["annealed"]]


def test_what_differs_is_compared(snntha, home):
    status, text = snntha("compare", "aaf001", "ab0002")
    assert status == 0 and max(map(len, text.splitlines())) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert rows["mode.name"] == ["annealed", "bsnn"]
    assert rows["test"] == ["%", "62.00", "±2.83", "62.00", "±2.83"]
    assert "aaf001  63.00 → 63.00 %" in text
    assert "hparams.threshold.start" in rows and "dataset.time_steps" not in rows
    assert (home / "outputs/plots/curves.png").is_file()
    assert "name two runs or more" in snntha("compare", "last")[1]


def test_resuming_a_finished_run_says_so_and_stops(snntha):
    before = (run_folder("last") / "environment.json").read_text()
    status, text = snntha("train", "resume=last")
    assert status == 0 and "is finished: there is nothing to go on with" in text
    assert (run_folder("last") / "environment.json").read_text() == before


def test_a_multirun_ends_with_one_table_of_its_jobs(snntha):
    overrides = ("debug=smoke", "backend=reference", "model.topology=4Conv3-AP2-36Dense10")
    status, text = snntha("train", "-m", "mode=bsnn,bsnn_theta1", *overrides)
    assert status == 0
    table = text[text.rindex("id ") :].splitlines()
    jobs = [json.loads(line) for line in next(Path("outputs/multirun").glob("*/jobs.jsonl")).read_text().splitlines()]
    assert [RunFolder(Path(job["folder"])).mode for job in jobs] == ["bsnn", "bsnn_theta1"]
    assert "mode=bsnn " in " ".join(table) and "mode=bsnn_theta1" in " ".join(table)
    assert sum("finished" in line for line in table) == 2 and "2 jobs, all with debug=smoke backend" in table[-1]


def test_a_key_is_explained_with_its_values_and_source(snntha):
    status, text = snntha("train", "--help", "hparams.threshold.start", "dataset=shd")
    assert status == 0 and max(map(len, text.splitlines())) <= 80
    assert text.startswith("hparams.threshold.start = [13.504, 11.2]\n")
    for words in (
        "theta at minibatch 0",
        "more than 0 in every entry",
        "conf/hparams/shd_annealed.yaml",
        "Table 6 row",
    ):
        assert words in " ".join(text.split())
    assert "choose mode=OPTION of annealed | bsnn" in meaning(["mode"])
    with pytest.raises(ConfigError, match="epohcs: there is no such key; did you mean 'epochs'"):
        meaning(["epohcs"])


def test_every_key_has_a_meaning():
    assert [key for key, text in schema_comments(Config).items() if not text] == []
    assert {key for key, _ in flatten(asdict(compose()))} - set(schema_comments(Config)) == {"search"}  # not chosen


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--version"], "snntha 0."),
        (["help"], "snntha compare RUN RUN"),
        (["help", "runs"], "--remove"),
        (["help", "rnus"], "did you mean 'runs'"),
        (["doctor"], "torch 2."),
    ],
)
def test_help_version_and_doctor(snntha, arguments, words):
    status, text = snntha(*arguments)
    assert words in text and status == (arguments[-1] == "rnus")
    assert max(map(len, text.splitlines())) <= 80 or status
