"""Damaged and vanished records, full disks, hostile environments: what is lost is told, nothing else is lost."""

import errno
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from report_folders import write_run
from rich.console import Console

from snntha import atomic, cli, compiled, plots
from snntha import run as runs
from snntha.atomic import write_atomically
from snntha.config import ConfigError, compose, from_yaml
from snntha.data import cache
from snntha.errors import Damaged, UserError
from snntha.folder import RunFolder
from snntha.records import Run
from snntha.report import collect, report
from snntha.report.formats import csv_cell

CHECKOUT = Path(__file__).parents[1]
TINY = [
    *("debug=smoke", "backend=reference", "dataset.limit=16", "dataset.time_steps=4", "plots=false"),
    *("model.topology=2Conv3-AP2-18Dense10", "epochs=2"),
]


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    runs.run(compose([*TINY, f"output_dir={folder}"]), console=quiet())
    return folder


@pytest.fixture
def folder(trained, tmp_path) -> Path:
    """A run of two epochs that may be damaged."""
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def resume(folder: Path, epochs: int = 3) -> None:
    runs.run(replace(from_yaml(folder / "config.yaml"), epochs=epochs), folder, quiet())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != ".lock"}


def changed_checkpoint(path: Path, change) -> None:
    state = torch.load(path, weights_only=True)
    change(state)
    torch.save(state, path)


STATES = {
    "no network": lambda state: state.pop("network"),
    "no progress": lambda state: state.pop("progress"),
    "no optimizer": lambda state: state.pop("optimizer"),
    "no random state": lambda state: state.pop("random_state"),
    "no format": lambda state: state.pop("format"),
    "later format": lambda state: state.update(format=99),
    "no totals": lambda state: state["progress"].pop("totals"),
    "further key": lambda state: state["progress"].update(speed=1),
    "progress a list": lambda state: state.update(progress=[1, 2]),
    "network a number": lambda state: state.update(network=3),
    "optimizer a text": lambda state: state.update(optimizer="adam"),
    "random state a list": lambda state: state.update(random_state=[1]),
    "random state short": lambda state: state.update(random_state=state["random_state"][:9]),
    "fewer thresholds": lambda state: state["progress"]["thresholds"].pop(),
    "more thresholds": lambda state: state["progress"]["previous_thresholds"].append(1.0),
    "threshold nan": lambda state: state["progress"].update(thresholds=[float("nan"), 1.0]),
    "threshold a text": lambda state: state["progress"].update(thresholds=["a", "b"]),
    "thresholds none": lambda state: state["progress"].update(thresholds=None),
    "weight missing": lambda state: state["network"].popitem(),
    "weight of another shape": lambda state: state["network"].update({"synapses.1.bias": torch.zeros(3)}),
    "further weight": lambda state: state["network"].update(other=torch.zeros(3)),
    "groups missing": lambda state: state["optimizer"].update(param_groups=[]),
    "group of others": lambda state: state["optimizer"]["param_groups"][0].update(params=[0]),
}


@pytest.mark.parametrize("change", STATES.values(), ids=STATES)
def test_a_checkpoint_that_lacks_something_is_refused_before_anything_is_written(folder, change):
    changed_checkpoint(folder / "trial_0/checkpoints/last.pt", change)
    before = contents(folder)
    with pytest.raises(UserError, match="last.pt"):
        resume(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("which", ["last", "best"])
@pytest.mark.parametrize(
    "content", [b"", b"PK\3\4", b"text", b"\0" * 999, None], ids=["empty", "zip", "text", "0", "cut"]
)
def test_a_checkpoint_that_is_cut_or_another_file_is_refused(folder, which, content):
    path = folder / f"trial_0/checkpoints/{which}.pt"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2] if content is None else content)
    before = contents(folder)
    with pytest.raises(Damaged, match=f"{which}.pt is damaged"):
        resume(folder)
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("tail", "told"),
    [
        (b"\0" * 4096, True),
        (b'{"epoch": 3, "tr', True),
        (b"\0\0\0\n", True),
        (b"\xff\xfe\n", True),
        (b'\0\0{"epoch": 3}\n', False),  # a line of an epoch that is trained again
        (b"\n", False),
    ],
)
def test_a_damaged_end_of_the_metrics_is_dropped_and_told(folder, tail, told, caplog):
    path = folder / "trial_0/metrics.jsonl"
    path.write_bytes(path.read_bytes() + tail)
    resume(folder)
    assert [json.loads(line)["epoch"] for line in path.read_text().splitlines()] == [1, 2, 3]
    assert ("metrics.jsonl: line 3, the last, is damaged" in caplog.text) == told


