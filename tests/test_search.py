"""The parts of a search: its space, sampler, storage and rules, and trials run in this process."""

import json
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from snntha.cli import main
from snntha.config import ConfigError, compose
from snntha.config.schema import Config
from snntha.errors import UserError
from snntha.search import job
from snntha.search.failures import check_failures
from snntha.search.sampler import build_pruner, build_sampler
from snntha.search.space import dimensions, implied, suggest
from snntha.search.storage import StudyFull, connect, default_storage
from snntha.search.study import join, open_study, reclaim, trials_left
from snntha.search.workers import this_worker

pytestmark = pytest.mark.usefixtures("quiet_optuna")

DATASETS = ("digits", "mnist", "fashion_mnist", "dvs_gesture", "shd", "temporal_coding")
MODES = ("flt32", "bsnn_theta1", "bsnn", "annealed")
SMALL = ("search=tpe", "search.limit=32", "search.epochs=1", "hparams.batch_size=16", "backend=reference")


def config_of(folder: Path, *overrides: str) -> Config:
    return compose([*SMALL, f"search.dir={folder}", *overrides])


def search(monkeypatch: pytest.MonkeyPatch, folder: Path, *overrides: str) -> tuple[int, optuna.Study]:
    """Run a search on a little of digits in this process; its exit status and study."""
    monkeypatch.setattr("sys.argv", ["snntha", "train", "-m", *SMALL, f"search.dir={folder}", *overrides])
    status = main()
    name = next((text.partition("=")[2] for text in overrides if "study_name" in text), "digits_annealed")
    return status, open_study(name, connect(default_storage(folder / name)))


def value_at(config: Config, key: str) -> Any:
    value: Any = config
    for part in key.split("."):
        value = value[int(part)] if part.isdecimal() else getattr(value, part)
    return value


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("dataset", DATASETS)
def test_every_published_value_lies_inside_its_range(dataset: str, mode: str) -> None:
    config = compose(["search=tpe", f"dataset={dataset}", f"mode={mode}"])
    for key, dimension in dimensions(config):
        published = value_at(config, key)
        if dimension.choices:
            assert published in [None if choice == "null" else choice for choice in dimension.choices], key
        elif key == "optimizer.momentum" and config.optimizer.name == "adam":
            assert published == 0
        else:
            assert dimension.low is not None and dimension.high is not None
            assert dimension.low <= published < dimension.high, key


@pytest.mark.parametrize(
    ("dataset", "mode", "searched"),
    [
        ("shd", "bsnn_theta1", "beta slope lr grad_clip weight_clip dropout.0 dropout.1"),
        ("shd", "bsnn", "beta slope lr grad_clip weight_clip dropout.0 dropout.1 threshold.start.0 threshold.start.1"),
        (
            "fashion_mnist",
            "flt32",
            "beta slope lr grad_clip weight_clip batch_norm dropout.0 optimizer momentum "
            "threshold.start.0 threshold.start.1 threshold.start.2",
        ),
        (
            "digits",
            "annealed",
            "beta slope lr grad_clip weight_clip batch_norm dropout.0 threshold.start.0 threshold.start.1 "
            "threshold.rise.0 threshold.rise.1 threshold.rate.0 threshold.rate.1",
        ),
    ],
)
def test_data_set_and_mode_select_what_is_searched(dataset: str, mode: str, searched: str) -> None:
    config = compose(["search=tpe", f"dataset={dataset}", f"mode={mode}"])
    assert [key.removeprefix("hparams.") for key, _ in dimensions(config)] == searched.split()


def ask(config: Config, study: optuna.Study, settled: tuple[str, ...] = ()) -> optuna.Trial:
    trial = study.ask()
    for key in settled:
        trial.set_user_attr(key, "settled")
    suggest(config, trial)
    return trial


