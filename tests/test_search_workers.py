"""Workers of a search as processes: together, killed, stopped, on other hosts, through Hydra's launchers."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from postgresql import INITDB, Server, server

from snntha.config import compose
from snntha.records import Run, without_passwords
from snntha.search.shared_study import connect, taken_up

CHECKOUT = Path(__file__).parents[1]
COMMAND = "import sys; from snntha.cli import main; sys.argv[0] = 'snntha'; sys.exit(main())"
PLAIN = [
    "dataset=digits", "mode=annealed", "dataset.time_steps=5", "model.topology=4Conv3-AP2-36Dense10",
    "hparams.batch_size=16", "backend=reference",
]  # fmt: skip
QUICK = ["search.epochs=1", "search.limit=32", "search.pruner=none", "search.heartbeat_s=1", "search.stale_s=3"]
SEARCH = ["-m", "search=tpe", *PLAIN, *QUICK]
STUDY = "digits_annealed"
TIMEOUT_S = 300

pytestmark = pytest.mark.usefixtures("quiet_optuna")


def start(cwd: Path, *arguments: str, of: Sequence[str] = SEARCH) -> subprocess.Popen:
    """`snntha train` as a process of its own, which a signal may hit; by default it searches."""
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "train", *of, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"},
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen, status: int = 0) -> str:
    """Wait until it ends with this status, and return what it printed."""
    with process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    assert process.returncode == status, output
    return output


def kill(process: subprocess.Popen) -> None:
    process.kill()
    finish(process, -signal.SIGKILL)


def folder(cwd: Path) -> Path:
    return cwd / "outputs" / "search" / STUDY


def epochs(cwd: Path, number: int) -> list[int]:
    """That the folder of a trial records, in the order of its lines."""
    path = folder(cwd) / f"trial_{number}" / "trial_0" / "metrics.jsonl"
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []


def wait_until(condition: Callable[[], object], process: subprocess.Popen) -> None:
    """That holds while the process lives."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def started(cwd: Path, number: int, *arguments: str) -> subprocess.Popen:
    """A search that has trained an epoch of that trial."""
    process = start(cwd, *arguments)
    wait_until(lambda: epochs(cwd, number), process)
    return process


def trials(cwd: Path, storage: str | None = None) -> list[FrozenTrial]:
    database = connect(storage or f"sqlite:///{folder(cwd) / 'study.db'}")
    found = optuna.load_study(study_name=STUDY, storage=database).get_trials(deepcopy=False)
    database.remove_session()
    database.engine.dispose()
    return found


def check_complete(found: list[FrozenTrial], fewest: int, workers: int) -> None:
    """All trials but those that went on under another number are complete, and no more than one too many a worker."""
    again = taken_up(found)
    assert {trial.state for trial in found if trial.number in again} <= {TrialState.FAIL}
    assert {trial.state for trial in found if trial.number not in again} == {TrialState.COMPLETE}
    assert fewest <= len(found) - len(again) <= fewest + workers
    assert [trial.number for trial in found] == list(range(len(found)))


def worker_of(trial: FrozenTrial) -> int:
    """The process that trained it."""
    return int(trial.user_attrs["worker"].partition(":")[2])


# --- On one machine ---


def test_of_two_workers_one_is_killed_and_the_other_goes_on_with_its_trial(tmp_path: Path) -> None:
    arguments = ("search.n_trials=2", "search.epochs=20")
    killed = started(tmp_path, 0, *arguments)
    other = start(tmp_path, *arguments)
    kill(killed)
    reached = epochs(tmp_path, 0)
    finish(other)
    found = trials(tmp_path)
    check_complete(found, 2, workers=2)
    assert taken_up(found) == {0}
    (again,) = [trial for trial in found if trial.params == found[0].params and trial.number != 0]
    assert worker_of(again) == other.pid
    assert epochs(tmp_path, 0) == list(range(1, 21)) and 0 < len(reached) < 20, "it went on from its last epoch"
    unreported = set(range(1, 21)) - set(again.intermediate_values)
    assert unreported <= {reached[-1]}, "an epoch may be recorded and its process killed before it reports"
    names = {path.name for path in folder(tmp_path).glob("trial_*")}
    assert names == {f"trial_{trial.number}" for trial in found} - {f"trial_{again.number}"}
    assert [path.name for path in (folder(tmp_path) / "trial_0").rglob("checkpoints/*.pt")] == ["best.pt"]


