"""The reader of run folders: what is there, what is missing, what is damaged; and it needs no torch."""

import fcntl
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from report_folders import write_run

from snntha.config import ConfigError, from_yaml
from snntha.errors import Damaged, Missing, UserError
from snntha.folder import RunFolder, read_json
from snntha.records import Run, SeedRecord
from snntha.report import build_tables, collect


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A finished run of two seeds."""
    write_run(tmp_path / "run", [50.0, 60.0], activity=False, overrides=("trials=2",))
    return tmp_path / "run"


def test_reading_a_run_needs_no_torch(folder):
    code = (
        "import sys; from pathlib import Path; from snntha.folder import RunFolder\n"
        "run = RunFolder(Path(sys.argv[1])).read(); run.load_config(); run.seed(1).metrics; run.state\n"
        "assert not run.problems, run.problems\n"
        "assert 'torch' not in sys.modules and 'snntha.records' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(folder)], check=True)


def test_a_finished_run_lacks_nothing(folder):
    run = RunFolder(folder).read()
    assert (run.problems, run.state, [seed.state for seed in run.seeds]) == ([], "finished", ["finished"] * 2)
    assert run.seed(1).column("epoch") == [1, 2, 3]
    assert run.load_config().trials == 2


@pytest.mark.parametrize("value", ["${oc.env:HOME}", "[1, '${seed}']", "{inner: '${dataset.root}'}"])
def test_an_interpolation_in_a_record_is_refused_and_not_resolved(folder, value):
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("\n  root: ", f"\n  root: {value}  # "))
    with pytest.raises(ConfigError, match=r"dataset.root.*\$\{.* is an interpolation, which no run records"):
        from_yaml(path)
    run = RunFolder(folder).read()
    assert "${" in run.problems[0] and str(Path.home()) not in run.problems[0]
    assert run.config == {}


def test_states_of_a_run_and_its_seeds(folder):
    summary = read_json(folder / "summary.json")
    run = Run(folder)
    run.write_summary({**summary, "trials": summary["trials"][:1]})
    assert [seed.state for seed in RunFolder(folder).seeds] == ["finished", "interrupted"]
    assert RunFolder(folder).read().problems == ["1 of 2 seeds have ended: the run is interrupted"]
    with run.lock():
        assert RunFolder(folder).state == "running"
        assert [seed.state for seed in RunFolder(folder).seeds] == ["finished", "running"]
    run.write_summary({**summary, "trials": [summary["trials"][0], {"seed": 1, "failed": "NaN"}]})
    assert RunFolder(folder).state == "failed"
    assert [seed.state for seed in RunFolder(folder).seeds] == ["finished", "failed"]


def test_a_reader_that_holds_the_lock_for_a_moment_does_not_stop_a_run(folder, monkeypatch):
    assert not RunFolder(folder).is_locked()  # there is no such file yet
    (folder / ".lock").touch()
    with (folder / ".lock").open() as reader:
        fcntl.flock(reader, fcntl.LOCK_SH)
        monkeypatch.setattr("time.sleep", lambda seconds: reader.close())
        with Run(folder).lock():
            assert RunFolder(folder).is_locked()
    assert not RunFolder(folder).is_locked()


def test_what_is_missing_is_empty_and_told_once(folder):
    for name in ("config.yaml", "environment.json", "summary.json"):
        (folder / name).unlink()
    shutil.rmtree(folder / "trial_1")
    (folder / "trial_0/metrics.jsonl").unlink()
    run = RunFolder(folder).read()
    assert (run.config, run.environment, run.summary, run.seeds, run.state) == ({}, {}, {}, [], "interrupted")
    assert [problem.split(":")[0] for problem in run.problems] == [
        f"{name} is missing" for name in ("config.yaml", "environment.json", "summary.json")
    ]
    with pytest.raises(Missing, match=r"is not the folder of a run: config.yaml is missing \(found: trial_0\)"):
        run.load_config()


def test_a_seed_without_epochs_raises_missing_where_they_are_needed(folder):
    (folder / "trial_0/metrics.jsonl").unlink()
    run = RunFolder(folder)
    with pytest.raises(Missing, match="trial_0/metrics.jsonl is missing or empty: no epoch has ended"):
        run.seed(0).column("epoch")
    with pytest.raises(Missing, match="trial_1/metrics.jsonl has no nonsense"):
        run.seed(1).column("nonsense")
    with pytest.raises(UserError, match="trial=2: the run in .* has 2 seeds, counted from 0"):
        run.seed(2)


@pytest.mark.parametrize(("text", "reason"), [("", "Expecting value"), ("[1]", "it holds no mapping")])
def test_a_damaged_file_is_named_with_the_reason(folder, text, reason):
    (folder / "environment.json").write_text(text)
    with pytest.raises(Damaged, match=f"environment.json is damaged: {reason}"):
        Run.open(folder, "f" * 32)
    with pytest.raises(Damaged, match=f"environment.json is damaged: {reason}"):
        Run(folder).add_environment("f" * 32)
    (problem,) = RunFolder(folder).read().problems
    assert problem.startswith(f"environment.json is damaged: {reason}")


def test_data_of_a_run_that_recorded_no_fingerprint_cannot_be_checked(folder):
    (folder / "environment.json").write_text("{}")
    with pytest.raises(Missing, match="environment.json has no data_fingerprint"):
        Run.open(folder, "f" * 32)


def test_a_damaged_line_or_value_is_left_out_and_told(folder):
    path = folder / "trial_0/metrics.jsonl"
    first, second, third = path.read_text().splitlines()
    path.write_text("\n".join([first, second[:20], json.dumps({**json.loads(third), "train_loss": "low"}), third[:9]]))
    seed = RunFolder(folder).seed(0)
    assert seed.column("epoch") == [1, 3]
    with pytest.raises(Missing, match="has no train_loss"):
        seed.column("train_loss")
    assert seed.run.problems == [
        "trial_0: line 2 of metrics.jsonl is damaged, left out",
        "trial_0: line 4 of metrics.jsonl is damaged, left out",
        "trial_0: metrics.jsonl: train_loss is not a finite number, left out",
    ]


def test_a_resumed_seed_forgets_later_epochs_and_a_line_cut_short_but_no_other(folder):
    path = folder / "trial_0/metrics.jsonl"
    first, second, third = path.read_text().splitlines(keepends=True)
    path.write_text(first + second + third[:30])
    SeedRecord(path.parent).forget_after(1)
    assert path.read_text() == first
    path.write_text(first[:30] + "\n" + second)
    with pytest.raises(Damaged, match="metrics.jsonl is damaged: line 1 is no epoch"):
        SeedRecord(path.parent).forget_after(2)


def test_a_folder_with_a_summary_alone_is_reported(folder):
    (folder / "config.yaml").unlink()
    tables = {table.name: table for table in build_tables(collect([folder]))}
    assert tables["results"].rows[0]["mean"] == 55.0
