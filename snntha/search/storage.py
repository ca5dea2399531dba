"""Where a study is kept: Optuna's database storage, which also knows how many trials the study shall have."""

import random
import time
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, SQLAlchemyError

from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.search.workers import this_worker

DATABASE = "study.db"  # in a study's folder, unless it lies in a storage of its own
PATIENCE_S = 600.0  # how long a worker waits for a database that it has worked with: it may be starting anew
LOCK_TIMEOUT_S = 300.0  # how long it waits for another one's write to an SQLite file
_FIRST_PATIENCE_S = 3.0  # and for one that it has not: workers that start at once collide, but a wrong URL shows here


class StudyFull(Exception):
    """The study has all its trials: none was created."""


class StudyStorage(RDBStorage):
    """Optuna's storage with four additions.

    - No trial beyond `limit` is created, however many workers ask at once.
    - A trial begins together with the name and first heartbeat of its worker, so that there is none without, and with
      a claim, by which a job knows that its trial has not been begun anew.
    - One worker only begins a waiting trial, or takes one from a dead worker. Optuna locks the trial's row, reads its
      state and writes the new one; SQLite has no row locks, and two workers would train the same trial.
    - A trial whose job marked it as pruned is stored as PRUNED: the plugin can only tell complete and failed.
    """

    limit: int | None = None  # trials of the study as a whole; None: no limit

    def _get_prepared_new_trial(self, study_id: int, template_trial: Any, session: Any) -> Any:
        """Called inside the transaction that numbers the new trial: raising undoes the insertion."""
        trial: Any = super()._get_prepared_new_trial(study_id, template_trial, session)
        if self.limit is not None and trial.number >= self.limit:
            raise StudyFull
        self._record(trial.trial_id, _signature(), session)
        return trial

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        if state == TrialState.RUNNING:
            return self._begin(trial_id)
        if state == TrialState.COMPLETE and self.get_trial(trial_id).user_attrs.get("pruned", False):
            state = TrialState.PRUNED
        return super().set_trial_state_values(trial_id, state, values)

    def release(self, trial: FrozenTrial, **attributes: Any) -> None:
        """Let a running trial wait for a worker, unless it has ended or was begun anew since it was read."""
        with self.scoped_session.session_factory.begin() as session:
            row = _change(trial._trial_id, TrialState.RUNNING, TrialState.WAITING, session)
            if row is not None and row.datetime_start == trial.datetime_start:
                self._record(trial._trial_id, attributes, session)
            else:
                session.rollback()

    def _begin(self, trial_id: int) -> bool:
        """Whether this worker now has the trial, which waited; false if another one was faster."""
        with self.scoped_session.session_factory.begin() as session:
            row = _change(trial_id, TrialState.WAITING, TrialState.RUNNING, session)
            if row is not None:
                row.datetime_start = datetime.now()
                self._record(trial_id, _signature(), session)
            return row is not None

    def _record(self, trial_id: int, attributes: dict[str, Any], session: Any) -> None:
        for key, value in attributes.items():
            self._set_trial_attr_without_commit(session, TrialUserAttributeModel, trial_id, key, value)


def _change(trial_id: int, before: TrialState, after: TrialState, session: Any) -> TrialModel | None:
    """Change a trial's state in one statement; the others then wait for the end of this transaction.

    Returns:
        The trial; None if its state was another.
    """
    trials = session.query(TrialModel).filter_by(trial_id=trial_id)
    changed = trials.filter_by(state=before).update({"state": after})
    return trials.one() if changed else None


def _signature() -> dict[str, Any]:
    """What marks a trial as this worker's."""
    claim = f"c{uuid.uuid4().hex}"  # on the command line no number, whatever its digits
    return {"worker": this_worker(), "heartbeat": time.time(), "claim": claim, "stopped": False}


def default_storage(folder: Path) -> str:
    """URL of the SQLite file in a study's folder."""
    return f"sqlite:///{folder / DATABASE}"


def connect(url: str, patience_s: float = _FIRST_PATIENCE_S) -> StudyStorage:
    """Open a storage, with its tables made if they are missing.

    Args:
        url: SQLAlchemy's.
        patience_s: how long to wait for a database that does not answer; once it has, the wait is PATIENCE_S.

    Raises:
        UserError: the URL is none, its driver is missing, or the database does not answer.
    """
    lite = url.startswith("sqlite:")
    options = {"connect_args": {"timeout": LOCK_TIMEOUT_S}} if lite else {"pool_pre_ping": True}
    deadline = time.monotonic() + patience_s
    while True:
        try:
            storage = StudyStorage(url, engine_kwargs=options)
            break
        except (ImportError, ArgumentError) as error:
            hint = "pip install 'snntha[postgresql]'" if url.startswith("postgresql") else "install its driver"
            raise UserError(
                f"search.storage={without_passwords(url)}: {error} Give an SQLAlchemy URL; {hint}"
            ) from error
        except (SQLAlchemyError, StorageInternalError) as error:
            if time.monotonic() > deadline:
                reason = str(error).splitlines()[0]
                raise UserError(f"search.storage={without_passwords(url)} does not answer: {reason}") from error
            time.sleep(random.uniform(0.1, 0.5))
    event.listen(storage.engine, "do_connect", _connect_patiently)
    return storage


def _connect_patiently(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    """A connection to a database that may be away for a while; SQLAlchemy asks for one where the last was cut."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return dialect.connect(*arguments, **options)
        except dialect.loaded_dbapi.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(random.uniform(0.5, 2.0))