def test_zeros_before_a_line_are_passed_over(folder):
    path = folder / "trial_0/metrics.jsonl"
    path.write_bytes(b"\0" * 9 + path.read_bytes())
    assert RunFolder(folder).seed(0).column("epoch") == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"{}",
        b'{"data_fingerprint": 3}',
        b"\xff\xfe",
        b'{"resumed": 3, "data_fingerprint": "X"}',
    ],
)
def test_an_environment_that_is_missing_or_cut_is_named(folder, content):
    path = folder / "environment.json"
    fingerprint = json.loads(path.read_bytes())["data_fingerprint"]
    path.unlink() if content is None else path.write_bytes(content.replace(b"X", fingerprint.encode()))
    before = contents(folder)
    with pytest.raises(UserError, match="environment.json"):
        resume(folder)
    assert contents(folder) == before


CONFIGS = {
    "empty": b"",
    "list": b"[1, 2]",
    "cut": b"epochs: [1,",
    "binary": bytes(range(256)),
    "latin-1": "output_dir: \u00fc\n".encode("latin-1"),
    "utf-16 of another": "epochs: x\n".encode("utf-16"),
    "wrong value": b"epochs: many\n",
    "wrong kind": b"hparams: 3\n",
    "no topology": b"model:\n  topology: null\n",
    "further key": b"speed: 3\n",
    "number as switch": b"plots: 7\n",
    "alias": b"a: &a [1]\nb: *a\n",
    "bomb": b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
    "tag": b"a: !!python/object/apply:os.system [id]\n",
    "interpolation": b"seed: ${oc.env:HOME}\n",
    "deep": b"[" * 5000,
}


@pytest.mark.parametrize("content", CONFIGS.values(), ids=CONFIGS)
def test_a_configuration_that_cannot_be_read_is_named(folder, content):
    path = folder / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"run/config\.yaml"):
        from_yaml(path)


def test_a_run_whose_folder_vanishes_stops_and_writes_no_torso(tmp_path):
    folder = tmp_path / "run"

    def vanish(scores: list[float], epoch: int) -> None:
        shutil.rmtree(folder)

    with pytest.raises(FileNotFoundError) as caught:
        runs.run(compose([*TINY, f"output_dir={folder}"]), console=quiet(), report=vanish)
    assert caught.value.filename == str(folder / "trial_0") or str(caught.value.filename).startswith(str(folder))
    assert not folder.exists()


def test_a_folder_replaced_by_a_file_stops_the_run(tmp_path):
    folder = tmp_path / "run"

    def replace_it(scores: list[float], epoch: int) -> None:
        shutil.rmtree(folder)
        folder.write_text("mine")

    with pytest.raises(NotADirectoryError):
        runs.run(compose([*TINY, f"output_dir={folder}"]), console=quiet(), report=replace_it)
    assert folder.read_text() == "mine"


@pytest.mark.parametrize("name", ["summary.json", "environment.json", "trial_0", "plots", "config.yaml"])
def test_a_folder_with_a_file_of_our_names_is_not_written_into(tmp_path, name):
    (tmp_path / name).mkdir() if "." not in name else (tmp_path / name).write_text('{"mine": 1}')
    with pytest.raises(UserError, match="choose another"):
        Run.create(compose([*TINY, f"output_dir={tmp_path}"]), "f" * 32)
    assert os.listdir(tmp_path) == [name]


def test_a_run_killed_before_its_configuration_was_written_can_be_begun_anew(tmp_path):
    config = compose([*TINY, f"output_dir={tmp_path / 'run'}"])
    Run.create(config, "f" * 32)
    (tmp_path / "run/config.yaml").unlink()
    Run.create(config, "f" * 32)


class Full:
    """`open` on a disk that is full after so many bytes, for files below a folder."""

    def __init__(self, folder: Path, room: int):
        self.folder, self.room, self.open = str(folder), room, io.open

    def __call__(self, path, mode="r", *args, **kwargs):
        file = self.open(path, mode, *args, **kwargs)
        if str(path).startswith(self.folder) and any(letter in mode for letter in "wa"):
            write = file.write

            def limited(data):
                self.room -= len(data)
                if self.room < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                return write(data)

            class Limited:
                def __getattr__(self, name):
                    return limited if name == "write" else getattr(file, name)

                def __enter__(self):
                    return self

                def __exit__(self, *_):
                    file.close()

            return Limited()
        return file


