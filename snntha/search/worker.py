"""One worker of a search: Optuna's loop over a study that others share, each trial a job of Hydra's launcher."""

import logging
import time
from collections.abc import Sequence
from datetime import datetime

import numpy as np
import optuna
from hydra.core.utils import JobStatus
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from optuna.exceptions import StorageInternalError, TrialPruned
from optuna.storages import RetryHeartbeatStaleTrialCallback, fail_stale_trials
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState

from snntha import config as configuration
from snntha import data as datasets
from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.search.failures import check_failures, reason
from snntha.search.report import finish, say
from snntha.search.shared_study import earlier_attempts, experimental, join, patiently, study_folder
from snntha.search.space import SearchSpace
from snntha.search.trial_job import TRUSTED, Outcome, build_pruner

COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)  # towards search.n_trials
TAKEN = (*COUNTED, TrialState.RUNNING)
POLL_S = 2.0  # between two looks at the trials of other workers


class JobFailed(Exception):
    """The trial failed, and would again."""


class JobLost(Exception):
    """The job ended without an answer, which says nothing of its trial."""


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
    search, choices = space.search, cfg.hydra.runtime.choices
    if search.workers > 1 and choices["hydra/launcher"] == "basic":
        raise UserError("search.workers: without launcher=joblib | submit | ray, start the same command several times")
    if choices["hydra/sweeper/sampler"] == "grid":
        raise UserError("hydra/sweeper/sampler=grid: a multirun without search= goes through a grid; choose another")
    build_pruner(search)  # the jobs use it; a mistake in its arguments shall show here, as missing data shall
    datasets.load(space.config.dataset, selection=space.config.selection, seed=space.config.seed)
    study, folder = join(space.config, cfg.hydra.sweeper.sampler, arguments), study_folder(search)
    worker = Worker(space, study, launcher, cfg.hydra.sweeper.sampler)
    try:
        worker.fill_study()
    except KeyboardInterrupt:
        worker.leave_to_others()
        say(f"stopped; the same command goes on, and snntha search {folder} shows how far it is")
        raise
    except StorageInternalError as error:
        place, cause = without_passwords(search.storage), str(error.__cause__ or error).splitlines()[0]
        remedy = "What it holds is not lost: the same command goes on"
        raise UserError(f"search.storage={place} does not answer any more: {cause}. {remedy}") from error
    finish(study, folder)


class Worker:
    """Lets Optuna optimise a study: it samples, counts, prunes, records failures and has taken up again what died."""

    def __init__(self, space: SearchSpace, study: optuna.Study, launcher: Launcher, sampler: DictConfig):
        self.space, self.search, self.study, self.launcher, self.sampler = space, space.search, study, launcher, sampler
        self.began = datetime.now()
        self.open: set[int] = set()  # trials that this worker began and whose end Optuna has not recorded
        self.answered: set[int] = set()  # trials whose job has ended
        self.lost: set[int] = set()  # and those of them whose job gave no answer

    def fill_study(self) -> None:
        """Until as many trials as wanted are complete or pruned, by this worker and all others."""
        while patiently(lambda: len(self.study.get_trials(False, COUNTED))) < self.search.n_trials:
            try:
                self._optimize()
            except StorageInternalError as error:
                say(f"waiting for the storage, which does not answer: {str(error.__cause__ or error).splitlines()[0]}")
            except ValueError:
                # Optuna refuses to record the end of a trial that another worker has ended, believing this one dead
                trials = patiently(lambda: self.study.get_trials(deepcopy=False))
                if not any(trials[number].state.is_finished() for number in self.open & self.answered):
                    raise
                self.open.clear()

    def leave_to_others(self) -> None:
        """Let the trials that Ctrl-C has ended, which Optuna records as failed, wait for a worker."""
        for trial in self.study.get_trials():
            if trial.number in self.open and trial.state == TrialState.FAIL:
                self._take_up_again(trial)

    def _optimize(self) -> None:
        """Trials until the study would be full if the running ones succeeded; then wait for those of others."""
        with experimental():
            fail_stale_trials(self.study)
        free = self.search.n_trials - len(self.study.get_trials(False, TAKEN))
        if free < 1:
            time.sleep(POLL_S)
            return
        callbacks = [self._after_trial, MaxTrialsCallback(self.search.n_trials, TAKEN)]
        workers = min(self.search.workers, free)
        self.study.optimize(self._objective, n_jobs=workers, catch=(JobFailed, JobLost), callbacks=callbacks)

    def _objective(self, trial: optuna.Trial) -> float:
        """Launch one job and return its value; raises what makes Optuna record the trial as pruned or failed."""
        self.open.add(trial.number)
        # A generator for each trial: no start-up trial comes twice, however many workers begin, or begin anew
        (seed,) = np.random.SeedSequence([self.space.config.seed, trial.number]).generate_state(1)
        with experimental():
            self.study.sampler = instantiate(self.sampler, seed=int(seed), _execution_whitelist_=TRUSTED)
        folder, *_ = [*earlier_attempts(self.study.get_trials(False)[trial.number]), trial.number]
        overrides = [*self.space.draw(trial), f"search.trial={folder}", f"search.attempt={trial.number}"]
        outcome = self._launch(trial.number, overrides)
        if outcome.state == TrialState.PRUNED:
            raise TrialPruned
        if outcome.state == TrialState.COMPLETE:
            return outcome.value
        trial.set_user_attr("failure", outcome.reason)
        if outcome.state == TrialState.FAIL:
            raise JobFailed
        self.lost.add(trial.number)
        raise JobLost

    def _launch(self, number: int, overrides: Sequence[str]) -> Outcome:
        try:
            (job,) = self.launcher.launch([overrides], initial_job_idx=number)
        except (HydraException, OmegaConfBaseException):
            raise  # the configuration is wrong, for every trial
        except Exception as error:  # what the launcher makes of a job that was killed
            return Outcome(TrialState.WAITING, reason=f"its process ended: {str(error).partition(chr(10))[0]}")
        finally:
            self.answered.add(number)
        return job.return_value if job.status == JobStatus.COMPLETED else Outcome(TrialState.WAITING, reason="no start")

    def _after_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Print its line, have it taken up again where its job was lost, and stop a hopeless search."""
        self.open.discard(trial.number)
        text = f"trial {trial.number:>3}  "
        if trial.state == TrialState.FAIL:
            say(f"{text}failed: {reason(trial)}", style="red")
        elif trial.state == TrialState.PRUNED:
            say(f"{text}{trial.value or 0.0:8.3f}  pruned")
        else:
            best = study.best_trial
            say(f"{text}{trial.value:8.3f}  (best so far {best.value:.3f}, trial {best.number})")
        if trial.number in self.lost:
            self._take_up_again(trial, self.search.max_deaths - 1)
        check_failures(study.get_trials(deepcopy=False), self.search, self.began)

    def _take_up_again(self, trial: FrozenTrial, max_retry: int | None = None) -> None:
        with experimental():
            RetryHeartbeatStaleTrialCallback(max_retry, inherit_intermediate_values=True)(self.study, trial)