@pytest.mark.slow
def test_four_workers_share_a_study(tmp_path: Path) -> None:
    for worker in [start(tmp_path, "search.n_trials=24") for _ in range(4)]:
        finish(worker)
    found = trials(tmp_path)
    check_complete(found, 24, workers=4)
    assert len({str(trial.params) for trial in found}) == len(found)
    assert len({worker_of(trial) for trial in found}) > 1


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), ("launcher=joblib", "search.workers=2")])
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(tmp_path: Path, launcher: tuple[str, ...]) -> None:
    arguments = ("search.n_trials=2", "search.epochs=100", *launcher)
    process = started(tmp_path, 0, *arguments)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    output = finish(process, 130)
    assert "stopped; the same command goes on" in output
    assert "Traceback" not in output
    stopped = 2 if launcher else 1
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.FAIL] * stopped + [TrialState.WAITING] * stopped
    finish(start(tmp_path, *arguments))
    check_complete(trials(tmp_path), 2, workers=1)
    assert epochs(tmp_path, 0) == list(range(1, 101))


@pytest.mark.slow
def test_a_trial_that_kills_its_workers_is_given_up(tmp_path: Path) -> None:
    def has_reported(attempt: int) -> bool:
        return len(found := trials(tmp_path)) > attempt and found[-1].last_step is not None

    for attempt in range(3):
        process = started(tmp_path, 0, "search.n_trials=1", "search.epochs=100000", "search.max_deaths=2")
        wait_until(partial(has_reported, attempt), process)
        kill(process)
    found = trials(tmp_path)
    assert [trial.state for trial in found] == [TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING]
    assert taken_up(found) == {0}, "trial 1 was the second attempt at trial 0, trial 2 is a new one"
    assert found[1].params == found[0].params != found[2].params


@pytest.mark.slow
def test_a_second_worker_waits_for_a_running_trial_and_leaves_it_alone(tmp_path: Path) -> None:
    arguments = ("search.n_trials=1", "search.epochs=150")
    first = started(tmp_path, 0, *arguments)
    second = start(tmp_path, *arguments)
    finish(first)
    finish(second)
    (trial,) = trials(tmp_path)
    assert worker_of(trial) == first.pid


# --- Launchers ---


def through(launcher: str) -> pytest.MarkDecorator:
    plugin = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    return pytest.mark.skipif(find_spec(plugin) is None, reason=f"needs {plugin}")


launchers = pytest.mark.parametrize(
    "launcher", [pytest.param(name, marks=through(name)) for name in ("joblib", "submitit_local", "ray")]
)


@pytest.mark.slow
@launchers
def test_a_search_through_a_launcher(tmp_path: Path, launcher: str) -> None:
    finish(start(tmp_path, f"launcher={launcher}", "search.n_trials=4", "search.workers=2"))
    found = trials(tmp_path)
    check_complete(found, 4, workers=2)
    assert len({str(trial.params) for trial in found}) == len(found)


@pytest.mark.slow
@through("joblib")
def test_a_killed_job_of_a_launcher_is_begun_again(tmp_path: Path) -> None:
    arguments = ("launcher=joblib", "search.n_trials=2", "search.workers=2", "search.epochs=60")
    process = started(tmp_path, 0, *arguments)
    os.kill(worker_of(trials(tmp_path)[0]), signal.SIGKILL)
    finish(process)
    check_complete(trials(tmp_path), 2, workers=0)
    assert epochs(tmp_path, 0) == list(range(1, 61))