@pytest.mark.parametrize("room", [0, 3000, 8000, 30_000, 60_000])
def test_a_full_disk_is_one_message_and_what_was_written_resumes(tmp_path, monkeypatch, capsys, room):
    folder = tmp_path / "run"
    arguments = [*TINY, f"output_dir={folder}", "epochs=3"]
    with monkeypatch.context() as patch:
        patch.setattr(io, "open", Full(folder, room))
        patch.setattr(sys, "argv", ["snntha", "train", *arguments])
        status = cli.main()
    error = capsys.readouterr().err
    assert "Traceback" not in error and not list(folder.rglob("*.partial"))
    if status:
        assert "No space left on device" in error and str(folder) in error and error.count("\n") == 1
        if (folder / "config.yaml").exists():
            resume(folder)
    runs_there = RunFolder(folder)
    if (folder / "config.yaml").exists():
        assert runs_there.state == "finished" and runs_there.seed(0).column("epoch") == [1, 2, 3]


def test_an_atomic_write_leaves_the_old_file_and_no_part(tmp_path, monkeypatch):
    path = tmp_path / "x"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomically(path, "new")
    assert caught.value.filename == str(path)
    assert (path.read_text(), os.listdir(tmp_path)) == ("old", ["x"])


def test_a_device_is_written_to_and_a_folder_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_bytes)
        write_atomically(tmp_path / "pipe", "new")
        assert read.result() == b"new"
    with pytest.raises(IsADirectoryError) as caught:
        write_atomically(tmp_path, "new")
    assert caught.value.filename == str(tmp_path) and os.listdir(tmp_path) == ["pipe"]


@pytest.mark.parametrize(
    "error", [RuntimeError("no font"), OSError(30, "Read-only file system", "plots"), MemoryError()]
)
def test_pictures_never_fail_a_finished_run(tmp_path, monkeypatch, capsys, error):
    def fail(*_) -> None:
        raise error

    monkeypatch.setattr(plots, "draw_run", fail)
    monkeypatch.setattr(sys, "argv", ["snntha", "train", *TINY, "plots=true", f"output_dir={tmp_path / 'run'}"])
    assert cli.main() == 0
    assert f"note           no pictures: {type(error).__name__}" in capsys.readouterr().out


def test_drawing_has_its_own_look_whatever_the_environment_says(folder, tmp_path):
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nbackend: nonsense_of_mine\nfont.size: 77\n")
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "MPLBACKEND": "module://nowhere.backend_inline"}
    code = "import sys; from snntha.cli import main; sys.exit(main())"
    arguments = ["plot", f"run={folder}", "figure=curves", f"output={tmp_path / 'drawn'}"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=tmp_path, env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(tmp_path / "drawn")) == ["curves.png", "curves.svg"]


