"""The parts of a search: its space, sampler, storage and rules, and trials run in this process."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState

from snntha.cli import main
from snntha.config import CHOICES, TUNED, ConfigError, compose
from snntha.config.schema import Config, Search
from snntha.errors import UserError
from snntha.search import pictures, shared_study, trial_job, worker
from snntha.search.pictures import draw_pictures
from snntha.search.shared_study import connect, join
from snntha.search.space import SearchSpace, dimensions
from snntha.search.worker import check_failures

pytestmark = pytest.mark.usefixtures("quiet_optuna")

TPE = OmegaConf.create({"_target_": "optuna.samplers.TPESampler"})
SMALL = ("search=tpe", "search.limit=32", "search.epochs=1", "hparams.batch_size=16", "backend=reference")


def config_of(folder: Path, *overrides: str) -> Config:
    return compose([*SMALL, f"search.dir={folder}", *overrides])


def stored(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name=folder.name, storage=connect(f"sqlite:///{folder / 'study.db'}"))


@pytest.fixture
def search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, optuna.Study]]:
    """Run a search on a little of digits in this process; its exit status and study. It draws no pictures."""
    monkeypatch.setattr(worker, "POLL_S", 0.1)
    monkeypatch.setattr(pictures, "draw_pictures", lambda snapshot, folder: [])

    def run(*overrides: str, folder: Path = tmp_path) -> tuple[int, optuna.Study]:
        monkeypatch.setattr("sys.argv", ["snntha", "train", "-m", *SMALL, f"search.dir={folder}", *overrides])
        return main(), stored(folder / "digits_annealed")

    return run


def states(study: optuna.Study) -> str:
    """`CPF` for a complete, a pruned and a failed trial."""
    return "".join(trial.state.name[0] for trial in study.get_trials())


# --- The space ---


@pytest.mark.parametrize("mode", CHOICES["mode.name"])
@pytest.mark.parametrize("dataset", TUNED)
def test_every_published_value_lies_inside_its_range(dataset: str, mode: str) -> None:
    config = compose(["search=tpe", f"dataset={dataset}", f"mode={mode}"])
    for key, dimension in dimensions(config):
        published = OmegaConf.select(OmegaConf.structured(config), key)
        if dimension.choices:
            assert published in [None if choice == "null" else choice for choice in dimension.choices], key
        elif key == "optimizer.momentum" and config.optimizer.name == "adam":
            assert published == 0
        else:
            assert dimension.low is not None and dimension.high is not None
            assert dimension.low <= published < dimension.high, key


COMMON = "beta slope optimizer.lr grad_clip weight_clip"


@pytest.mark.parametrize(
    ("dataset", "mode", "searched"),
    [
        ("shd", "bsnn_theta1", f"{COMMON} dropout.0 dropout.1"),
        ("shd", "bsnn", f"{COMMON} dropout.0 dropout.1 threshold.start.0 threshold.start.1"),
        (
            "fashion_mnist",
            "flt32",
            f"{COMMON} batch_norm dropout.0 optimizer.name optimizer.momentum "
            "threshold.start.0 threshold.start.1 threshold.start.2",
        ),
        (
            "digits",
            "annealed",
            f"{COMMON} batch_norm dropout.0 threshold.start.0 threshold.start.1 "
            "threshold.rise.0 threshold.rise.1 threshold.rate.0 threshold.rate.1",
        ),
    ],
)
def test_data_set_and_mode_select_what_is_searched(dataset: str, mode: str, searched: str) -> None:
    config = compose(["search=tpe", f"dataset={dataset}", f"mode={mode}"])
    assert [key.removeprefix("hparams.") for key, _ in dimensions(config)] == searched.split()


def test_momentum_is_drawn_only_with_sgd_and_adam_gets_none() -> None:
    space = SearchSpace(compose(["search=tpe", "dataset=fashion_mnist", "mode=annealed"]), [])
    assert space.config.optimizer.momentum > 0
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [(trial := study.ask(), space.draw(trial)) for _ in range(20)]
    assert {trial.params["optimizer.name"] for trial, _ in drawn} == {"adam", "sgd"}
    for trial, overrides in drawn:
        adam = trial.params["optimizer.name"] == "adam"
        assert ("optimizer.momentum" in trial.params) is not adam
        assert ("optimizer.momentum=0.0" in overrides) is adam


def test_the_command_line_fixes_keys_and_replaces_ranges() -> None:
    fixed = ["threads=1", "hparams.beta=0.9", "hparams.threshold.rate=[0,0]"]
    typed = ["optimizer.lr=tag(log,interval(1e-3,1e-2))", "hparams.slope=range(1,2,0.25)"]
    typed += ["hparams.batch_size=range(16,64,16)", "hparams.weight_clip=choice(1,2)"]
    trial = optuna.create_study().ask()
    overrides = SearchSpace(compose(["search=tpe"]), fixed + typed).draw(trial)
    found = trial.distributions
    assert found["optimizer.lr"] == FloatDistribution(1e-3, 1e-2, log=True)
    assert found["hparams.slope"] == FloatDistribution(1.0, 1.75, step=0.25)
    assert found["hparams.batch_size"] == IntDistribution(16, 48, step=16)
    assert found["hparams.weight_clip"] == CategoricalDistribution([1, 2])
    assert "hparams.threshold.rise.0" in found
    assert "hparams.beta" not in found and "hparams.threshold.rate.0" not in found
    assert {*fixed, f"optimizer.lr={trial.params['optimizer.lr']}"} <= set(overrides)


def test_the_search_beyond_the_paper_adds_time_constants_and_delays() -> None:
    space = SearchSpace(compose(["search=beyond", "dataset=shd", "mode=annealed"]), [])
    trial = optuna.create_study().ask()
    overrides = space.draw(trial)
    assert {f"hparams.{name}" for name in ("beta_spread", "beta_trainable", "delays.1")} <= trial.params.keys()
    hparams = compose(["dataset=shd", "mode=annealed", "hparams.beta_scope=neuron", *overrides]).hparams
    assert hparams.delays == [trial.params["hparams.delays.0"], trial.params["hparams.delays.1"]]
    assert space.tuned()["hparams.beta_spread"] == space.tuned()["hparams.delays.0"] == 0


def test_only_hyperparameters_are_searched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for override, message in (
        ("mode=bsnn,annealed", "mode has several values, but a search varies hparams.* and optimizer.* alone"),
        ("hparams.beta=glob(*)", "hparams.beta=glob(*): expected interval(low,high)"),
        ("optimizer=sgd", "optimizer=sgd: in a search, set optimizer.name instead"),
        ("resume=x", "a search goes on where it stopped by its own command"),
        ("dataset.limit=7", "dataset.limit=7: in a search, set search.limit instead"),
        ("search.workers=2", "without launcher=joblib | submitit | ray, start the command several times"),
        ("hydra/sweeper/sampler=grid", "hydra/sweeper/sampler=grid: choose another"),
        ("+search.pruners.median.warmup=1", "warmup"),
    ):
        monkeypatch.setattr("sys.argv", ["snntha", "train", *SMALL, f"search.dir={tmp_path}", override])
        assert main() == 1
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("selection=test", "selection=test: a search would choose hyperparameters by the test set"),
        ("search.pruner=mediam", "search.pruner=mediam: expected none | median | hyperband; did you mean 'median'"),
        ("search.n_trials=0", "search.n_trials=0: expected 1 or more"),
        ("search.max_failure_share=1", "expected 0 to less than 1"),
        ("search.stale_s=1", "would count as dead"),
        ("search.space.beta.low=2", "search.space.beta: low=2.0 must not be above high=0.999"),
        ("search.space.dropout.each=conv", "search.space.dropout.each=conv: expected null | layer | dense"),
    ],
)
def test_a_mistake_in_the_search_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compose(["search=tpe", override])
    assert message in str(caught.value)


# --- The study ---


@pytest.mark.parametrize(
    ("url", "message"),
    [("nonsense", "nonsense does not answer: .*SQLAlchemy URL"), ("sqlite:////nowhere/study.db", "unable to open")],
)
def test_a_storage_that_cannot_be_opened_is_named(url: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        connect(url, patience_s=0)


def test_a_heartbeat_outlives_a_database_that_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = config_of(tmp_path).search
    study = optuna.create_study(storage=(storage := connect(f"sqlite:///{tmp_path / 'study.db'}", search=search)))

    def away(*arguments: Any) -> None:
        raise StorageInternalError("the server is starting up")

    monkeypatch.setattr(optuna.storages.RDBStorage, "record_heartbeat", away)
    study.optimize(lambda trial: 1.0, n_trials=1)
    assert states(study) == "C"
    calls: list[int] = []
    monkeypatch.setattr(shared_study.time, "sleep", calls.append)
    monkeypatch.setattr(storage, "get_all_studies", lambda: away() if len(calls) < 3 else [])
    assert shared_study.patiently(storage.get_all_studies) == []


def test_a_second_start_must_be_of_the_same_configuration(tmp_path: Path) -> None:
    narrow, sampler = ["optimizer.lr=tag(log,interval(1e-3,2e-3))", "threads=1"], TPE
    join(config_of(tmp_path), sampler, narrow)
    join(config_of(tmp_path, "search.n_trials=900", "threads=2", "search.heartbeat_s=1"), sampler, narrow[::-1])
    assert join(config_of(tmp_path, "search.n_trials=3"), sampler, narrow).user_attrs["n_trials"] == 900
    with pytest.raises(UserError, match=r"begun with another configuration \(.*search.epochs=2, there 1"):
        join(config_of(tmp_path, "search.epochs=2"), sampler, narrow)
    with pytest.raises(UserError, match=r"command line=, there optimizer\.lr=tag"):
        join(config_of(tmp_path), sampler)
    with pytest.raises(UserError, match=r"hydra.sweeper.sampler=.*RandomSampler"):
        join(config_of(tmp_path), OmegaConf.create({"_target_": "optuna.samplers.RandomSampler"}), narrow)


def test_trials_of_a_lost_storage_are_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "digits_annealed" / "trial_0").mkdir(parents=True)
    with pytest.raises(UserError, match=r"holds trials, but search\.storage=.* knows no trial"):
        join(config_of(tmp_path), TPE)


def trials_with(failed_lr: list[float], complete_lr: list[float]) -> list[FrozenTrial]:
    study = optuna.create_study(direction="maximize")
    ranges = {"optimizer.lr": FloatDistribution(0.0, 1.0), "hparams.batch_norm": CategoricalDistribution([True, False])}
    for lr in complete_lr + failed_lr:
        ended: dict[str, Any] = {"value": 50.0}
        if lr in failed_lr:
            failure = f"NaN or Inf at epoch 1, iteration {100 * lr:.0f}"
            ended = {"state": TrialState.FAIL, "user_attrs": {"failure": failure}}
        params = {"optimizer.lr": lr, "hparams.batch_norm": lr in failed_lr}
        study.add_trial(optuna.create_trial(params=params, distributions=ranges, **ended))
    return study.trials


def test_too_many_failures_are_told_with_what_they_share() -> None:
    options = Search(failure_window=4, max_failure_share=0.5)
    check_failures(trials_with([0.1], []), options)  # too few to judge
    check_failures(trials_with([0.1, 0.2], [0.001, 0.002]), options)  # half is allowed
    trials = trials_with([0.1, 0.2, 0.3], [0.001, 0.002])
    with pytest.raises(UserError) as caught:
        check_failures(trials, options)
    message = str(caught.value)
    assert "3 of the last 4 trials failed" in message
    assert "3 x NaN or Inf at epoch #, iteration #" in message
    assert "all had hparams.batch_norm=True, no complete trial had" in message
    assert "all had optimizer.lr from 0.1 to 0.3, no complete trial had" in message
    since = max(trial.datetime_complete for trial in trials if trial.datetime_complete)
    check_failures(trials, options, since=since.replace(year=since.year + 1))  # of an earlier start


# --- Trials in this process ---


def test_a_search_leaves_trial_folders_and_results_and_no_test_accuracy(
    search: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pictures, "draw_pictures", draw_pictures)
    status, study = search("search.n_trials=3", "search.seeds=2")
    folder = tmp_path / "digits_annealed"
    assert (status, states(study)) == (0, "CCC")
    assert len({str(trial.params) for trial in study.trials}) == 3
    published = compose(["dataset=digits", "mode=annealed"])
    assert study.trials[0].params["hparams.beta"] == published.hparams.beta, "trial 0 is the set that is known"
    assert study.trials[0].params["hparams.threshold.start.1"] == published.hparams.threshold.start[1]
    for trial in study.trials:
        assert list(trial.intermediate_values) == [1], "pruners compare the first seed"
        weights = (folder / f"trial_{trial.number}").glob("trial_*/checkpoints/*")
        assert sorted(path.name for path in weights) == ["best.pt", "best.pt"], "one for each seed"
        summary = json.loads((folder / f"trial_{trial.number}" / "summary.json").read_text())
        scores = [entry["validation_accuracy"] for entry in summary["trials"]]
        assert trial.value == pytest.approx(sum(scores) / 2)
        assert [entry["test_accuracy"] for entry in summary["trials"]] == [None, None]
    assert {"trials.csv", "best.yaml", "pictures"} <= {path.name for path in folder.iterdir()}
    printed = capsys.readouterr().out
    assert "3 of 3 ended" in printed and "of hparams=digits_annealed" in printed
    told = printed.split("trial   0")[0].split()  # before anything is trained
    assert {"study", "folder", "ranges", "trials", "threshold.rate"} <= set(told)

    monkeypatch.setattr("sys.argv", ["snntha", "train", f"hparams={folder}/best.yaml", "--cfg", "job", "--resolve"])
    assert main() == 0
    shown = capsys.readouterr().out
    assert "name: digits_annealed_best" in shown
    assert "epochs: 30" in shown, "a trial had one, which best.yaml does not take over"

    monkeypatch.setattr("sys.argv", ["snntha", "train", f"resume={folder}/trial_1"])
    assert main() == 1
    assert "is trial 1 of a search: start the search's command again" in capsys.readouterr().err

    again, study = search("search.n_trials=3", "search.seeds=2")
    assert (again, len(study.trials)) == (0, 3)


def test_a_hopeless_trial_stops_early_and_counts_as_pruned(
    search: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
            return trial.number == 1 and trial.last_step == 2

    monkeypatch.setattr(trial_job, "build_pruner", lambda search: Impatient())
    status, study = search("search.n_trials=3", "search.epochs=4")
    assert (status, states(study)) == (0, "CPC")
    assert list(study.trials[1].intermediate_values) == [1, 2]
    assert study.trials[1].value == study.trials[1].intermediate_values[2]
    folder = tmp_path / "digits_annealed" / "trial_1"
    assert len((folder / "trial_0" / "metrics.jsonl").read_text().splitlines()) == 2
    assert not list(folder.rglob("*.pt.partial")) and not list(folder.rglob("checkpoints/*.pt"))


def training(monkeypatch: pytest.MonkeyPatch, replacement: Callable[..., float]) -> None:
    """Call `replacement(number of the call, run, *its arguments)` in place of a trial's training."""
    calls: list[int] = []

    def train(*arguments: Any) -> Any:
        calls.append(len(calls))
        return SimpleNamespace(score=replacement(calls[-1], lambda *rest: original(*rest).score, *arguments))

    original = trial_job.run
    monkeypatch.setattr(trial_job, "run", train)