@pytest.mark.slow
@through("submitit")
def test_a_job_that_outlives_its_worker_and_its_successor_do_not_train_at_once(tmp_path: Path) -> None:
    arguments = ("launcher=submitit_local", "search.n_trials=1", "search.epochs=400")
    kill(started(tmp_path, 0, *arguments))
    job = worker_of(trials(tmp_path)[0])
    finish(start(tmp_path, *arguments))
    found = trials(tmp_path)
    check_complete(found, 1, workers=0)
    assert worker_of(found[1]) != job
    assert epochs(tmp_path, 0) == list(range(1, 401)), "each epoch once"


@pytest.mark.slow
@launchers
def test_a_multirun_through_a_launcher(tmp_path: Path, launcher: str) -> None:
    finish(start(tmp_path, f"launcher={launcher}", of=["-m", "seed=1,2", *PLAIN, "debug=smoke"]))
    runs = sorted((tmp_path / "outputs" / "digits" / "annealed").iterdir())
    assert len(runs) == 2
    assert all((run / "summary.json").is_file() for run in runs)


# --- PostgreSQL ---


@pytest.fixture
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("psycopg")
    if INITDB is None:
        pytest.skip("needs PostgreSQL's initdb")
    with server(tmp_path_factory.mktemp("postgresql")) as running:
        yield running


@pytest.mark.parametrize(
    "url, text",
    [
        ("postgresql+psycopg://me:se:cr@et@host:1/db", "postgresql+psycopg://me:***@host:1/db"),
        ("postgresql://host/db?user=me&password=secret&x=1", "postgresql://host/db?user=me&password=***&x=1"),
        ("postgresql://me@host/db", "postgresql://me@host/db"),
        ("sqlite:////folder/study.db", "sqlite:////folder/study.db"),
        ("train 'x=p://u@h/d?password=secret' a@b", "train 'x=p://u@h/d?password=***' a@b"),
        ("x=p://u:secret@h/d seed=1\nname: a@b:c\n", "x=p://u:***@h/d seed=1\nname: a@b:c\n"),
    ],
)
def test_a_password_is_not_shown(url: str, text: str) -> None:
    assert without_passwords(url) == text


def test_a_password_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = "search.storage=postgresql://me:secret@host/db"
    monkeypatch.setattr("sys.argv", ["snntha", "train", storage])
    Run.create(compose(["search=tpe", "search.trial=0", storage, f"output_dir={tmp_path}"]), "fingerprint")
    for name in ("config.yaml", "environment.json"):
        text = (tmp_path / name).read_text()
        assert "me:***@host" in text
        assert "secret" not in text


@pytest.mark.slow
def test_a_server_that_starts_anew_does_not_end_a_search(tmp_path: Path, postgresql: Server) -> None:
    storage = f"search.storage={postgresql.url}"
    worker = started(tmp_path, 1, "search.n_trials=4", storage, "search.epochs=60")
    postgresql.control("-m", "immediate", "stop")
    time.sleep(5)
    assert worker.poll() is None
    postgresql.control("start")
    finish(worker)
    check_complete(trials(tmp_path, postgresql.url), 4, workers=1)


@pytest.mark.slow
def test_two_machines_share_a_study_in_postgresql(tmp_path: Path, postgresql: Server) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    arguments = ("search.n_trials=8", f"search.storage={postgresql.url}")
    workers = [start(tmp_path, *arguments, f"search.dir={path}") for path in folders]
    outputs = [finish(worker) for worker in workers]
    found = trials(tmp_path, postgresql.url)
    check_complete(found, 8, workers=2)
    names = sorted(path.name for one in folders for path in (one / STUDY).glob("trial_*"))
    assert names == sorted(f"trial_{trial.number}" for trial in found), "each trial once, in one of the two"
    assert all(list((one / STUDY).glob("trial_*")) for one in folders)
    records = [path.read_text() for one in folders for path in (one / STUDY).glob("trial_*/*.*")]
    assert len(records) >= 3 * 8
    assert not any("searcher:secret" in text for text in [*records, *outputs])
    assert not any("secret" in str(trial.user_attrs) for trial in found)
    wrong = finish(start(tmp_path, f"search.storage={postgresql.url.replace('secret', 'guess')}"), 1)
    assert "does not answer" in wrong
    assert "password authentication failed" in wrong
    assert "guess" not in wrong
    assert "Traceback" not in wrong
