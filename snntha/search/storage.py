"""Where a study is kept: Optuna's database storage, which also knows how many trials the study shall have."""

import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.trial import TrialState
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from snntha.errors import UserError

LOCK_TIMEOUT_S = 60.0  # how long a worker waits for another one's write to an SQLite file
_CONNECT_ATTEMPTS = 8


class StudyFull(Exception):
    """The study has all its trials: none was created."""


class StudyStorage(RDBStorage):
    """Optuna's storage with two additions.

    - No trial beyond `limit` is created, however many workers ask at once.
    - A trial whose job marked it as pruned is stored as PRUNED: the plugin can only tell complete and failed.
    """

    limit: int | None = None  # trials of the study as a whole; None: no limit

    def _get_prepared_new_trial(self, study_id: int, template_trial: Any, session: Any) -> Any:
        """Called inside the transaction that numbers the new trial: raising undoes the insertion."""
        trial: Any = super()._get_prepared_new_trial(study_id, template_trial, session)
        if self.limit is not None and trial.number >= self.limit:
            raise StudyFull
        return trial

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if state == TrialState.COMPLETE and self.get_trial(trial_id).user_attrs.get("pruned", False):
            state = TrialState.PRUNED
        return super().set_trial_state_values(trial_id, state, values)


def default_storage(folder: Path) -> str:
    """URL of the SQLite file in a study's folder."""
    return f"sqlite:///{folder / 'study.db'}"


def connect(url: str) -> StudyStorage:
    """Open a storage, with its tables made if they are missing; workers that start at once may collide there.

    Raises:
        UserError: the URL is none, its driver is missing, or the database does not answer.
    """
    lite = url.startswith("sqlite:")
    options = {"connect_args": {"timeout": LOCK_TIMEOUT_S}} if lite else {"pool_pre_ping": True}
    for attempt in range(_CONNECT_ATTEMPTS):
        try:
            return StudyStorage(url, engine_kwargs=options)
        except (ImportError, ArgumentError) as error:
            hint = "pip install 'snntha[postgresql]'" if url.startswith("postgresql") else "install its driver"
            raise UserError(f"search.storage={_shown(url)}: {error} Give an SQLAlchemy URL; {hint}") from error
        except (SQLAlchemyError, StorageInternalError) as error:
            if attempt + 1 == _CONNECT_ATTEMPTS:
                reason = str(error).splitlines()[0]
                raise UserError(f"search.storage={_shown(url)} does not answer: {reason}") from error
            time.sleep(random.uniform(0.1, 0.5))
    raise AssertionError("the last attempt returns or raises")


def _shown(url: str) -> str:
    """The URL without its password."""
    head, at, tail = url.rpartition("@")
    return f"{head.rsplit(':', 1)[0]}:***@{tail}" if at and head.count(":") > 1 else url