def test_momentum_is_drawn_only_with_sgd_and_adam_gets_none() -> None:
    config = compose(["search=tpe", "dataset=fashion_mnist", "mode=annealed"])
    assert config.search is not None and config.optimizer.momentum > 0
    study = optuna.create_study(sampler=build_sampler(config.search, seed=0))
    trials = [ask(config, study) for _ in range(20)]
    chosen = {trial.params["optimizer.name"] for trial in trials}
    assert chosen == {"adam", "sgd"}
    for trial in trials:
        adam = trial.params["optimizer.name"] == "adam"
        assert ("optimizer.momentum" in trial.params) is not adam
        assert implied(config, trial) == (["optimizer.momentum=0.0"] if adam else [])


def test_what_the_command_line_settles_is_not_searched() -> None:
    config = compose(["search=tpe"])
    trial = ask(config, optuna.create_study(), settled=("hparams", "hparams.beta", "hparams.threshold.rate"))
    assert "hparams.beta" not in trial.params
    assert "hparams.threshold.rate.0" not in trial.params
    assert {"hparams.slope", "hparams.threshold.rise.0"} <= trial.params.keys()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_parameters_follow_from_seed_and_number_of_the_trial(sampler: str) -> None:
    config = compose(["search=tpe", f"search.sampler={sampler}", "search.samplers.tpe.n_startup_trials=3"])
    assert config.search is not None

    def run(restart_after: int) -> list[dict[str, Any]]:
        assert config.search is not None
        study = optuna.create_study(direction="maximize", sampler=build_sampler(config.search, seed=7))
        for number in range(8):
            if number == restart_after:
                study.sampler = build_sampler(config.search, seed=7)
            trial = ask(config, study)
            study.tell(trial, trial.params["hparams.beta"])
        return [trial.params for trial in study.trials]

    whole, restarted = run(restart_after=100), run(restart_after=2)
    assert whole == restarted
    assert len({json.dumps(params) for params in whole}) == 8


def test_sampler_arguments_are_checked() -> None:
    config = compose(["search=tpe", "+search.samplers.tpe.n_startup=3", "+search.pruners.median.warmup=1"])
    assert config.search is not None
    with pytest.raises(UserError, match=r"search\.samplers\.tpe=.*n_startup"):
        optuna.create_study(sampler=build_sampler(config.search, seed=0)).ask()
    with pytest.raises(UserError, match=r"search\.pruners\.median=.*warmup"):
        build_pruner(config.search)


def test_no_trial_beyond_the_limit_however_many_ask_at_once(tmp_path: Path) -> None:
    url = default_storage(tmp_path)
    optuna.create_study(study_name="s", storage=connect(url))

    def worker(_: int) -> int:
        storage = connect(url)
        storage.limit = 10
        study, asked = optuna.load_study(study_name="s", storage=storage), 0
        try:
            while True:
                study.ask()
                asked += 1
        except StudyFull:
            return asked

    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(worker, range(4)))
    assert sum(asked) == 10
    assert [trial.number for trial in optuna.load_study(study_name="s", storage=connect(url)).trials] == list(range(10))


