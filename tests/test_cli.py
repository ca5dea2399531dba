"""The command as a user types it: exit status, messages, help, completion."""

import inspect
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import yaml

from snntha import cli
from snntha.arguments import COMMANDS, parse
from snntha.config import Config, compose, to_yaml
from snntha.errors import UserError

CHECKOUT = Path(__file__).parents[1]
COMMAND = "import sys; from snntha.cli import main; sys.argv[0] = 'snntha'; sys.exit(main())"


def shell(*arguments: str, cwd: Path, code: str = COMMAND, **environment: str) -> subprocess.CompletedProcess[str]:
    """A process of its own; warnings are errors there too."""
    variables = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONWARNINGS": "error", **environment}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=cwd, env=variables, capture_output=True, text=True
    )


@pytest.fixture
def snntha(monkeypatch, tmp_path):
    """Call `snntha ...` in an empty folder, in this process; returns the exit status."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "0")

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["snntha", *arguments])
        try:
            return cli.main()
        except SystemExit as end:
            assert isinstance(end.code, int)
            return end.code

    return call


@pytest.fixture
def runs(monkeypatch) -> list[tuple[Config, Path | None]]:
    """What `snntha train` would have run, instead of running it."""
    from snntha import closing

    seen: list[tuple[Config, Path | None]] = []

    def record(config: Config, resume: Path | None = None, compilation: Any = None) -> float:
        seen.append((config, resume))
        return 50.0

    monkeypatch.setattr(closing, "train_and_show", record)
    return seen


def test_bare_command_prints_a_short_help(snntha, capsys):
    assert snntha() == 0
    output = capsys.readouterr().out
    assert "snntha train debug=smoke" in output
    assert len(output.splitlines()) <= 25 and max(map(len, output.splitlines())) <= 80


def test_help_names_exactly_the_commands_that_exist():
    assert {line.split()[1] for line in cli.HELP.splitlines() if line.startswith("  snntha")} == set(cli.COMMANDS)


@pytest.mark.parametrize("command", sorted(set(cli.COMMANDS) - {"train"}))
def test_help_of_a_command(snntha, capsys, command):
    assert snntha(command, "--help") == 0
    output = capsys.readouterr().out
    assert output.startswith(f"snntha {command}")
    assert all(f"  {argument.name}" in output for argument in COMMANDS[command].arguments)
    assert max(map(len, output.splitlines())) <= 80


def test_arguments_are_read_by_their_kind():
    plot = parse("plot", ["run=a,b", "iterations=0,40", "slope=2", "output="])
    assert (plot["run"], plot["iterations"], plot["slope"]) == ([Path("a"), Path("b")], [0, 40], 2.0)
    assert (plot["figure"], plot["output"], plot["frames"], plot["beta"]) == ([], None, 100, None)
    report = parse("report", ["a", "b/lr=1", "--html", "page.html", "--format=csv"])
    assert report["folders"] == [Path("a"), Path("b/lr=1")]
    assert (report["html"], report["form"], report["table"]) == (Path("page.html"), "csv", "results")
    assert parse("report", [])["folders"] == [Path("outputs")]
    search = parse("search", ["mine", "pictures=false"])
    assert search == {"study": "mine", "storage": "", "parent": Path("outputs/search"), "pictures": False}
    assert parse("bench", ["--json"])["as_json"] is True


@pytest.mark.parametrize("command", sorted(set(cli.COMMANDS) - {"train"}))
def test_each_command_has_a_function_that_takes_its_arguments(command):
    values = {argument.key: argument.default for argument in COMMANDS[command].arguments}
    inspect.signature(resolve_name(COMMANDS[command].function)).bind(**values)


def test_choices_of_arguments_are_those_of_the_code():
    from snntha import report
    from snntha.bench.cases import TRAINING_SAMPLES

    arguments = {argument.name: argument for name in ("report", "bench") for argument in COMMANDS[name].arguments}
    assert arguments["--format"].choices == report.FORMATS
    assert arguments["--table"].choices == report.TABLES
    assert arguments["case"].choices == tuple(TRAINING_SAMPLES)


@pytest.mark.parametrize(
    ("arguments", "imported"),
    [
        (["train", "--help"], ["hydra"]),
        (["train", "--cfg", "job", "--resolve"], ["hydra"]),
        (["train", "epochs=0"], ["hydra"]),
        (["list"], []),
        ([], []),
    ],
)
def test_nothing_slow_is_imported_for_nothing(tmp_path, arguments, imported):
    code = """
import sys
from snntha.cli import main
sys.argv[0] = "snntha"
try:
    main()
