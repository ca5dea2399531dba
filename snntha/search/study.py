"""A study: opening it, joining it as a worker, and giving the trials of dead workers to live ones."""

import dataclasses
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from snntha.config import flatten
from snntha.config.schema import Config, Search
from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.search.storage import StudyStorage, connect
from snntha.search.workers import has_live_job, has_live_worker, is_alive, this_worker

# What workers of one study, or a second start of it, may set differently.
_FREE = (
    "device",
    "backend",
    "threads",
    "logger",
    "plots",
    "output_dir",
    "resume",
    "dataset.root",
    "dataset.cache",
    "dataset.download",
    "search.n_trials",
    "search.storage",
    "search.dir",
    "search.batch",
    "search.max_failure_share",
    "search.failure_window",
    "search.max_deaths",
    "search.heartbeat_s",
    "search.stale_s",
    "search.trial",
    "search.claim",
)


# Overrides that `snntha train hparams=best.yaml` must not repeat.
_NOT_IN_BEST = ("search", "launcher", "hydra", "hparams", "optimizer", "dataset=", "mode=", "threads=")


def open_study(name: str, storage: StudyStorage) -> optuna.Study:
    """An existing study, to read it or to record a trial.

    Raises:
        UserError: there is none of this name.
    """
    try:
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError as error:
        raise UserError(f"search.study_name={name}: there is no study of this name in its storage") from error


def join(config: Config, arguments: Sequence[str] = ()) -> optuna.Study:
    """The study that a configuration names, made if it is missing.

    Args:
        config: of the search, without a trial's values.
        arguments: overrides of the command line; those of hyperparameters settle or replace ranges.

    Raises:
        UserError: trials of another study lie in its folder, or it was begun with another configuration.
    """
    search = config.search
    assert search is not None
    folder = study_folder(search)
    folder.mkdir(parents=True, exist_ok=True)
    storage = connect(search.storage)
    storage.limit = search.n_trials
    study = optuna.create_study(
        study_name=search.study_name, storage=storage, direction="maximize", load_if_exists=True
    )
    if not study.get_trials(deepcopy=False) and any(folder.glob("trial_*")):
        raise UserError(
            f"{folder} holds trials, but search.storage={without_passwords(search.storage)} knows no trial of "
            f"search.study_name={search.study_name}: choose another name, or put the storage back"
        )
    identity = _identity(config, arguments)
    _check_same(study, identity, folder)
    for key, value in {
        "n_trials": max(search.n_trials, study.user_attrs.get("n_trials", 0)),
        "dataset": config.dataset.name,
        "mode": config.mode.name,
        "folder": str(folder),
        "epochs": search.epochs,
        "seeds": search.seeds,
        "limit": search.limit,
        "config": json.dumps(identity),
        "overrides": [text for text in arguments if not text.startswith(_NOT_IN_BEST)],
    }.items():
        study.set_user_attr(key, value)
    return study


def study_folder(search: Search) -> Path:
    return Path(search.dir) / search.study_name


def trials_left(study: optuna.Study, search: Search) -> int:
    """Trials that a worker can begin now, those of dead workers among them."""
    reclaim(study, search)
    trials = study.get_trials(deepcopy=False)
    waiting = sum(trial.state == TrialState.WAITING for trial in trials)
    return waiting + max(search.n_trials - len(trials), 0)


def suspected(study: optuna.Study) -> int:
    """Number of waiting trials in which a worker or job has died."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    return sum(trial.user_attrs.get("deaths", 0) > 0 for trial in waiting)


def may_come_back(study: optuna.Study, search: Search) -> bool:
    """Whether a running trial may yet need a worker: its own is dead and a job finishes it, or has been silent."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return any(
        has_live_job(trial, search.stale_s)
        if not has_live_worker(trial, search.stale_s)
        else not has_live_worker(trial, min(2 * search.heartbeat_s, search.stale_s))
        for trial in running
    )


def reclaim(study: optuna.Study, search: Search) -> None:
    """Let running trials whose worker is dead wait for a new one, which goes on from their last checkpoint.

    A trial that has outlived `search.max_deaths` workers is what kills them, and becomes a failed one.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if not is_alive(trial, search.stale_s):
            count_death(study, trial, search, "killed, perhaps for want of memory")


def count_death(study: optuna.Study, trial: FrozenTrial, search: Search, cause: str) -> None:
    """A running trial's process ended without a result: the trial waits for another, or was the last one's end."""
    deaths = trial.user_attrs.get("deaths", 0) + (not trial.user_attrs.get("stopped", False))
    if deaths < search.max_deaths:
        _storage(study).release(trial, deaths=deaths)
        return
    with suppress(UpdateFinishedTrialError):  # another worker has found the same
        reason = f"{deaths} workers died in this trial ({cause})"
        study._storage.set_trial_user_attr(trial._trial_id, "failure", reason)
        study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def give_back(study: optuna.Study, stale_s: float) -> None:
    """Let trials that this worker began and did not end wait for another worker.

    Those that a job of a launcher is still training are left to it: it is not their worker's end that stops it.
    """
    for trial in own_running(study):
        if has_live_job(trial, stale_s):
            study._storage.set_trial_user_attr(trial._trial_id, "stopped", True)  # its end is no death
        else:
            _storage(study).release(trial)


def own_running(study: optuna.Study) -> list[FrozenTrial]:
    """Running trials that this worker began."""
    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    return [trial for trial in running if trial.user_attrs.get("worker") == this_worker()]


def _storage(study: optuna.Study) -> StudyStorage:
    """What lies below Optuna's cache."""
    storage = getattr(study._storage, "_backend", study._storage)
    assert isinstance(storage, StudyStorage)
    return storage


def _check_same(study: optuna.Study, new: dict[str, Any], folder: Path) -> None:
    """A study compares like with like: what is not searched must be equal in all its trials."""
    before = study.user_attrs.get("config")
    if before is None:
        return
    old = json.loads(before)
    different = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if different:
        changes = "; ".join(f"{key}={new.get(key)}, there {old.get(key)}" for key in different[:4])
        raise UserError(
            f"{folder}: this study was begun with another configuration ({changes}): "
            f"pass the old values, or another search.study_name"
        )


def _identity(config: Config, arguments: Sequence[str]) -> dict[str, Any]:
    """Every value that must be the same for all trials, by its key, and the command line's ranges."""
    plain = json.loads(json.dumps(dataclasses.asdict(config)))  # as it comes back from the storage
    settled = " ".join(sorted(text for text in arguments if text.startswith(("hparams.", "optimizer."))))
    return {**{key: value for key, value in flatten(plain) if key not in _FREE}, "command line": settled}