def test_a_marked_trial_is_stored_as_pruned(tmp_path: Path) -> None:
    study = optuna.create_study(study_name="s", storage=connect(default_storage(tmp_path)))
    trial = study.ask()
    trial.report(3.0, 1)
    trial.set_user_attr("pruned", True)
    study.tell(trial, 3.0)
    assert [(trial.state, trial.value) for trial in study.trials] == [(TrialState.PRUNED, 3.0)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "nonsense: .*SQLAlchemy URL"),
        ("sqlite:////nowhere/at/all/study.db", "does not answer: .*unable to open"),
    ],
)
def test_a_storage_that_cannot_be_opened_is_named(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        connect(url, patience_s=0)


def test_a_second_start_must_be_of_the_same_configuration(tmp_path: Path) -> None:
    join(config_of(tmp_path))
    join(config_of(tmp_path, "search.n_trials=900", "threads=2", "search.heartbeat_s=1"))
    with pytest.raises(UserError, match=r"begun with another configuration \(.*epochs=2, there 1"):
        join(config_of(tmp_path, "search.epochs=2"))


def test_ranges_of_the_command_line_belong_to_the_configuration(tmp_path: Path) -> None:
    narrow = ["optimizer.lr=tag(log,interval(1e-3,2e-3))", "threads=1"]
    join(config_of(tmp_path), narrow)
    join(config_of(tmp_path), [*reversed(narrow), "search.n_trials=3"])
    with pytest.raises(UserError, match=r"command line=, there hparams\.lr=tag"):
        join(config_of(tmp_path))


def test_a_smaller_number_of_trials_does_not_shrink_the_study(tmp_path: Path) -> None:
    join(config_of(tmp_path, "search.n_trials=10"))
    assert join(config_of(tmp_path, "search.n_trials=3")).user_attrs["n_trials"] == 10


def test_trials_of_a_lost_storage_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "digits_annealed" / "trial_0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds trials, but search\.storage=.* knows no trial"):
        join(config_of(tmp_path))


def running_trial(study: optuna.Study, **attributes: Any) -> int:
    trial = study.ask()
    for key, value in attributes.items():
        trial.set_user_attr(key, value)
    return trial.number


def test_only_trials_of_dead_workers_are_reclaimed(tmp_path: Path) -> None:
    config = config_of(tmp_path, "search.n_trials=10")
    assert config.search is not None
    study = join(config)
    host, pid, start = this_worker().rsplit(":", 2)
    running_trial(study, worker=f"{host}:{pid}:{start}", heartbeat=0.0)  # lives, whatever its heartbeat
    running_trial(study, worker=f"{host}:{pid}:{start}0")  # another process had this pid
    running_trial(study, worker=f"elsewhere:{pid}:{start}", heartbeat=0.0)
    running_trial(study, worker=f"elsewhere:{pid}:{start}", heartbeat=math.inf)
    reclaim(study, config.search)
    running, waiting = TrialState.RUNNING, TrialState.WAITING
    assert [trial.state for trial in study.trials] == [running, waiting, waiting, running]
    assert trials_left(study, config.search) == 10 - 2
    assert study.ask().number == 1


def test_a_trial_that_kills_its_workers_fails_in_the_end(tmp_path: Path) -> None:
    config = config_of(tmp_path, "search.max_deaths=2")
    assert config.search is not None
    study = join(config)
    for _ in range(2):
        assert running_trial(study, worker="elsewhere:1:1", heartbeat=0.0) == 0
        reclaim(study, config.search)
    (trial,) = study.trials
    assert trial.state == TrialState.FAIL
    assert "2 workers died" in trial.user_attrs["failure"]


def trials_with(failed_lr: list[float], complete_lr: list[float]) -> list[optuna.trial.FrozenTrial]:
    study = optuna.create_study(direction="maximize")
    ranges = {
        "optimizer.lr": optuna.distributions.FloatDistribution(0.0, 1.0),
        "hparams.batch_norm": optuna.distributions.CategoricalDistribution([True, False]),
    }
    for lr in complete_lr:
        params = {"optimizer.lr": lr, "hparams.batch_norm": False}
        study.add_trial(optuna.create_trial(params=params, distributions=ranges, value=50.0))
    for lr in failed_lr:
        params = {"optimizer.lr": lr, "hparams.batch_norm": True}
        failure = {"failure": f"NaN or Inf at epoch 1, iteration {100 * lr:.0f}"}
        fail = TrialState.FAIL
        study.add_trial(optuna.create_trial(state=fail, params=params, distributions=ranges, user_attrs=failure))
    return study.trials