def test_a_job_that_the_storage_fails_is_begun_again(search: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []

    def train(call: int, run: Any, config: Config, *arguments: Any) -> float:
        trained.append(config.output_dir[-1])
        value = run(config, *arguments) if call != 1 else 0.0
        if call < 2:
            raise StorageInternalError("the server is away")
        return value

    training(monkeypatch, train)
    status, study = search("search.n_trials=2")
    assert (status, states(study)) == (0, "CC")
    assert trained == ["0", "1", "1"], "what was trained to its end is not trained again"


def test_a_trial_that_another_worker_has_ended_is_left_alone(search: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a pause of the machine that made the others believe this worker dead."""

    def train(call: int, run: Any, config: Config, resume: Any, console: Any, report: Any) -> float:
        assert config.search is not None and config.search.attempt is not None
        report([10.0], 1)
        if call == 0:
            optuna.load_study(study_name=config.search.study_name, storage=config.search.storage).tell(
                config.search.attempt, state=TrialState.FAIL
            )
        report([20.0], 2)
        return 20.0

    training(monkeypatch, train)
    status, study = search("search.n_trials=2", "search.pruner=none", "search.max_deaths=1")
    assert (status, states(study)) == (0, "FCC")


def test_ctrl_c_leaves_a_trial_to_the_next_start(search: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(call: int, *arguments: Any) -> float:
        if call == 0:
            raise KeyboardInterrupt
        return 50.0

    training(monkeypatch, train)
    status, study = search("search.n_trials=1")
    assert (status, states(study)) == (130, "FW")
    status, study = search("search.n_trials=1")
    assert (status, states(study)) == (0, "FC")
    assert study.trials[0].params == study.trials[1].params


def test_failed_trials_are_recorded_and_the_search_goes_on(
    search: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(call: int, *arguments: Any) -> float:
        if call < 2:
            raise MemoryError("no room for 1 GiB")
        return 50.0

    training(monkeypatch, train)
    status, study = search("search.n_trials=2")
    assert (status, states(study)) == (0, "FFCC")
    assert study.trials[0].user_attrs["failure"] == "MemoryError: no room for 1 GiB"
    assert "no room for 1 GiB" in (tmp_path / "digits_annealed" / "trial_1" / "failure.txt").read_text()
    printed = capsys.readouterr()
    assert "trial   0  failed: MemoryError: no room" in printed.out
    assert not printed.err


def test_a_folder_from_elsewhere_is_left_as_it_is(search: Any, tmp_path: Path) -> None:
    search("search.n_trials=1")
    folder = tmp_path / "digits_annealed"
    shutil.copytree(folder / "trial_0", folder / "trial_1")
    files = {path: path.read_bytes() for path in (folder / "trial_1").rglob("*") if path.is_file()}
    status, study = search("search.n_trials=2")
    assert (status, states(study)) == (0, "CFC")
    assert "trial_1 holds another run: it is not overwritten" in study.trials[1].user_attrs["failure"]
    assert {path: path.read_bytes() for path in files} == files


def test_a_search_that_only_fails_stops(
    search: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def train(*arguments: Any) -> float:
        raise UserError("NaN or Inf at epoch 1")

    training(monkeypatch, train)
    status, study = search("search.n_trials=9", "search.failure_window=3")
    assert (status, states(study)) == (1, "FFF")
    assert "3 of the last 3 trials failed" in capsys.readouterr().err


@pytest.mark.parametrize("sampler", ["tpe_shared", "random"])
def test_parameters_follow_from_seed_and_number_of_the_trial(
    search: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    training(monkeypatch, lambda *arguments: 50.0)
    arguments = (f"hydra/sweeper/sampler={sampler}", "seed=7", "hparams.slope=interval(0.1,1.0)")
    _, whole = search(*arguments, "search.n_trials=4", folder=tmp_path / "whole")
    search(*arguments, "search.n_trials=2")
    _, continued = search(*arguments, "search.n_trials=4")
    assert [trial.params for trial in whole.trials] == [trial.params for trial in continued.trials]
    assert len({str(trial.params) for trial in whole.trials}) == 4
