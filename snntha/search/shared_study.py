"""A study that several workers share: its storage, joining it, and which of its trials were taken up again."""

import dataclasses
import json
import random
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial

from snntha.config import flatten
from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.schema import Config, Search

DATABASE = "study.db"  # in a study's folder, unless it lies in a storage of its own
PATIENCE_S = 600.0  # how long a worker waits for a database that it has worked with: it may be starting anew
FIRST_PATIENCE_S = 3.0  # and for one that it has not: workers that start at once collide, but a wrong URL shows here
LOCK_TIMEOUT_S = 300.0  # how long it waits for another one's write to an SQLite file
# What workers of one study, or a second start of it, may set differently.
_FREE = """device backend threads logger plots output_dir resume dataset.root dataset.cache dataset.download
search.n_trials search.storage search.dir search.workers search.max_failure_share search.failure_window
search.max_deaths search.heartbeat_s search.stale_s search.trial search.attempt""".split()
# Overrides that `snntha train hparams=best.yaml` must not repeat.
_NOT_IN_BEST = ("search", "launcher", "hydra", "hparams", "dataset=", "mode=", "threads=")
T = TypeVar("T")


class HeartbeatStorage(RDBStorage):
    """Optuna's storage, whose heartbeats outlive a database that is away: the next one tries again."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(StorageInternalError):
            super().record_heartbeat(trial_id)


@contextmanager
def experimental() -> Iterator[None]:
    """Heartbeats, retries and pictures are experimental in Optuna, which no one who searches can do anything about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        yield


def default_storage(folder: Path) -> str:
    """URL of the SQLite file in a study's folder."""
    return f"sqlite:///{folder / DATABASE}"


def study_folder(search: Search) -> Path:
    return Path(search.dir) / search.study_name


def connect(url: str, patience_s: float = FIRST_PATIENCE_S, search: Search | None = None) -> HeartbeatStorage:
    """Open a storage, with its tables made if they are missing.

    Args:
        url: SQLAlchemy's.
        patience_s: how long to wait for a database that does not answer.
        search: of a worker, whose trials give signs of life and which takes up those that give none.

    Raises:
        UserError: the URL is none, its driver is missing, or the database does not answer.
    """
    lite = url.startswith("sqlite:")
    options: dict[str, Any] = {"connect_args": {"timeout": LOCK_TIMEOUT_S}} if lite else {"pool_pre_ping": True}
    deadline = time.monotonic() + patience_s
    while True:
        try:
            with experimental():
                return HeartbeatStorage(url, options, **({} if search is None else _heartbeats(search)))
        except Exception as error:  # SQLAlchemy's own and every driver's
            if time.monotonic() < deadline and not isinstance(error, ImportError):
                time.sleep(random.uniform(0.1, 0.5))
                continue
            hint = "; pip install 'snntha[postgresql]'" if isinstance(error, ImportError) else ""
            reason = str(error).splitlines()[0]
            raise UserError(f"search.storage={without_passwords(url)} does not answer: {reason}{hint}") from error


def _heartbeats(search: Search) -> dict[str, Any]:
    retry = RetryHeartbeatStaleTrialCallback(search.max_deaths - 1, inherit_intermediate_values=True)
    times = {"heartbeat_interval": search.heartbeat_s, "grace_period": search.stale_s}
    return {**times, "heartbeat_stale_trial_callback": retry}


def patiently(call: Callable[[], T]) -> T:
    """The result of a call to the storage, tried again while the database is away, for PATIENCE_S at most."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except StorageInternalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.5, 2.0))


def earlier_attempts(trial: FrozenTrial) -> list[int]:
    """Numbers of the trials that this one takes up again, the first of which names the folder; [] for a new trial."""
    with experimental():
        return RetryHeartbeatStaleTrialCallback.retry_history(trial)


def taken_up(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials whose process died and that went on under another number."""
    return {number for trial in trials for number in earlier_attempts(trial)}


def join(config: Config, sampler: DictConfig, arguments: Sequence[str] = ()) -> optuna.Study:
    """The study that a configuration names, made if it is missing.

    Args:
        config: of the search, without a trial's values.
        sampler: Optuna's class and its arguments, which belong to what all workers share.
        arguments: overrides of the command line; those of hyperparameters settle or replace ranges.

    Raises:
        UserError: trials of another study lie in its folder, or it was begun with another configuration.
    """
    search = config.search
    assert search is not None
    folder = study_folder(search)
    folder.mkdir(parents=True, exist_ok=True)
    storage = connect(search.storage, search=search)
    study = optuna.create_study(
        study_name=search.study_name, storage=storage, direction="maximize", load_if_exists=True
    )
    if not study.get_trials(deepcopy=False) and any(folder.glob("trial_*")):
        raise UserError(
            f"{folder} holds trials, but search.storage={without_passwords(search.storage)} knows no trial of "
            f"search.study_name={search.study_name}: choose another name, or put the storage back"
        )
    plain = flatten(json.loads(json.dumps(dataclasses.asdict(config))))  # as it comes back from the storage
    settled = " ".join(sorted(text for text in arguments if text.startswith("hparams.")))
    identity = {key: value for key, value in plain if key not in _FREE}
    identity |= {"command line": settled, "hydra.sweeper.sampler": OmegaConf.to_container(sampler, resolve=True)}
    _check_same(json.loads(study.user_attrs.get("config", json.dumps(identity))), identity, folder)
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


def _check_same(old: dict[str, Any], new: dict[str, Any], folder: Path) -> None:
    """A study compares like with like: what is not searched must be equal in all its trials."""
    different = [key for key in sorted(old.keys() | new.keys()) if old.get(key) != new.get(key)]
    if different:
        changes = "; ".join(f"{key}={new.get(key)}, there {old.get(key)}" for key in different[:4])
        raise UserError(
            f"{folder}: this study was begun with another configuration ({changes}): "
            f"pass the old values, or another search.study_name"
        )