def test_a_page_that_cannot_be_written_leaves_the_old_one(folder, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    page.write_text("old")
    monkeypatch.setattr(io, "open", Full(page, 1000))
    with pytest.raises(OSError, match="No space left"):
        report([folder], html=page)
    assert page.read_text() == "old"


def test_a_folder_that_cannot_be_read_is_told(folder, monkeypatch, capsys):
    walk = os.walk

    def forbidden(top, **options):
        options["onerror"](PermissionError(13, "Permission denied", str(Path(top) / "secret")))
        return walk(top, **options)

    monkeypatch.setattr(os, "walk", forbidden)
    assert len(collect([folder.parent])) == 1
    assert "secret cannot be read (Permission denied), left out" in capsys.readouterr().err


def test_what_records_say_is_no_formula_no_escape_and_no_latex(tmp_path, capsys):
    write_run(tmp_path / "run", [50.0], activity=False)
    path = tmp_path / "run/summary.json"
    hostile = "=cmd|'/c calc'!A1 \x1b[2J \\input{/etc/passwd} <script>"
    path.write_text(json.dumps({**json.loads(path.read_text()), "fidelity": hostile, "mode": hostile}))
    for form in ("rich", "markdown", "csv", "latex"):
        report([tmp_path / "run"], form)
        text = capsys.readouterr().out
        assert "\x1b[2J" not in text and "calc" in text
        assert (r"\input{" in text) == (form in ("rich", "markdown", "csv")) or r"\\input" in text
        if form == "csv":
            assert "'=cmd" in text
    assert [csv_cell(value) for value in ("+1", "-x", "@x", " =x", 5, None)] == ["'+1", "'-x", "'@x", "' =x", 5, None]


@pytest.fixture
def signals():
    """As in a terminal, whatever the tests were started by."""
    before = {kind: signal.signal(kind, signal.SIG_DFL) for kind in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for kind, handler in before.items():
        signal.signal(kind, handler)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_before_training_has_its_status(monkeypatch, name):
    def send(*_) -> None:
        os.kill(os.getpid(), getattr(signal, name))
        time.sleep(5)

    monkeypatch.setattr(cli, "call", send)
    monkeypatch.setattr(sys, "argv", ["snntha", "list"])
    assert cli.main() == 128 + getattr(signal, name)


def test_an_ignored_hangup_stays_ignored(monkeypatch):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        monkeypatch.setattr(cli, "call", lambda *_: os.kill(os.getpid(), signal.SIGHUP))
        monkeypatch.setattr(sys, "argv", ["snntha", "list"])
        assert cli.main() == 0
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("signals")
@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_in_training_leaves_a_checkpoint_and_says_how_to_go_on(tmp_path, monkeypatch, capsys, name):
    def send(scores: list[float], epoch: int) -> None:
        os.kill(os.getpid(), getattr(signal, name))

    train = runs.run
    monkeypatch.setattr("snntha.closing.run", lambda *arguments, **options: train(*arguments, report=send, **options))
    folder = tmp_path / "a [b]"
    monkeypatch.setattr(sys, "argv", ["snntha", "train", *TINY, "epochs=9", f"output_dir={folder}"])
    assert cli.main() == 128 + getattr(signal, name)
    assert f"stopped; go on with: snntha train 'resume={folder}'" in capsys.readouterr().out
    resume(folder, epochs=2)


def test_a_reader_that_has_seen_enough_ends_the_run_with_a_word(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    code = "import sys; from snntha.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "train", *TINY, "epochs=2000", "output_dir=run"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **streams) as run:
        while "epoch 1/" not in run.stdout.readline():
            pass
        run.stdout.close()
        told = run.stderr.read().splitlines()
    assert run.returncode == 128 + signal.SIGPIPE
    assert told[-2] == "stopped; go on with: snntha train resume=run"
    assert told[-1] == "snntha train: stopped, nobody reads its output any more"


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "<&-"])
def test_a_closed_stream_is_as_if_it_went_nowhere(closed):
    code = "import sys; from snntha.cli import main; sys.exit(main())"
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    command = f'{sys.executable} -c "{code}" list {closed}'
    done = subprocess.run(command, shell=True, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_output_that_is_not_utf_8_is_written_in_what_it_has():
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    code = "import sys; from snntha.cli import main; sys.exit(main())"
    for arguments in (["plot"], ["data"], ["eval", "run=\u00fc"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], env=environment, capture_output=True)
        assert b"Traceback" not in done.stderr and done.returncode == (arguments[0] == "eval")


@pytest.mark.parametrize("content", [b"", b"\0" * 100, b"\x80\x04K\x01."])
def test_compiled_code_that_is_cut_is_discarded(tmp_path, monkeypatch, content):
    monkeypatch.setattr(compiled, "COMPILED_CODE", tmp_path)
    (tmp_path / "cpu_1").mkdir()
    path = tmp_path / "cpu_1" / "scan.f-1.py311.nbi"
    path.write_bytes(content)
    compiled.prepare(None, "auto")
    assert path.exists() == content.endswith(b".")


def test_half_made_caches_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path):
    dead, living = tmp_path / ".toy-train-1-dead", tmp_path / ".toy-train-1-living"
    for folder in (dead, living):
        (folder / "whole").mkdir(parents=True)
        (folder / "lock").touch()
    with cache._held(living / "lock"):
        cache._remove_abandoned(tmp_path, "toy-train-1")
    assert os.listdir(tmp_path) == [living.name]


def test_a_variable_that_keeps_numba_from_compiling_is_named(monkeypatch):
    monkeypatch.setattr(compiled.numba.config, "DISABLE_JIT", True)
    with pytest.raises(UserError, match="NUMBA_DISABLE_JIT is set"):
        compiled.prepare(None, "auto")
    compiled.prepare(None, "reference")
