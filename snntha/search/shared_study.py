"""A study that several workers share: its storage, joining it, and which of its trials were taken up again."""

import dataclasses
import json
import random
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import optuna
from omegaconf import DictConfig, OmegaConf
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import FrozenTrial, TrialState

from snntha.config import flatten
from snntha.config.schema import Config, Search
from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.search.space import SEARCHED

PATIENCE_S = 600.0  # how long a worker waits for a database that it has worked with: it may be starting anew
FIRST_PATIENCE_S = 3.0  # and for one that it has not: workers that start at once collide, but a wrong URL shows here
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)  # towards search.n_trials
LOCK_TIMEOUT_S = 300.0  # how long it waits for another one's write to an SQLite file
# What workers of one study, or a second start of it, may set differently
_FREE = """device backend threads logger plots output_dir resume dataset.root dataset.cache dataset.download
search.n_trials search.storage search.dir search.workers search.max_failure_share search.failure_window
search.max_deaths search.heartbeat_s search.stale_s search.trial search.attempt""".split()
# Overrides that `snntha train hparams=best.yaml` must not repeat
_NOT_IN_BEST = ("search", "launcher", "hydra", "hparams", "optimizer", "dataset=", "mode=", "threads=")

# Heartbeats, retries and pictures are experimental in Optuna, which no one who searches can do anything about
warnings.filterwarnings("ignore", category=ExperimentalWarning)


class HeartbeatStorage(RDBStorage):
    """Optuna's storage, whose heartbeats outlive a database that is away: the next one tries again."""

    def record_heartbeat(self, trial_id: int) -> None:
        with suppress(StorageInternalError):
            super().record_heartbeat(trial_id)


def connect(url: str, patience_s: float = FIRST_PATIENCE_S, search: Search | None = None) -> RDBStorage:
    """Open a storage, with its tables made if they are missing.

    With a search, trials give signs of life, and those that give none are taken up again.
    Raises UserError: the URL is none, its driver is missing, or the database does not answer within `patience_s`.
    """
    options = {"connect_args": {"timeout": LOCK_TIMEOUT_S}} if url.startswith("sqlite:") else {"pool_pre_ping": True}
    heartbeats: dict[str, Any] = {}
    if search is not None:
        retry = RetryHeartbeatStaleTrialCallback(search.max_deaths - 1, inherit_intermediate_values=True)
        heartbeats = {"heartbeat_interval": search.heartbeat_s, "grace_period": search.stale_s}
        heartbeats["heartbeat_stale_trial_callback"] = retry
    try:
        return patiently(lambda: HeartbeatStorage(url, options, **heartbeats), patience_s, Exception)
    except Exception as error:  # SQLAlchemy's own, and each driver's
        hint = "; pip install 'snntha[postgresql]'" if isinstance(error, ImportError) else ""
        raise UserError(f"search.storage={without_passwords(url)} does not answer: {cause_of(error)}{hint}") from error


def cause_of(error: Exception) -> str:
    """What made a storage or a launcher raise; its first line."""
    return next(iter(str(error.__cause__ or error).splitlines()), type(error).__name__)


def patiently(
    call: Callable[[], Any], patience_s: float = PATIENCE_S, away: type[Exception] = StorageInternalError
) -> Any:
    """The result of a call to the storage, tried again while the database is away, for `patience_s` at most."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return call()
        except away as error:
            if time.monotonic() > deadline or isinstance(error, ImportError):  # a driver is missing
                raise
        time.sleep(random.uniform(0.1, 1.0))


def taken_up(trials: Sequence[FrozenTrial]) -> set[int]:
    """Numbers of the trials that ended before their time and went on under another number."""
    return {number for trial in trials for number in RetryHeartbeatStaleTrialCallback.retry_history(trial)}


def join(config: Config, sampler: DictConfig, arguments: Sequence[str] = ()) -> optuna.Study:
    """The study that a configuration names, made if it is missing.

    All its workers share configuration, sampler and those arguments of the command line that are of hyperparameters.
    Raises UserError: its folder holds trials of another study, or it was begun with another configuration.
    """
    assert (search := config.search) is not None
    folder = Path(search.dir) / search.study_name
    folder.mkdir(parents=True, exist_ok=True)
    storage = connect(search.storage, search=search)
    study = optuna.create_study(
        storage=storage, study_name=search.study_name, direction="maximize", load_if_exists=True
    )
    if not study.get_trials(deepcopy=False) and any(any(folder.glob(name)) for name in ("trial_*", "best.yaml")):
        raise UserError(
            f"{folder} holds trials, but search.storage={without_passwords(search.storage)} knows no trial of "
            f"search.study_name={search.study_name}: choose another name, or put the storage back"
        )
    plain = flatten(json.loads(json.dumps(dataclasses.asdict(config))))  # as it comes back from the storage
    shared = {key: value for key, value in plain if key not in _FREE}
    shared["command line"] = " ".join(sorted(text for text in arguments if text.startswith(SEARCHED)))
    shared["hydra.sweeper.sampler"] = OmegaConf.to_container(sampler, resolve=True)
    before = json.loads(study.user_attrs["config"]) if "config" in study.user_attrs else shared
    different = [key for key in sorted(before.keys() | shared.keys()) if before.get(key) != shared.get(key)]
    if different:  # a study compares like with like: what is not searched must be equal in all its trials
        changes = "; ".join(f"{key}={shared.get(key)}, there {before.get(key)}" for key in different[:4])
        raise UserError(
            f"{folder}: this study was begun with another configuration ({changes}): "
            f"pass the old values, or another search.study_name"
        )
    study.set_user_attr("n_trials", max(search.n_trials, study.user_attrs.get("n_trials", 0)))
    study.set_user_attr("folder", str(folder))
    study.set_user_attr("config", json.dumps(shared))
    study.set_user_attr("overrides", [text for text in arguments if not text.startswith(_NOT_IN_BEST)])
    return study
