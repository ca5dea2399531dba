"""A study: opening it, joining it as a worker, and giving the trials of dead workers to live ones."""

import dataclasses
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState

from snntha.config import flatten
from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.schema import Config, Search
from snntha.search.storage import StudyStorage, connect
from snntha.search.workers import is_alive, this_worker

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
)


def open_study(name: str, storage: str) -> optuna.Study:
    """An existing study, to read it or to record a trial.

    Raises:
        UserError: there is none of this name.
    """
    try:
        return optuna.load_study(study_name=name, storage=connect(storage))
    except KeyError as error:
        raise UserError(f"search.study_name={name}: there is no study of this name in its storage") from error


def join(config: Config) -> optuna.Study:
    """The study that a configuration names, made if it is missing.

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
    _check_same(study, config, folder)
    for key, value in {
        "n_trials": search.n_trials,
        "dataset": config.dataset.name,
        "mode": config.mode.name,
        "folder": str(folder),
        "epochs": search.epochs,
        "seeds": search.seeds,
        "limit": search.limit,
        "config": json.dumps(_identity(config)),
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


def reclaim(study: optuna.Study, search: Search) -> None:
    """Let running trials whose worker is dead wait for a new one, which goes on from their last checkpoint.

    A trial that has outlived `search.max_deaths` workers is what kills them, and becomes a failed one.
    """
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if is_alive(trial, search.stale_s):
            continue
        deaths = trial.user_attrs.get("deaths", 0) + 1
        if deaths < search.max_deaths:
            _storage(study).release(trial, deaths=deaths)
            continue
        with suppress(UpdateFinishedTrialError):  # another worker has found the same
            reason = f"{deaths} workers died in this trial (killed, perhaps for want of memory)"
            study._storage.set_trial_user_attr(trial._trial_id, "failure", reason)
            study._storage.set_trial_state_values(trial._trial_id, TrialState.FAIL)


def give_back(study: optuna.Study) -> None:
    """Let trials that this worker began and did not end wait for another worker."""
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        if trial.user_attrs.get("worker") == this_worker():
            _storage(study).release(trial)


def _storage(study: optuna.Study) -> StudyStorage:
    """What lies below Optuna's cache."""
    storage = getattr(study._storage, "_backend", study._storage)
    assert isinstance(storage, StudyStorage)
    return storage


def _check_same(study: optuna.Study, config: Config, folder: Path) -> None:
    """A study compares like with like: what is not searched must be equal in all its trials."""
    before = study.user_attrs.get("config")
    if before is None:
        return
    old, new = json.loads(before), _identity(config)
    different = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if different:
        changes = "; ".join(f"{key}={new.get(key)}, there {old.get(key)}" for key in different[:4])
        raise UserError(
            f"{folder}: this study was begun with another configuration ({changes}): "
            f"pass the old values, or another search.study_name"
        )


def _identity(config: Config) -> dict[str, Any]:
    """Every value that must be the same for all trials, by its key."""
    plain = json.loads(json.dumps(dataclasses.asdict(config)))  # as it comes back from the storage
    return {key: value for key, value in flatten(plain) if key not in _FREE}
