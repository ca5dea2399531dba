"""One worker of a search: Optuna's loop over a study that others share, each trial a job of Hydra's launcher."""

import copy
import logging
import time
from collections.abc import Sequence
from contextlib import redirect_stderr
from datetime import datetime
from io import StringIO
from pathlib import Path

import numpy as np
import optuna
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from optuna.exceptions import StorageInternalError
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from snntha import config as configuration
from snntha import data as datasets
from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.search.failures import check_failures, reason
from snntha.search.report import finish, say
from snntha.search.shared_study import cause_of, join, patiently
from snntha.search.space import SearchSpace
from snntha.search.trial_job import TRUSTED, Outcome, build_pruner

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)  # towards search.n_trials
TAKEN = (*COUNTED, TrialState.RUNNING)
POLL_S = 2.0  # between two looks at the trials of other workers


class JobFailed(Exception):
    """A trial failed; its reason is recorded."""


def work(cfg: DictConfig, launcher: Launcher, arguments: list[str]) -> None:
    """Work on the study that a configuration names until it has all its trials, then print and draw what it found.

    Args:
        cfg: what Hydra composed, its own part included.
        launcher: of the jobs.
        arguments: overrides of the command line.

    Raises:
        UserError: the configuration cannot be searched, too many trials failed, or the storage stays away.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in ("hydra", "hydra_plugins"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a trial prints one line of its own, failed or not
    space = SearchSpace.of(configuration.load(cfg, arguments), arguments)
    search, choices, sampler = space.search, cfg.hydra.runtime.choices, cfg.hydra.sweeper.sampler
    if search.workers > 1 and choices["hydra/launcher"] == "basic":
        raise UserError("search.workers: without launcher=joblib | submitit | ray, start the command several times")
    if choices["hydra/sweeper/sampler"] == "grid":
        raise UserError("hydra/sweeper/sampler=grid: choose another; a multirun without search= goes through a grid")
    build_pruner(search)  # the jobs use it; a mistake in its arguments shall show here, as missing data shall
    datasets.load(space.config.dataset, selection=space.config.selection, seed=space.config.seed)
    worker = Worker(space, join(space.config, sampler, arguments), launcher, sampler)
    folder = Path(worker.study.user_attrs["folder"])
    try:
        worker.fill_study()
    except KeyboardInterrupt:
        worker.leave_to_others()
        say(f"stopped; the same command goes on, and snntha search {folder} shows how far it is")
        raise
    except StorageInternalError as error:
        place, remedy = without_passwords(search.storage), "What it holds is not lost: the same command goes on"
        raise UserError(f"search.storage={place} does not answer any more: {cause_of(error)}. {remedy}") from error
    finish(worker.study, folder)


class Worker:
    """Lets Optuna optimise a study: it samples, counts, prunes, records failures and has taken up again what died."""

    def __init__(self, space: SearchSpace, study: optuna.Study, launcher: Launcher, sampler: DictConfig):
        self.space, self.search, self.study, self.launcher, self.sampler = space, space.search, study, launcher, sampler
        self.began = datetime.now()
        self.stopped: list[int] = []  # trials in which Ctrl-C came

    def fill_study(self) -> None:
        """Until as many trials as wanted are complete or pruned, by this worker and all others."""
        if self.search.workers > 1 and "Ray" in type(self.launcher).__name__:
            self.launcher.launch([], 0)  # starts Ray, once: each thread would
        while patiently(lambda: len(self.study.get_trials(False, COUNTED))) < self.search.n_trials:
            try:
                self._optimize()
            except StorageInternalError as error:
                say(f"waiting for the storage, which does not answer: {cause_of(error)}")
            except ValueError as error:
                if "Cannot tell" not in str(error):
                    raise  # else another worker has ended this one's trial, believing it dead

    def _optimize(self) -> None:
        """Trials until the study would be full if the running ones succeeded; then wait for those of others."""
        fail_stale_trials(self.study)
        free = self.search.n_trials - len(self.study.get_trials(False, TAKEN))
        if free > 0:
            enough = optuna.study.MaxTrialsCallback(self.search.n_trials, TAKEN)
            jobs, callbacks = min(self.search.workers, free), [self._after_trial, enough]
            self.study.optimize(self._objective, n_jobs=jobs, catch=(JobFailed,), callbacks=callbacks)
        else:
            time.sleep(POLL_S)

    def _objective(self, trial: optuna.Trial) -> float:
        """Have one job launched and return its value; raises what makes Optuna record a pruned or failed trial."""
        # A generator for each trial: no start-up trial comes twice, however many workers begin, or begin anew
        (seed,) = np.random.SeedSequence([self.space.config.seed, trial.number]).generate_state(1)
        self.study.sampler = instantiate(self.sampler, seed=int(seed), _execution_whitelist_=TRUSTED)
        earlier = RetryHeartbeatStaleTrialCallback.retry_history(self.study.get_trials(False)[trial.number])
        first = [*earlier, trial.number][0]  # names the folder, where later attempts go on
        try:
            outcome = self._launch([*self.space.draw(trial), f"search.trial={first}", f"search.attempt={trial.number}"])
        except KeyboardInterrupt:
            self.stopped.append(trial.number)
            raise
        if outcome.pruned:
            raise optuna.TrialPruned
        if outcome.failure:
            trial.set_user_attr("failure", outcome.failure)
            raise JobFailed
        return outcome.value

    def _launch(self, overrides: Sequence[str]) -> Outcome:
        """Run a job; one that ends without an answer, as a killed one does, is begun again and goes on."""
        launcher = copy.deepcopy(self.launcher)  # composes in this thread: a configuration is not made for several
        cause = ""
        for _ in range(self.search.max_deaths):
            try:
                (job,) = launcher.launch([overrides], initial_job_idx=0)
                with redirect_stderr(StringIO()):  # Hydra prints the overrides of a job that raised
                    return job.return_value
            except (HydraException, OmegaConfBaseException):
                raise  # the configuration is wrong, for every trial
            except Exception as error:  # each launcher has its own
                cause = cause_of(error)
        return Outcome(failure=f"its process ended {self.search.max_deaths} times without an answer. {cause}")

    def _after_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Print its line, and stop a hopeless search."""
        text = f"trial {trial.number:>3}  "
        if trial.state == TrialState.FAIL:
            say(f"{text}failed: {reason(trial)}", style="red")
        elif trial.state == TrialState.PRUNED:
            say(f"{text}{trial.value or 0.0:8.3f}  pruned")
        else:
            best = study.best_trial
            say(f"{text}{trial.value:8.3f}  (best so far {best.value:.3f}, trial {best.number})")
        check_failures(study.get_trials(deepcopy=False), self.search, self.began)

    def leave_to_others(self) -> None:
        """Let the trials in which Ctrl-C came, which Optuna has recorded as failed, wait for a worker."""
        for number in self.stopped:
            retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
            retry(self.study, self.study.get_trials()[number])