def test_too_many_failures_are_told_with_what_they_share() -> None:
    config = compose(["search=tpe", "search.failure_window=4", "search.max_failure_share=0.5"]).search
    assert config is not None
    check_failures(trials_with([0.1], []), config)  # too few to judge
    check_failures(trials_with([0.1, 0.2], [0.001, 0.002]), config)  # half is allowed
    with pytest.raises(UserError) as caught:
        check_failures(trials_with([0.1, 0.2, 0.3], [0.001, 0.002]), config)
    message = str(caught.value)
    assert "3 of the last 4 trials failed" in message
    assert "3 x NaN or Inf at epoch #, iteration #" in message
    assert "all had hparams.batch_norm=True, no complete trial had" in message
    assert "all had optimizer.lr from 0.1 to 0.3, no complete trial had" in message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("selection=test", "selection=test: a search would choose hyperparameters by the test set"),
        ("search.sampler=tpee", "search.sampler=tpee: expected tpe | random; did you mean 'tpe'"),
        ("search.n_trials=0", "search.n_trials=0: expected 1 or more"),
        ("search.stale_s=1", "would count as dead"),
        ("search.space.beta.low=2", "search.space.beta: low=2.0 must not be above high=0.999"),
        ("search.space.dropout.each=conv", "search.space.dropout.each=conv: expected null | layer | dense"),
    ],
)
def test_a_mistake_in_the_search_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["search=tpe", override])
    assert message in str(caught.value)


def test_a_search_leaves_trial_folders_and_results_and_no_test_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, study = search(monkeypatch, tmp_path, "search.n_trials=3", "search.seeds=2")
    folder = tmp_path / "digits_annealed"
    assert status == 0
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 3
    for trial in study.trials:
        assert list(trial.intermediate_values) == [1], "pruners compare the first seed"
        assert "hparams.batch_size" in trial.user_attrs
        assert "search.dir" not in trial.user_attrs, "nor a storage with its password"
        weights = (folder / f"trial_{trial.number}").glob("trial_*/checkpoints/*")
        assert sorted(path.name for path in weights) == ["best.pt", "best.pt"], "one for each seed"
        summary = json.loads((folder / f"trial_{trial.number}" / "summary.json").read_text())
        scores = [entry["validation_accuracy"] for entry in summary["trials"]]
        assert trial.value == pytest.approx(sum(scores) / 2)
        assert [entry["test_accuracy"] for entry in summary["trials"]] == [None, None]
    assert {"trials.csv", "best.yaml", "pictures"} <= {path.name for path in folder.iterdir()}
    assert "3 of 3 ended" in capsys.readouterr().out

    monkeypatch.setattr("sys.argv", ["snntha", "train", f"hparams={folder}/best.yaml", "--cfg", "job", "--resolve"])
    assert main() == 0
    assert "name: digits_annealed_best" in capsys.readouterr().out

    monkeypatch.setattr("sys.argv", ["snntha", "train", f"resume={folder}/trial_1"])
    with pytest.raises(SystemExit):
        main()
    assert "is trial 1 of a search: start the search's command again" in capsys.readouterr().err

    status, study = search(monkeypatch, tmp_path, "search.n_trials=3", "search.seeds=2")
    assert (status, len(study.trials)) == (0, 3)


