"""One worker of a search: Optuna's loop over a study that others share, each trial a job of Hydra's launcher."""

import copy
import logging
import re
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass, field
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
from snntha.config.schema import Search
from snntha.errors import UserError
from snntha.follow import follow
from snntha.records import without_passwords
from snntha.search.report import announce, finish, live_line, say
from snntha.search.shared_study import COUNTED, cause_of, join, patiently, taken_up
from snntha.search.snapshot import Snapshot, reason
from snntha.search.space import SearchSpace
from snntha.search.trial_job import TRUSTED, Answer, build_pruner

TAKEN = (*COUNTED, TrialState.RUNNING)
POLL_S = 2.0  # between two looks at the trials of other workers


class JobFailed(Exception):
    """A trial failed; its reason is recorded."""


def work(cfg: DictConfig, launcher: Launcher, arguments: list[str]) -> None:
    """Work on the study that a configuration names until it has all its trials, then print and draw what it found.

    Raises UserError: the configuration cannot be searched, too many trials failed, or the storage stays away.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for name in ("hydra", "hydra_plugins"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # a trial prints one line of its own, failed or not
    composed = configuration.load(cfg, arguments)
    config = follow(composed)
    assert (search := config.search) is not None
    choices, sampler = cfg.hydra.runtime.choices, cfg.hydra.sweeper.sampler
    space = SearchSpace(config, arguments, configuration.differing(composed, config))
    if search.workers > 1 and choices["hydra/launcher"] == "basic":
        raise UserError("search.workers: without launcher=joblib | submitit | ray, start the command several times")
    if choices["hydra/sweeper/sampler"] == "grid":
        raise UserError("hydra/sweeper/sampler=grid: choose another; a multirun without search= goes through a grid")
    build_pruner(search)  # the jobs use it; a mistake in its arguments shall show here, as missing data shall
    datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    study = join(config, sampler, arguments)
    folder = Path(study.user_attrs["folder"])
    if not study.get_trials(deepcopy=False):  # a cheap search must not end below what is known already
        study.enqueue_trial(space.tuned(), user_attrs={"origin": f"hparams={config.hparams.name}"}, skip_if_exists=True)
    announce(Snapshot(study), search, space.in_words())
    try:
        with live_line(study):
            Worker(search, space, study, launcher, sampler).fill_study()
    except KeyboardInterrupt:
        say(f"stopped; the same command goes on, and snntha search {folder} shows how far it is")
        raise
    except StorageInternalError as error:
        place, remedy = without_passwords(search.storage), "What it holds is not lost: the same command goes on"
        raise UserError(f"search.storage={place} does not answer any more: {cause_of(error)}. {remedy}") from error
    finish(study, folder)


@dataclass(frozen=True)
class Worker:
    """Lets Optuna optimise a study: it samples, counts, prunes, records failures and has taken up again what died."""

    search: Search
    space: SearchSpace
    study: optuna.Study
    launcher: Launcher
    sampler: DictConfig
    began: datetime = field(default_factory=datetime.now)

    def fill_study(self) -> None:
        """Until as many trials as wanted are complete or pruned, by this worker and all others."""
        if self.search.workers > 1 and "Ray" in type(self.launcher).__name__:
            self.launcher.launch([], 0)  # starts Ray, once: each thread would
        enough = optuna.study.MaxTrialsCallback(self.search.n_trials, TAKEN)
        while patiently(lambda: len(self.study.get_trials(False, COUNTED))) < self.search.n_trials:
            try:
                fail_stale_trials(self.study)
                free = self.search.n_trials - len(self.study.get_trials(False, TAKEN))
                if free > 0:
                    jobs, callbacks = min(self.search.workers, free), [self._after_trial, enough]
                    self.study.optimize(self._objective, n_jobs=jobs, catch=(JobFailed,), callbacks=callbacks)
                else:  # the study is full if those of other workers succeed
                    time.sleep(POLL_S)
            except StorageInternalError as error:
                say(f"waiting for the storage, which does not answer: {cause_of(error)}")
            except ValueError as error:
                if "Cannot tell" not in str(error):
                    raise  # else another worker has ended this one's trial, believing it dead

    def _objective(self, trial: optuna.Trial) -> float:
        """Have one job launched and return its value; raises what makes Optuna record a pruned or failed trial."""
        # A generator for each trial: no start-up trial comes twice, however many workers begin, or begin anew
        (seed,) = np.random.SeedSequence([self.space.config.seed, trial.number]).generate_state(1)
        self.study.sampler = instantiate(self.sampler, seed=int(seed), _execution_whitelist_=TRUSTED)
        earlier = RetryHeartbeatStaleTrialCallback.retry_history(self.study.get_trials(False)[trial.number])
        first = [*earlier, trial.number][0]  # names the folder, where later attempts go on
        try:
            answer = self._launch([*self.space.draw(trial), f"search.trial={first}", f"search.attempt={trial.number}"])
        except KeyboardInterrupt:
            answer = Answer(stopped=True)
        if answer.stopped:  # Optuna records this attempt as failed; the next one waits for a worker
            retry = RetryHeartbeatStaleTrialCallback(inherit_intermediate_values=True)
            retry(self.study, self.study.get_trials()[trial.number])
            raise KeyboardInterrupt(answer.stopped)
        if answer.pruned:
            raise optuna.TrialPruned
        if answer.failure:
            trial.set_user_attr("failure", answer.failure)
            raise JobFailed
        return answer.value

    def _launch(self, overrides: Sequence[str]) -> Answer:
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
        return Answer(failure=f"its process ended {self.search.max_deaths} times without an answer. {cause}")

    def _after_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Print its line, and stop a hopeless search."""
        if trial.state == TrialState.FAIL:
            text = f"failed: {reason(trial)}"
        elif trial.state == TrialState.PRUNED:
            text = f"{trial.value or 0.0:8.3f}  pruned"
        else:
            text = f"{trial.value:8.3f}  (best so far {study.best_value:.3f}, trial {study.best_trial.number})"
        origin = f"  of {trial.user_attrs['origin']}" if "origin" in trial.user_attrs else ""
        say(f"trial {trial.number:>3}  {text}{origin}")
        check_failures(study.get_trials(deepcopy=False), self.search, self.began)


