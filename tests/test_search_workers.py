"""Workers of a search as processes: together, killed, stopped, on other hosts, through Hydra's launchers."""

import json
import os
import pwd
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial

from snntha.config import compose
from snntha.config.schema import Search
from snntha.records import Run, without_passwords
from snntha.search.failures import TooManyFailures, check_failures
from snntha.search.storage import StudyFull, connect, default_storage
from snntha.search.study import give_back, may_come_back, trials_left
from snntha.search.workers import is_alive, this_host, this_worker

CHECKOUT = Path(__file__).parents[1]
COMMAND = "import sys; from snntha.cli import main; sys.argv[0] = 'snntha'; sys.exit(main())"
PLAIN = [
    "dataset=digits", "mode=annealed", "dataset.time_steps=5", "model.topology=4Conv3-AP2-36Dense10",
    "hparams.batch_size=16", "backend=reference",
]  # fmt: skip
SEARCH = ["-m", "search=tpe", *PLAIN, "search.epochs=1", "search.limit=32"]
STUDY = "digits_annealed"
LONG = "search.epochs=100000"  # a trial that does not end before the signal comes
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


def wait_for_trial(cwd: Path, number: int, process: subprocess.Popen) -> None:
    """Until the process has trained an epoch of that trial."""
    deadline = time.monotonic() + TIMEOUT_S
    while not (folder(cwd) / f"trial_{number}" / "trial_0" / "metrics.jsonl").exists():
        assert process.poll() is None, finish(process)
        assert time.monotonic() < deadline
        time.sleep(0.05)


def folder(cwd: Path) -> Path:
    return cwd / "outputs" / "search" / STUDY


def trials(cwd: Path, storage: str | None = None) -> list[FrozenTrial]:
    database = connect(storage or default_storage(folder(cwd)))
    found = optuna.load_study(study_name=STUDY, storage=database).get_trials(deepcopy=False)
    database.remove_session()
    database.engine.dispose()
    return found


def parameters(cwd: Path) -> list[dict[str, Any]]:
    return [trial.params for trial in trials(cwd)]


def tree(cwd: Path) -> set[str]:
    """Every file of the study, by its path."""
    return {str(path.relative_to(folder(cwd))) for path in folder(cwd).rglob("*")}


def is_complete(cwd: Path, n_trials: int) -> bool:
    found = trials(cwd)
    assert [trial.number for trial in found] == list(range(n_trials))
    assert sorted(path.name for path in folder(cwd).glob("trial_*")) == sorted(f"trial_{k}" for k in range(n_trials))
    return all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in found)


def stop_in_trial(cwd: Path, number: int, sent: signal.Signals, *arguments: str) -> tuple[int, str]:
    """Start a search, and send the signal once that trial trains; the exit status, and what was printed."""
    process = start(cwd, *SEARCH, *arguments)
    wait_for_trial(cwd, number, process)
    process.send_signal(sent)
    output = finish(process)
    return process.returncode, output


# --- Together on one machine ---