finally:
    print([name for name in ("torch", "hydra") if name in sys.modules])
"""
    assert shell(*arguments, cwd=tmp_path, code=code).stdout.splitlines()[-1] == str(imported)


def test_train_help_shows_groups_and_keys(snntha, capsys):
    assert snntha("train", "--help") == 0
    output = capsys.readouterr().out
    for text in (
        "mode: annealed, bsnn, bsnn_theta1, flt32",
        "debug: overfit, smoke",
        "cosine_epochs: ",
        "-sc install=bash",
    ):
        assert text in output
    assert "Powered by Hydra" not in output


def test_hydra_help_works(snntha, capsys):
    assert snntha("train", "--hydra-help") == 0
    assert "--multirun" in capsys.readouterr().out


FIXED_KEYS = """
seed trials epochs patience device backend precision batch_statistics threads selection resume output_dir
dataset.name dataset.root dataset.time_steps dataset.bin_ms dataset.limit model.topology mode.name mode.binarize
fidelity.name fidelity.surrogate fidelity.spike fidelity.init fidelity.weight_clip dataset.window
fidelity.trial_seed optimizer.name optimizer.betas optimizer.lr optimizer.momentum
hparams.name hparams.beta hparams.slope hparams.batch_size hparams.dropout hparams.batch_norm hparams.grad_clip
hparams.weight_clip hparams.cosine_epochs hparams.threshold.start hparams.threshold.rise hparams.threshold.rate
""".split()


def test_resolved_configuration_shows_every_fixed_key(snntha, capsys, tmp_path):
    assert snntha("train", "dataset=shd", "mode=bsnn", "--cfg", "job", "--resolve") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    for key in FIXED_KEYS:
        node = shown
        for part in key.split("."):
            node = node[part]
    assert shown["hparams"]["threshold"]["start"] == [3.4, 3.4]
    assert list(tmp_path.iterdir()) == []


def test_no_traceback_in_a_process_of_its_own(tmp_path):
    result = shell("train", "hparams.beta=2", cwd=tmp_path)
    assert (result.returncode, result.stderr) == (1, "snntha train: hparams.beta=2.0: expected 0 to 1\n")


def test_train_hands_over_the_configuration(snntha, runs):
    assert snntha("train", "dataset=mnist", "mode=bsnn", "seed=3") == 0
    [(config, resume)] = runs
    assert (config.dataset.name, config.mode.name, config.seed, resume) == ("mnist", "bsnn", 3, None)


def test_the_record_shows_the_command_as_typed(snntha, monkeypatch):
    from snntha import closing

    commands = []
    monkeypatch.setattr(closing, "train_and_show", lambda config, resume, compilation: commands.append(list(sys.argv)))
    assert snntha("train", "seed=3") == 0
    assert commands == [["snntha", "train", "seed=3"]]


def test_train_leaves_no_folder_of_hydra(snntha, runs, tmp_path):
    assert snntha("train") == 0
    assert list(tmp_path.iterdir()) == []


def test_multirun_picks_the_hyperparameters_of_each_mode(snntha, runs, tmp_path):
    assert snntha("train", "-m", "dataset=digits", "mode=glob(*)") == 0
    assert [config.hparams.name for config, _ in runs] == [
        "digits_annealed",
        "digits_bsnn",
        "digits_bsnn_theta1",
        "digits_flt32",
    ]
    assert len({config.output_dir for config, _ in runs}) == 4
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {"multirun.yaml", "jobs.jsonl"}


def test_jobs_of_one_mode_have_folders_of_their_own(snntha, runs):
    assert snntha("train", "-m", "seed=0,1,2") == 0
    assert len({config.output_dir for config, _ in runs}) == 3


def test_multirun_goes_on_after_a_mistake_and_returns_1(snntha, runs, capsys):
    assert snntha("train", "-m", "epochs=0,1") == 1
    error = capsys.readouterr().err
    assert error.count("snntha train: epochs=0: expected 1 or more") == 1
    assert "Traceback" not in error
    assert [config.epochs for config, _ in runs] == [1]


def test_a_search_can_be_inspected_before_it_begins(snntha, capsys):
    assert snntha("train", "search=tpe", "--cfg", "job", "--package", "search.n_trials") == 0
    assert "500" in capsys.readouterr().out


def test_resume_keeps_the_configuration_of_the_run(snntha, runs, tmp_path, capsys):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(compose(["dataset=shd", "seed=7", "epochs=5"])))
    assert snntha("train", f"resume={folder}", "epochs=9") == 0
    [(config, resume)] = runs
    assert (config.dataset.name, config.seed, config.epochs, resume) == ("shd", 7, 9, folder)
    assert snntha("train", f"resume={folder}", "seed=8") == 1
    assert "seed=8: a resumed run keeps its configuration" in capsys.readouterr().err


@pytest.mark.parametrize("error, status", [(UserError("data are missing"), 1), (KeyboardInterrupt(), 130)])
def test_exit_status_of_an_error_in_the_run(snntha, monkeypatch, capsys, error, status):
    from snntha import closing

    def fail(config: Config, resume: Path | None, compilation: Any) -> float:
        raise error

    monkeypatch.setattr(closing, "train_and_show", fail)
    assert snntha("train") == status
    assert capsys.readouterr().err == ("snntha train: data are missing\n" if status == 1 else "")


def test_a_programming_error_keeps_its_traceback(snntha, monkeypatch):
    from snntha import closing

    def fail(config: Config, resume: Path | None, compilation: Any) -> float:
        raise ValueError("a bug")

    monkeypatch.setattr(closing, "train_and_show", fail)
    with pytest.raises(ValueError, match="a bug"):
        snntha("train")


def test_data_shows_every_dataset(snntha, capsys):
    assert snntha("data") == 0
    output = capsys.readouterr().out
    for name in ("digits", "mnist", "fashion_mnist", "dvs_gesture", "shd", "temporal_coding"):
        assert name in output


def test_data_looks_where_it_is_told(snntha, capsys):
    assert snntha("data", "dataset=shd", "dataset.root=elsewhere") == 0
    output = capsys.readouterr().out
    assert "elsewhere" in output
    assert "mnist" not in output


def test_list_shows_the_published_accuracy(snntha, capsys):
    assert snntha("list") == 0
    rows = capsys.readouterr().out.splitlines()
    [shd] = [row for row in rows if "shd" in row and "annealed" in row]
    assert [word for word in shd.split() if word.replace(".", "").isdigit()] == ["66.35", "65.68", "0.66"]


@pytest.mark.parametrize(
    "line, expected",
    [
        ("snntha ", list(cli.COMMANDS)),
        ("snntha tr", ["train"]),
        ("snntha train dataset=s", ["dataset=shd", "dataset=ssc"]),
        ("snntha train dataset=shd mode=b", ["mode=bsnn", "mode=bsnn_theta1"]),
        ("snntha train hparams.thr", ["hparams.threshold."]),
        ("snntha train -m dataset=shd hparams.beta=", ["hparams.beta=0.95"]),
        ("snntha eval ", ["run=", "model=", "checkpoint=", "trial=", "dataset.root=", "--json", "dataset._target_="]),
        ("snntha eval run=x che", ["checkpoint="]),
        ("snntha eval checkpoint=", ["checkpoint=best", "checkpoint=last"]),
        ("snntha report --f", ["--format="]),
    ],
)
def test_completion_answers(snntha, monkeypatch, capsys, line, expected):
    monkeypatch.setenv("COMP_LINE", line)
    assert snntha("-sc", "query=bash") == 0
    assert capsys.readouterr().out.split() == expected


def test_tab_in_bash(tmp_path):
    """The installed script, with the variables that bash sets when Tab is pressed."""
    executable = tmp_path / "snntha"
    executable.write_text(f"#!{sys.executable}\n{COMMAND.replace('; ', chr(10))}\n")
    executable.chmod(0o755)
    script = """
        eval "$(snntha train -sc install=bash)"
        COMP_LINE="snntha train dataset=f" COMP_POINT=22 COMP_CWORD=2
        hydra_bash_completion
        echo "${COMPREPLY[@]}"
        complete -p snntha
    """
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True)
    assert result.stdout.splitlines()[0] == "dataset=fashion_mnist dataset=folder", result.stderr
    assert "hydra_bash_completion snntha" in result.stdout


def test_wheel_holds_the_configurations(tmp_path):
    wheel = pytest.importorskip("hatchling.builders.wheel")
    [archive] = wheel.WheelBuilder(str(CHECKOUT)).build(directory=str(tmp_path), versions=["standard"])
    with zipfile.ZipFile(archive) as file:
        file.extractall(tmp_path / "installed")
    result = shell("train", "mode=bsnn", "--cfg", "job", cwd=tmp_path, PYTHONPATH=str(tmp_path / "installed"))
    assert yaml.safe_load(result.stdout)["hparams"]["name"] == "digits_bsnn", result.stderr
    installed = {path.name for path in (tmp_path / "installed" / "snntha" / "conf" / "hparams").iterdir()}
    assert installed == {path.name for path in (CHECKOUT / "conf" / "hparams").iterdir()}