def check_failures(trials: Sequence[FrozenTrial], search: Search, since: datetime = datetime.min) -> None:
    """Raise UserError if more than `max_failure_share` of the last `failure_window` ended trials failed.

    Only trials that ended since this worker began count, so that a search whose cause was mended goes on, and none
    that was taken up again.
    """
    again = taken_up(trials)
    ended = [trial for trial in trials if trial.state.is_finished() and trial.number not in again]
    ended.sort(key=lambda trial: trial.datetime_complete or since)
    recent = [trial for trial in ended if (trial.datetime_complete or since) >= since][-search.failure_window :]
    failed = [trial for trial in recent if trial.state == TrialState.FAIL]
    if len(recent) == search.failure_window and len(failed) > search.max_failure_share * len(recent):
        complete = [trial for trial in ended if trial.state == TrialState.COMPLETE]
        raise UserError(
            f"{len(failed)} of the last {len(recent)} trials failed, more than search.max_failure_share="
            f"{search.max_failure_share} allows.\n{_in_common(failed, complete)}\n"
            f"Mend the cause or narrow the range, then start the same command again"
        )


def _in_common(failed: Sequence[FrozenTrial], complete: Sequence[FrozenTrial]) -> str:
    """The failed trials' reasons, and the parameters that set them apart from the complete ones."""
    numbers = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")  # equal causes count together, whatever their numbers
    reasons = Counter(numbers.sub("#", reason(trial)) for trial in failed)
    lines = [f"{count} x {text}" for text, count in reasons.most_common()]
    for name in sorted(set.intersection(*(set(trial.params) for trial in failed))):
        values = [trial.params[name] for trial in failed]
        others = [trial.params[name] for trial in complete if name in trial.params]
        if all(isinstance(value, float) for value in values + others):
            low, high = min(values), max(values)
            if others and not any(low <= other <= high for other in others):
                lines.append(f"all had {name} from {low:.4g} to {high:.4g}, no complete trial had")
        elif len(set(values)) == 1 and values[0] not in others:
            lines.append(f"all had {name}={values[0]}, no complete trial had")
    return "\n".join(lines)