@pytest.mark.slow
def test_four_workers_share_a_study(tmp_path: Path) -> None:
    workers = [start(tmp_path, *SEARCH, "search.n_trials=24", "search.pruner=none") for _ in range(4)]
    outputs = [finish(worker) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4, outputs
    assert is_complete(tmp_path, 24)
    assert len({str(values) for values in parameters(tmp_path)}) == 24
    assert len({trial.user_attrs["worker"] for trial in trials(tmp_path)}) > 1


def threads(count: int, work: Any) -> None:
    """Call `work()` from so many threads at the same moment."""
    barrier = threading.Barrier(count)

    def run() -> None:
        barrier.wait()
        work()

    running = [threading.Thread(target=run) for _ in range(count)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'study.db'}"


def new_study(url: str) -> optuna.Study:
    return optuna.create_study(study_name=STUDY, storage=connect(url), load_if_exists=True)


def dead(study: optuna.Study, **attributes: Any) -> FrozenTrial:
    """A running trial of a process that is gone."""
    worker = f"{this_host()}:4194304:1"  # one more than the largest pid
    study.add_trial(create_trial(state=TrialState.RUNNING, user_attrs={}))
    trial = study.get_trials(deepcopy=False)[-1]
    for key, value in {"worker": worker, **attributes}.items():
        study._storage.set_trial_user_attr(trial._trial_id, key, value)
    return study.get_trials(deepcopy=False)[-1]


OPTIONS = Search(n_trials=0, max_deaths=3, heartbeat_s=30, stale_s=300)


def test_a_waiting_trial_is_begun_once(url: str) -> None:
    study = new_study(url)
    for _ in range(30):
        study.enqueue_trial({})
    begun: list[int] = []

    def begin() -> None:
        worker = new_study(url)
        while (trial := worker._pop_waiting_trial_id()) is not None:
            begun.append(trial)

    threads(4, begin)
    assert len(begun) == 30
    assert len(set(begun)) == 30


def test_a_dead_workers_trials_are_taken_up_once(url: str) -> None:
    study = new_study(url)
    for _ in range(10):
        dead(study)
    begun: list[int] = []

    def reclaim() -> None:
        worker = new_study(url)
        while trials_left(worker, OPTIONS):
            trial = worker._pop_waiting_trial_id()
            begun.extend([] if trial is None else [trial])

    threads(4, reclaim)
    assert len(begun) == 10
    assert len(set(begun)) == 10
    assert [trial.user_attrs["deaths"] for trial in study.get_trials()] == [1] * 10
    assert {trial.user_attrs["worker"] for trial in study.get_trials()} == {this_worker()}


def test_a_trial_begun_anew_is_not_taken_away(url: str) -> None:
    study = new_study(url)
    trial = dead(study)
    storage = connect(url)
    storage.release(trial)
    study.ask()
    storage.release(trial)  # as it was read before
    assert study.get_trials()[0].state == TrialState.RUNNING


def test_a_batch_that_the_study_cuts_short_is_given_back(url: str) -> None:
    storage = connect(url)
    storage.limit = 1
    study = optuna.create_study(study_name=STUDY, storage=storage)
    study.ask()
    with pytest.raises(StudyFull):
        study.ask()
    give_back(study, stale_s=300)
    assert [trial.state for trial in study.get_trials()] == [TrialState.WAITING]


def test_who_works_on_a_trial_is_known_from_its_first_moment(url: str) -> None:
    study = new_study(url)
    study.ask()
    (trial,) = study.get_trials()
    assert trial.user_attrs["worker"] == this_worker()
    assert abs(trial.user_attrs["heartbeat"] - time.time()) < 60


# --- Dead or alive ---


def test_a_live_process_on_this_host_needs_no_heartbeat(url: str) -> None:
    study = new_study(url)
    trial = dead(study, worker=this_worker(), heartbeat=0.0)
    assert is_alive(trial, stale_s=300)
    assert trials_left(study, OPTIONS) == 0
    assert study.get_trials()[0].state == TrialState.RUNNING


def test_a_later_process_with_the_same_pid_is_another(url: str) -> None:
    host, pid, began = this_worker().rsplit(":", 2)
    assert not is_alive(dead(new_study(url), worker=f"{host}:{pid}:{int(began) - 1}"), stale_s=300)


def test_on_another_host_the_heartbeat_counts(url: str) -> None:
    study = new_study(url)
    dead(study, worker="elsewhere:1:1", heartbeat=time.time() - 100)
    assert trials_left(study, OPTIONS) == 0
    study._storage.set_trial_user_attr(study.get_trials()[0]._trial_id, "heartbeat", time.time() - 400)
    assert trials_left(study, OPTIONS) == 1
    assert study.get_trials()[0].state == TrialState.WAITING


def test_a_job_may_outlive_its_worker(url: str) -> None:
    study = new_study(url)
    trial = dead(study, job=this_worker())
    assert is_alive(trial, stale_s=300)
    assert trials_left(study, OPTIONS) == 0
    assert may_come_back(study, OPTIONS), "nobody tells what it will find"
    study._storage.set_trial_user_attr(trial._trial_id, "worker", this_worker())
    study._storage.set_trial_user_attr(trial._trial_id, "job", "elsewhere:1:1")
    study._storage.set_trial_user_attr(trial._trial_id, "heartbeat", time.time())
    assert not may_come_back(study, OPTIONS)
    give_back(study, stale_s=300)
    assert study.get_trials()[0].state == TrialState.RUNNING, "the job goes on without its worker"
    assert study.get_trials()[0].user_attrs["stopped"]


@pytest.mark.parametrize(("silence_s", "awaited"), [(0, False), (100, True), (400, False)])
def test_the_last_worker_waits_for_one_that_has_fallen_silent(url: str, silence_s: float, awaited: bool) -> None:
    study = new_study(url)
    dead(study, worker="elsewhere:1:1", heartbeat=time.time() - silence_s)
    assert may_come_back(study, OPTIONS) is awaited


def test_a_stop_is_not_counted_as_a_death(url: str) -> None:
    study = new_study(url)
    dead(study, stopped=True)
    assert trials_left(study, OPTIONS) == 1
    assert study.get_trials()[0].user_attrs["deaths"] == 0


def test_each_begin_of_a_trial_has_its_own_claim(url: str) -> None:
    study = new_study(url)
    study.ask()
    first = study.get_trials()[0].user_attrs["claim"]
    give_back(study, stale_s=300)
    study.ask()
    assert study.get_trials()[0].user_attrs["claim"] != first


def test_a_database_may_be_away_for_a_while(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = connect(url)
    storage.engine.dispose()
    real, calls = storage.engine.dialect.connect, []

    def connection(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        if len(calls) < 3:
            raise sqlite3.OperationalError("the server is starting up")
        return real(*arguments, **options)

    monkeypatch.setattr(storage.engine.dialect, "connect", connection)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    assert storage.get_all_studies() == []
    assert len(calls) == 3


def test_a_trial_that_kills_its_workers_fails_in_the_end(url: str) -> None:
    study = new_study(url)
    dead(study, deaths=2)
    assert trials_left(study, OPTIONS) == 0
    (trial,) = study.get_trials()
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["failure"] == "3 workers died in this trial (killed, perhaps for want of memory)"


def test_failures_before_the_start_do_not_stop_a_search() -> None:
    failed = [create_trial(state=TrialState.FAIL, user_attrs={"failure": "no data"}) for _ in range(10)]
    options = Search(max_failure_share=0.5, failure_window=10)
    with pytest.raises(TooManyFailures, match="10 x no data"):
        check_failures(failed, options, since=datetime.now() - timedelta(hours=1))
    check_failures(failed, options, since=datetime.now() + timedelta(hours=1))


# --- Killed and stopped ---


def test_a_killed_worker_s_trial_is_taken_up_again(tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for cwd in (calm, killed):
        cwd.mkdir()
    arguments = ("search.n_trials=2", "search.epochs=20", "search.pruner=none")
    undisturbed = start(calm, *SEARCH, *arguments)
    status, output = stop_in_trial(killed, 0, signal.SIGKILL, *arguments)
    assert status == -signal.SIGKILL, output
    before = trials(killed)
    assert [trial.state for trial in before] == [TrialState.RUNNING]
    search(killed, *arguments)
    output = finish(undisturbed)
    assert undisturbed.returncode == 0, output
    assert is_complete(killed, 2)
    assert trials(killed)[0].params == before[0].params
    assert trials(killed)[0].user_attrs["deaths"] == 1
    assert parameters(killed) == parameters(calm)
    assert [trial.values for trial in trials(killed)] == [trial.values for trial in trials(calm)]
    assert tree(killed) == tree(calm)


def test_ctrl_c_says_how_to_go_on(tmp_path: Path) -> None:
    status, output = stop_in_trial(tmp_path, 0, signal.SIGINT, "search.n_trials=1", LONG)
    assert status == 130, output
    assert "stopped; the same command goes on" in output
    assert "Traceback" not in output
    (trial,) = trials(tmp_path)
    assert trial.state == TrialState.WAITING
    assert "deaths" not in trial.user_attrs


@pytest.mark.slow
def test_ctrl_c_and_the_same_command_end_as_an_undisturbed_search(tmp_path: Path) -> None:
    calm, stopped = tmp_path / "calm", tmp_path / "stopped"
    for cwd in (calm, stopped):
        cwd.mkdir()
    arguments = ("search.n_trials=3", "search.epochs=30", "search.pruner=none")
    search(calm, *arguments)
    assert stop_in_trial(stopped, 1, signal.SIGINT, *arguments)[0] == 130
    search(stopped, *arguments)
    assert is_complete(stopped, 3)
    assert parameters(stopped) == parameters(calm)
    assert tree(stopped) == tree(calm)


@pytest.mark.slow
def test_a_search_killed_twice_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    for cwd in (calm, killed):
        cwd.mkdir()
    undisturbed = start(calm, *SEARCH, "search.n_trials=30")
    for number in (7, 19):
        assert stop_in_trial(killed, number, signal.SIGKILL, "search.n_trials=30")[0] == -signal.SIGKILL
    search(killed, "search.n_trials=30")
    output = finish(undisturbed)
    assert undisturbed.returncode == 0, output
    assert is_complete(killed, 30)
    assert parameters(killed) == parameters(calm)
    assert tree(killed) == tree(calm)


@pytest.mark.slow
def test_a_second_worker_leaves_a_running_trial_alone(tmp_path: Path) -> None:
    first = start(tmp_path, *SEARCH, "search.n_trials=1", LONG)
    wait_for_trial(tmp_path, 0, first)
    output = search(tmp_path, "search.n_trials=1", LONG)
    assert "1 running in other workers, the last of which draws the pictures" in output
    assert not (folder(tmp_path) / "pictures").exists()
    assert first.poll() is None
    (trial,) = trials(tmp_path)
    assert trial.state == TrialState.RUNNING
    assert f":{first.pid}:" in trial.user_attrs["worker"]
    first.kill()
    finish(first)


# --- What a user meets ---


@pytest.mark.slow
def test_a_search_goes_on_with_more_trials_but_not_with_another_setting(tmp_path: Path) -> None:
    search(tmp_path, "search.n_trials=2")
    before = parameters(tmp_path)
    search(tmp_path, "search.n_trials=4")
    assert is_complete(tmp_path, 4)
    assert parameters(tmp_path)[:2] == before
    output = search(tmp_path, "search.n_trials=4", "search.epochs=2", status=1)
    assert "this study was begun with another configuration (epochs=2, there 1" in output
    assert "Traceback" not in output


@pytest.mark.slow
def test_trials_that_all_fail_stop_the_search_with_what_they_share(tmp_path: Path) -> None:
    arguments = ("search.n_trials=30", "search.failure_window=3", "optimizer.lr=1e38", "hparams.threshold.start=[1,1]")
    output = search(tmp_path, *arguments, "mode=flt32", "search.study_name=" + STUDY, status=1)
    assert "3 of the last 3 trials failed" in output
    assert " x NaN or Inf at epoch #, iteration #: " in output
    assert "Traceback" not in output
    states = [trial.state for trial in trials(tmp_path)]
    assert states[:3] == [TrialState.FAIL] * 3
    assert len(states) == 4, "the fourth was only asked for"


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
    search(tmp_path, f"launcher={launcher}", "search.n_trials=4", "search.batch=2", "search.pruner=none")
    assert is_complete(tmp_path, 4)
    assert len({str(values) for values in parameters(tmp_path)}) == 4


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hydra_plugins.hydra_joblib_launcher") is None, reason="needs joblib")
def test_a_killed_job_of_a_launcher_does_not_end_the_search(tmp_path: Path) -> None:
    arguments = ("launcher=joblib", "search.n_trials=4", "search.batch=2", "search.pruner=none", "search.epochs=60")
    process = start(tmp_path, *SEARCH, *arguments)
    wait_for_trial(tmp_path, 0, process)
    job = trials(tmp_path)[0].user_attrs["job"]
    os.kill(int(job.split(":")[1]), signal.SIGKILL)
    output = finish(process)
    assert process.returncode == 0, output
    assert is_complete(tmp_path, 4)
    assert trials(tmp_path)[0].user_attrs["deaths"] == 1


@pytest.mark.slow
@pytest.mark.skipif(find_spec("hydra_plugins.hydra_submitit_launcher") is None, reason="needs submitit")
def test_a_job_that_outlives_its_worker_is_not_disturbed(tmp_path: Path) -> None:
    arguments = ("launcher=submitit_local", "search.n_trials=1", "search.epochs=400", "search.heartbeat_s=1")
    status, output = stop_in_trial(tmp_path, 0, signal.SIGKILL, *arguments)
    assert status == -signal.SIGKILL, output
    job = trials(tmp_path)[0].user_attrs["job"]
    search(tmp_path, *arguments)
    assert is_complete(tmp_path, 1)
    assert trials(tmp_path)[0].user_attrs["job"] != job, "a second one found what the first had recorded"
    lines = (folder(tmp_path) / "trial_0" / "trial_0" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == list(range(1, 401))


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
    arguments = ("search.n_trials=6", f"search.storage={postgresql.url}", "search.epochs=30", "search.heartbeat_s=0.2")
    worker = start(tmp_path, *SEARCH, *arguments)
    wait_for_trial(tmp_path, 1, worker)
    postgresql.control("-m", "immediate", "stop")
    time.sleep(5)
    assert worker.poll() is None
    postgresql.control("start")
    output = finish(worker)
    assert worker.returncode == 0, output
    states = [trial.state for trial in trials(tmp_path, postgresql.url)]
    assert len(states) == 6
    assert set(states) <= {TrialState.COMPLETE, TrialState.PRUNED}


@pytest.mark.slow
def test_two_machines_share_a_study_in_postgresql(tmp_path: Path, postgresql: Server) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    arguments = ("search.n_trials=8", f"search.storage={postgresql.url}")
    workers = [start(tmp_path, *SEARCH, *arguments, f"search.dir={path}") for path in folders]
    outputs = [finish(worker) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], outputs
    found = trials(tmp_path, postgresql.url)
    assert [trial.number for trial in found] == list(range(8))
    assert all(trial.state in (TrialState.COMPLETE, TrialState.PRUNED) for trial in found)
    names = sorted(path.name for one in folders for path in (one / STUDY).glob("trial_*"))
    assert names == [f"trial_{number}" for number in range(8)], "each trial once, in one of the two"
    assert all(list((one / STUDY).glob("trial_*")) for one in folders)
    records = [path.read_text() for one in folders for path in (one / STUDY).glob("trial_*/*.*")]
    assert len(records) >= 3 * 8
    assert not any("searcher:secret" in text for text in records)
    assert not any("secret" in str(trial.user_attrs) for trial in found)
    wrong_url = postgresql.url.replace("secret", "guess")
    wrong = search(tmp_path, "search.n_trials=8", f"search.storage={wrong_url}", status=1)
    assert "does not answer" in wrong
    assert "password authentication failed" in wrong
    assert "guess" not in wrong
    assert "Traceback" not in wrong
