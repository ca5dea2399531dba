"""Workers of a search as processes: together, killed, stopped, on other hosts, through Hydra's launchers."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

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


def start(cwd: Path, *arguments: str) -> subprocess.Popen:
    """`snntha train` as a process of its own, which a signal may hit."""
    variables = {**os.environ, "PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", COMMAND, "train", *arguments],
        cwd=cwd,
        env=variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    """Wait for it, and return what it printed."""
    with process:
        try:
            output, _ = process.communicate(timeout=TIMEOUT_S)
        finally:
            process.kill()
    return output


def search(cwd: Path, *arguments: str, status: int = 0) -> str:
    process = start(cwd, *SEARCH, *arguments)
    output = finish(process)
    assert process.returncode == status, output
    return output


def epochs(cwd: Path, number: int) -> list[int]:
    """That the folder of a trial records, in the order of its lines."""
    path = folder(cwd) / f"trial_{number}" / "trial_0" / "metrics.jsonl"
    return [json.loads(line)["epoch"] for line in path.read_text().splitlines()] if path.exists() else []


def wait_for_trial(cwd: Path, number: int, *processes: subprocess.Popen) -> None:
    """Until one of the processes has trained an epoch of that trial."""
    deadline = time.monotonic() + TIMEOUT_S
    while not epochs(cwd, number):
        assert any(process.poll() is None for process in processes), list(map(finish, processes))
        assert time.monotonic() < deadline
        time.sleep(0.05)


def folder(cwd: Path) -> Path:
    return cwd / "outputs" / "search" / STUDY


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


def stop_in_trial(cwd: Path, number: int, sent: signal.Signals, *arguments: str) -> tuple[int, str]:
    """Start a search, and send the signal once that trial trains; the exit status, and what was printed."""
    process = start(cwd, *SEARCH, *arguments)
    wait_for_trial(cwd, number, process)
    process.send_signal(sent)
    output = finish(process)
    return process.returncode, output


# --- On one machine ---


def test_of_two_workers_one_is_killed_and_the_other_goes_on_with_its_trial(tmp_path: Path) -> None:
    arguments = (*SEARCH, "search.n_trials=2", "search.epochs=20")
    workers = [start(tmp_path, *arguments)]
    wait_for_trial(tmp_path, 0, *workers)
    workers.append(start(tmp_path, *arguments))
    workers[0].kill()
    finish(workers[0])
    reached = epochs(tmp_path, 0)
    output = finish(workers[1])
    assert workers[1].returncode == 0, output
    found = trials(tmp_path)
    check_complete(found, 2, workers=2)
    assert taken_up(found) == {0}
    (again,) = [trial for trial in found if trial.params == found[0].params and trial.number != 0]
    assert worker_of(again) == workers[1].pid
    assert epochs(tmp_path, 0) == list(range(1, 21)) and 0 < len(reached) < 20, "it went on from its last epoch"
    assert sorted(again.intermediate_values) == list(range(1, 21))
    names = {path.name for path in folder(tmp_path).glob("trial_*")}
    assert names == {f"trial_{trial.number}" for trial in found} - {f"trial_{again.number}"}
    assert [path.name for path in (folder(tmp_path) / "trial_0").rglob("*.pt") if "checkpoints" in path.parts] == [
        "best.pt"
    ]


@pytest.mark.slow
def test_four_workers_share_a_study(tmp_path: Path) -> None:
    workers = [start(tmp_path, *SEARCH, "search.n_trials=24") for _ in range(4)]
    outputs = [finish(worker) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, outputs
    found = trials(tmp_path)
    check_complete(found, 24, workers=4)
    assert len({str(trial.params) for trial in found}) == len(found)
    assert len({worker_of(trial) for trial in found}) > 1


@pytest.mark.slow
def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(tmp_path: Path) -> None:
    arguments = ("search.n_trials=2", "search.epochs=60")
    status, output = stop_in_trial(tmp_path, 0, signal.SIGINT, *arguments)
    assert status == 130, output
    assert "stopped; the same command goes on" in output
    assert "Traceback" not in output
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.FAIL, TrialState.WAITING]
    search(tmp_path, *arguments)
    check_complete(trials(tmp_path), 2, workers=1)
    assert epochs(tmp_path, 0) == list(range(1, 61))


@pytest.mark.slow
def test_a_trial_that_kills_its_workers_fails_in_the_end(tmp_path: Path) -> None:
    arguments = ("search.n_trials=1", "search.epochs=100000", "search.max_deaths=2")
    for attempt in (0, 1, 2):
        process = start(tmp_path, *SEARCH, *arguments)
        deadline = time.monotonic() + TIMEOUT_S
        while len(found := trials(tmp_path) if folder(tmp_path).exists() else []) <= attempt or not found[-1].last_step:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.2)
        process.kill()
        finish(process)
    assert [trial.state for trial in found] == [TrialState.FAIL, TrialState.FAIL, TrialState.RUNNING]
    assert taken_up(found) == {0}, "trial 1 was the second attempt at trial 0, and trial 2 is a new one"


@pytest.mark.slow
def test_a_second_worker_waits_for_a_running_trial_and_leaves_it_alone(tmp_path: Path) -> None:
    arguments = (*SEARCH, "search.n_trials=1", "search.epochs=150")
    first = start(tmp_path, *arguments)
    wait_for_trial(tmp_path, 0, first)
    second = start(tmp_path, *arguments)
    outputs = [finish(first), finish(second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    (trial,) = trials(tmp_path)
    assert worker_of(trial) == first.pid


# --- What a user meets ---


@pytest.mark.slow
def test_a_search_goes_on_with_more_trials_but_not_with_another_setting(tmp_path: Path) -> None:
    search(tmp_path, "search.n_trials=2")
    before = [trial.params for trial in trials(tmp_path)]
    search(tmp_path, "search.n_trials=4")
    assert [trial.params for trial in trials(tmp_path)][:2] == before
    check_complete(trials(tmp_path), 4, workers=0)
    output = search(tmp_path, "search.n_trials=4", "search.epochs=2", status=1)
    assert "this study was begun with another configuration (search.epochs=2, there 1" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_trials_that_all_fail_stop_the_search_with_what_they_share(tmp_path: Path) -> None:
    arguments = ("search.failure_window=3", "optimizer.lr=1e38", "hparams.threshold.start=[1,1]", "mode=flt32")
    output = search(tmp_path, *arguments, "search.study_name=" + STUDY, status=1)
    assert "3 of the last 3 trials failed" in output
    assert " x NaN or Inf at epoch #, iteration #: " in output
    assert "Traceback" not in output
    assert [trial.state for trial in trials(tmp_path)] == [TrialState.FAIL] * 3


@pytest.mark.slow
def test_a_folder_from_elsewhere_is_not_overwritten(tmp_path: Path) -> None:
    search(tmp_path, "search.n_trials=1")
    config = (folder(tmp_path) / "trial_0" / "config.yaml").read_text()
    (folder(tmp_path) / "trial_1").mkdir()
    (folder(tmp_path) / "trial_1" / "config.yaml").write_text(config)
    output = search(tmp_path, "search.n_trials=2")
    assert "trial_1 holds another run: it is not overwritten" in " ".join(output.split())
    assert trials(tmp_path)[1].state == TrialState.FAIL
    assert (folder(tmp_path) / "trial_1" / "config.yaml").read_text() == config


# --- Launchers ---

launchers = pytest.mark.parametrize(
    "launcher",
    [
        pytest.param(name, marks=pytest.mark.skipif(find_spec(plugin) is None, reason=f"needs {plugin}"))
        for name, plugin in (
            ("joblib", "hydra_plugins.hydra_joblib_launcher"),
            ("submitit_local", "hydra_plugins.hydra_submitit_launcher"),
            ("ray", "hydra_plugins.hydra_ray_launcher"),
        )
    ],
)


@pytest.mark.slow
@launchers
def test_a_search_through_a_launcher(tmp_path: Path, launcher: str) -> None:
    search(tmp_path, f"launcher={launcher}", "search.n_trials=4", "search.workers=2")
    found = trials(tmp_path)
    check_complete(found, 4, workers=2)
    assert len({str(trial.params) for trial in found}) == len(found)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="needs joblib")
def test_a_killed_job_of_a_launcher_is_begun_again(tmp_path: Path) -> None:
    process = start(tmp_path, *SEARCH, "launcher=joblib", "search.n_trials=2", "search.workers=2", "search.epochs=60")
    wait_for_trial(tmp_path, 0, process)
    os.kill(worker_of(trials(tmp_path)[0]), signal.SIGKILL)
    output = finish(process)
    assert process.returncode == 0, output
    check_complete(trials(tmp_path), 2, workers=0)
    assert epochs(tmp_path, 0) == list(range(1, 61))


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hydra_plugins.hydra_submitit_launcher") is None, reason="needs submitit")
def test_a_job_that_outlives_its_worker_and_its_successor_do_not_train_at_once(tmp_path: Path) -> None:
    arguments = ("launcher=submitit_local", "search.n_trials=1", "search.epochs=400")
    status, output = stop_in_trial(tmp_path, 0, signal.SIGKILL, *arguments)
    assert status == -signal.SIGKILL, output
    job = worker_of(trials(tmp_path)[0])
    search(tmp_path, *arguments)
    found = trials(tmp_path)
    check_complete(found, 1, workers=0)
    assert worker_of(found[1]) != job
    assert epochs(tmp_path, 0) == list(range(1, 401)), "each epoch once"


@pytest.mark.slow
@launchers
def test_a_multirun_through_a_launcher(tmp_path: Path, launcher: str) -> None:
    process = start(tmp_path, "-m", "seed=1,2", f"launcher={launcher}", *PLAIN, "debug=smoke")
    output = finish(process)
    assert process.returncode == 0, output
    runs = sorted((tmp_path / "outputs" / "digits" / "annealed").iterdir())
    assert len(runs) == 2
    assert all((run / "summary.json").is_file() for run in runs)


# --- PostgreSQL ---

BINARIES = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)  # Debian keeps them off the PATH
INITDB = shutil.which("initdb") or (BINARIES and shutil.which("initdb", path=str(BINARIES)))


@dataclass(frozen=True)
class Server:
    """A PostgreSQL that lives as long as the test, its user with the password `secret`."""

    url: str
    control: Callable[..., object]  # pg_ctl with its last arguments


@pytest.fixture
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    pytest.importorskip("psycopg")
    if INITDB is None:
        pytest.skip("needs PostgreSQL's initdb")
    place = tmp_path_factory.mktemp("postgresql")
    user: dict[str, Any] = {}
    if os.getuid() == 0:  # the server refuses to run as root
        account = pwd.getpwnam("postgres")
        user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        os.chown(place, account.pw_uid, account.pw_gid)
        for parent in place.parents[:3]:  # pytest's folders are its user's alone
            parent.chmod(parent.stat().st_mode | 0o011)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (place / "password").write_text("secret")
    (place / "password").chmod(0o644)
    data, binaries = place / "data", Path(INITDB).parent
    initialise = [INITDB, "-D", str(data), "-U", "searcher", "-A", "scram-sha-256", f"--pwfile={place / 'password'}"]
    subprocess.run(initialise, check=True, cwd=place, capture_output=True, **user)
    options = f"-p {port} -k {place} -c listen_addresses=127.0.0.1 -c fsync=off"

    def control(*arguments: str) -> None:
        command = [str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(place / "log"), "-o", options, *arguments]
        subprocess.run(command, check=True, cwd=place, stdout=subprocess.DEVNULL, **user)

    control("start")
    try:
        yield Server(f"postgresql+psycopg://searcher:secret@127.0.0.1:{port}/postgres", control)
    finally:
        control("-m", "immediate", "stop")


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
    arguments = ("search.n_trials=4", f"search.storage={postgresql.url}", "search.epochs=60")
    worker = start(tmp_path, *SEARCH, *arguments)
    wait_for_trial(tmp_path, 1, worker)
    postgresql.control("-m", "immediate", "stop")
    time.sleep(5)
    assert worker.poll() is None
    postgresql.control("start")
    output = finish(worker)
    assert worker.returncode == 0, output
    check_complete(trials(tmp_path, postgresql.url), 4, workers=1)


@pytest.mark.slow
def test_two_machines_share_a_study_in_postgresql(tmp_path: Path, postgresql: Server) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    arguments = ("search.n_trials=8", f"search.storage={postgresql.url}")
    workers = [start(tmp_path, *SEARCH, *arguments, f"search.dir={path}") for path in folders]
    outputs = [finish(worker) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    found = trials(tmp_path, postgresql.url)
    check_complete(found, 8, workers=2)
    names = sorted(path.name for one in folders for path in (one / STUDY).glob("trial_*"))
    assert names == sorted(f"trial_{trial.number}" for trial in found), "each trial once, in one of the two"
    assert all(list((one / STUDY).glob("trial_*")) for one in folders)
    records = [path.read_text() for one in folders for path in (one / STUDY).glob("trial_*/*.*")]
    assert len(records) >= 3 * 8
    assert not any("searcher:secret" in text for text in [*records, *outputs])
    assert not any("secret" in str(trial.user_attrs) for trial in found)
    wrong_url = postgresql.url.replace("secret", "guess")
    wrong = search(tmp_path, "search.n_trials=8", f"search.storage={wrong_url}", status=1)
    assert "does not answer" in wrong
    assert "password authentication failed" in wrong
    assert "guess" not in wrong
    assert "Traceback" not in wrong
