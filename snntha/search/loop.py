"""One worker of a search: the Optuna plugin's loop, with a study that others share and that survives its workers."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, RangeSweep
from hydra_plugins.hydra_optuna_sweeper._impl import OptunaSweeperImpl
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.trial import TrialState
from rich.console import Console

from snntha import config as configuration
from snntha import data as datasets
from snntha.config.schema import Config
from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.search import space
from snntha.search.failures import check_failures
from snntha.search.job import print_failure
from snntha.search.launch import Batches, BatchLost
from snntha.search.report import finish, print_lines
from snntha.search.sampler import build_pruner, build_sampler
from snntha.search.storage import StudyFull
from snntha.search.study import (
    count_death,
    give_back,
    join,
    may_come_back,
    own_running,
    reclaim,
    study_folder,
    suspected,
    trials_left,
)
from snntha.search.workers import Heartbeat, has_live_job

SEARCHED = ("hparams.", "optimizer.")  # keys that best.yaml holds


class Loop(OptunaSweeperImpl):
    """The plugin asks Optuna for trials, has Hydra's launcher run them, and tells Optuna their values.

    What is added around it: the study has `search.n_trials` in all, over every worker and start; a trial of a dead
    worker is taken up again; each job is told the number of its trial; a failure does not end the search, too many do.
    """

    def sweep(self, arguments: list[str]) -> None:
        """Work on the study until it has all its trials.

        Raises:
            UserError: the configuration cannot be searched, too many trials failed, or the storage stays away.
        """
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        for name in ("hydra", "hydra_plugins"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # a trial prints one line of its own, failed or not
        _check_swept(arguments)
        assert self.config is not None
        self.base = configuration.load(self.config, arguments)
        assert self.base.search is not None
        self.search = self.base.search
        _check_cost(self.base)
        datasets.load(self.base.dataset, selection=self.base.selection, seed=self.base.seed)  # missing files show here
        self.study = join(self.base, arguments)
        self.study_name, self.storage = self.search.study_name, self.study._storage
        self.sampler = build_sampler(self.search, self.base.seed)
        build_pruner(self.search)  # the jobs use it; a mistake in its arguments shall show here
        assert self.launcher is not None
        self.launcher = self.batches = Batches(self.launcher)
        self.custom_search_space_extender = lambda _, trial: space.suggest(self.base, trial)

        self.began = datetime.now()
        try:
            with Heartbeat(self.storage, self.search.heartbeat_s) as self.heartbeat:
                self._work(arguments)
        except StorageInternalError as error:
            raise UserError(
                f"search.storage={without_passwords(self.search.storage)} does not answer any more: "
                f"{str(error).splitlines()[0]}. What it holds is not lost: the same command goes on"
            ) from error
        folder = study_folder(self.search)
        others = len(self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
        finish(self.study, folder, pictures=not others)
        if others:
            last = f"{others} running in other workers, the last of which draws the pictures"
            print_lines([("note", f"{last}; snntha search {folder} draws them at any time")])

    def _work(self, arguments: list[str]) -> None:
        """Until the study has all its trials, and none that a dead worker has left behind."""
        try:
            while True:
                if trials := trials_left(self.study, self.search):
                    suspects = suspected(self.study)  # one by one, so that the culprit takes no other with it
                    self.n_trials, self.n_jobs = (suspects, 1) if suspects else (trials, self.search.batch)
                    self._sweep(arguments)
                elif may_come_back(self.study, self.search):
                    time.sleep(self.search.heartbeat_s)
                else:
                    return
        except KeyboardInterrupt:
            folder = study_folder(self.search)
            again = f"stopped; the same command goes on, and snntha search {folder} shows how far it is"
            Console().print(again, soft_wrap=True, highlight=False, markup=False)
            raise
        finally:
            give_back(self.study, self.search.stale_s)

    def _sweep(self, arguments: list[str]) -> None:
        """The plugin's loop, until the study is full, a batch is lost, or a trial was taken away."""
        try:
            super().sweep(arguments)
        except StudyFull:  # other workers were faster; of a batch, some trials may have been asked for
            self._let_go()
        except BatchLost as lost:
            self._let_go(str(lost))
        except UserError:
            raise
        except (ValueError, UpdateFinishedTrialError):
            # the plugin reads the best trial at its end, and all may have failed; or, after a pause of this machine,
            # another worker has taken this one's trial
            kept = {trial._trial_id for trial in own_running(self.study)}
            if kept.issuperset(trial._trial_id for trial in self.batches.trials):
                raise
            self._let_go()

    def _let_go(self, cause: str = "") -> None:
        """Let the trials of the last batch wait, once none of its jobs works on them; a cause counts as their death."""
        self.heartbeat.trial_ids.clear()  # another worker's, or begun anew, from now on
        while any(has_live_job(trial, self.search.stale_s) for trial in own_running(self.study)):
            time.sleep(1.0)
        for trial in own_running(self.study) if cause else []:
            print_failure(trial.number, f"its batch was lost, {cause.splitlines()[0]}")
            count_death(self.study, trial, self.search, cause)
        give_back(self.study, self.search.stale_s)

    def _configure_trials(
        self,
        trials: list[optuna.Trial],
        search_space_distributions: dict[str, Any],
        fixed_params: dict[str, Any],
        fixed_overrides: list[str],
    ) -> Sequence[Sequence[str]]:
        """The overrides of each job: what the plugin makes of the parameters, and which trial it is.

        The plugin keeps the fixed ones in the trial too, where only those of hyperparameters are wanted: search.storage
        may hold a password.
        """
        self.batches.trials = trials
        for trial in trials:
            self.heartbeat.watch(trial._trial_id)
        reclaim(self.study, self.search)
        check_failures(self.study.get_trials(deepcopy=False), self.search, self.began)
        fixed = {key: value for key, value in fixed_params.items() if key.startswith(SEARCHED)}
        others = [f"{key}={value}" for key, value in fixed_params.items() if key not in fixed]
        jobs = super()._configure_trials(trials, search_space_distributions, fixed, fixed_overrides + others)
        return [
            (
                *overrides,
                *space.implied(self.base, trial),
                f"search.trial={trial.number}",
                f"search.claim={trial.user_attrs['claim']}",
            )
            for overrides, trial in zip(jobs, trials, strict=True)
        ]


def _check_swept(arguments: list[str]) -> None:
    """Only hyperparameters can be searched: best.yaml holds nothing else."""
    for override in OverridesParser.create().parse_overrides(arguments):
        key = override.get_key_element()
        if key == "optimizer":
            raise UserError(f"{override.input_line}: in a search, set optimizer.name instead")
        if not override.is_sweep_override():
            continue
        if not key.startswith(SEARCHED):
            raise UserError(
                f"{key} has several values, but a search varies hparams.* and optimizer.* alone: pass one value, "
                f"and run the command once for each of the others"
            )
        if not isinstance(override.value(), ChoiceSweep | RangeSweep | IntervalSweep):
            raise UserError(f"{override.input_line}: expected interval(low,high), range(low,high,step) or choice(a,b)")


def _check_cost(config: Config) -> None:
    """What a trial costs has its own keys in a search, which the record and the pruner go by."""
    search = config.search
    assert search is not None
    for key, value, own, wanted in (
        ("trials", config.trials, "search.seeds", search.seeds),
        ("dataset.limit", config.dataset.limit, "search.limit", search.limit),
    ):
        if value != wanted:
            raise UserError(f"{key}={value}: in a search, set {own} instead")