def test_a_hopeless_trial_stops_early_and_counts_as_pruned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Impatient(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return trial.number == 1 and trial.last_step == 2

    monkeypatch.setattr(job, "build_pruner", lambda settings: Impatient())
    status, study = search(monkeypatch, tmp_path, "search.n_trials=3", "search.epochs=4")
    assert status == 0
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.COMPLETE]
    assert list(study.trials[1].intermediate_values) == [1, 2]
    assert study.trials[1].value == study.trials[1].intermediate_values[2]
    lines = (tmp_path / "digits_annealed" / "trial_1" / "trial_0" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert not list((tmp_path / "digits_annealed" / "trial_1").rglob("*.pt.partial"))
    assert not list((tmp_path / "digits_annealed" / "trial_1").rglob("checkpoints/*.pt"))


@pytest.mark.parametrize("trained", [False, True])
def test_a_job_that_the_storage_fails_is_begun_again(
    trained: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def train(config: Config, *arguments: Any) -> float:
        assert config.search is not None and config.search.trial is not None
        calls.append(config.search.trial)
        value = run(config, *arguments) if trained or len(calls) > 1 else 0.0
        if len(calls) == 1:
            raise StorageInternalError("the server is away")
        return value

    run = job.run
    monkeypatch.setattr(job, "run", train)
    status, study = search(monkeypatch, tmp_path, "search.n_trials=2")
    assert status == 0
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 2
    assert calls == ([0, 1] if trained else [0, 0, 1]), "what was trained to its end is not trained again"


@pytest.mark.parametrize("when", ["while it trains", "after its last epoch"])
def test_a_trial_that_was_taken_away_is_left_alone(when: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a pause of the machine that made the others believe the worker dead."""

    def train(config: Config, resume: Path | None, console: Any, report: Any) -> float:
        search = config.search
        assert search is not None and search.trial is not None
        report([10.0], 1)
        if not calls:
            calls.append(search.trial)
            storage = connect(search.storage)
            trial = optuna.load_study(study_name=search.study_name, storage=storage).get_trials()[search.trial]
            storage.release(trial)
            if when == "after its last epoch":
                return 15.0
        report([20.0], 2)
        return 20.0

    calls: list[int] = []
    monkeypatch.setattr(job, "run", train)
    status, study = search(monkeypatch, tmp_path, "search.n_trials=2", "search.pruner=none")
    assert (status, calls) == (0, [0])
    assert [(trial.state, trial.value) for trial in study.trials] == [(TrialState.COMPLETE, 20.0)] * 2


def test_failed_trials_are_recorded_and_the_search_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(config: Config, *arguments: Any) -> float:
        assert config.search is not None and config.search.trial is not None
        if config.search.trial < 2:
            raise MemoryError("no room for 1 GiB")
        return 50.0

    monkeypatch.setattr(job, "run", train)
    status, study = search(monkeypatch, tmp_path, "search.n_trials=4")
    assert status == 0
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 2 + [TrialState.COMPLETE] * 2
    assert study.trials[0].user_attrs["failure"] == "MemoryError: no room for 1 GiB"
    assert "no room for 1 GiB" in (tmp_path / "digits_annealed" / "trial_1" / "failure.txt").read_text()
    printed = capsys.readouterr()
    assert "trial   0  failed: MemoryError: no room" in printed.out
    assert not printed.err


def test_a_search_that_only_fails_stops_and_its_waiting_trial_can_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*arguments: Any) -> float:
        raise UserError("NaN or Inf at epoch 1")

    monkeypatch.setattr(job, "run", train)
    status, study = search(monkeypatch, tmp_path, "search.n_trials=9", "search.failure_window=3")
    assert status == 1
    assert [trial.state for trial in study.trials] == [TrialState.FAIL] * 3 + [TrialState.WAITING]
    assert "3 of the last 3 trials failed" in capsys.readouterr().err


def test_only_hyperparameters_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for override, message in (
        ("mode=bsnn,annealed", "mode has several values, but a search varies hparams.* alone"),
        ("hparams.beta=glob(*)", "hparams.beta=glob(*): expected interval(low,high)"),
        ("optimizer.lr=0.1", "optimizer.lr=0.1: in a search, set optimizer.lr instead"),
        ("optimizer=sgd", "optimizer=sgd: in a search, set optimizer.name instead"),
        ("resume=x", "a search goes on where it stopped by its own command"),
        ("epochs=7", "epochs=7: in a search, set search.epochs instead"),
        ("dataset.limit=7", "dataset.limit=7: in a search, set search.limit instead"),
    ):
        monkeypatch.setattr("sys.argv", ["snntha", "train", *SMALL, f"search.dir={tmp_path}", override])
        assert main() == 1
        assert message in capsys.readouterr().err
