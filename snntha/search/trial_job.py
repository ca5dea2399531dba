"""One trial of a search, in the process that Hydra's launcher gave it."""

import os
import socket
import time
import traceback
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError, TrialPruned, UpdateFinishedTrialError
from rich.console import Console

from snntha import config as configuration
from snntha.config.schema import Config, Search
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.records import FolderInUse, Run, write_atomically
from snntha.run import run
from snntha.search.shared_study import PATIENCE_S, connect, patiently

TRUSTED = ("optuna.*", "hydra_plugins.hydra_optuna_sweeper.*")  # what a search's configuration may name as a class
LOCKED_POLL_S = 1.0  # between two looks at a folder in which another process trains


class Outcome(NamedTuple):
    """What a job tells its worker: a trial's value, or that it was pruned, or why it failed."""

    value: float = 0.0  # best selection score
    pruned: bool = False
    failure: str = ""


def run_trial(cfg: DictConfig) -> Outcome:
    """Train one trial, or go on with one whose process died, and keep only its best checkpoint.

    A failure that is not the user's to mend leaves its traceback in failure.txt of the trial's folder.

    Raises:
        UpdateFinishedTrialError: this process was believed dead, and another one has the trial.
        StorageInternalError: the storage does not answer, which says nothing of the trial.
    """
    folder, unwanted = Path(cfg.output_dir), ("best", "last")
    try:
        outcome, unwanted = Outcome(_train(configuration.load(cfg))), ("last",)
    except TrialPruned:
        outcome = Outcome(pruned=True)
    except (StorageInternalError, UpdateFinishedTrialError):
        raise
    except UserError as error:
        outcome = Outcome(failure=str(error))
    except Exception as error:
        outcome = Outcome(failure=f"{type(error).__name__}: {error}")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "failure.txt", "".join(traceback.format_exception(error)))
    if (folder / "config.yaml").is_file():
        for seed in range(cfg.trials):
            for name in unwanted:
                Run.open(folder).seed(seed).remove_checkpoint(name)
    return outcome


def build_pruner(search: Search) -> optuna.pruners.BasePruner:
    """The pruner that `search.pruner` names; raises UserError where it does not take its arguments."""
    options = search.pruners[search.pruner]
    try:
        return instantiate(options, _execution_whitelist_=TRUSTED)
    except (TypeError, ValueError) as error:
        raise UserError(f"search.pruners.{search.pruner}={options}: {error}") from error


def _train(config: Config) -> float:
    """Train as `snntha train` does, and ask the study's pruner after each epoch; raises TrialPruned."""
    search = config.search
    assert search is not None and search.attempt is not None
    storage = connect(search.storage, PATIENCE_S)
    study = optuna.load_study(study_name=search.study_name, storage=storage, pruner=build_pruner(search))
    study_id = storage.get_study_id_from_name(search.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, search.attempt)
    trial = optuna.trial.Trial(study, trial_id)
    known = set(storage.get_trial(trial_id).intermediate_values)  # reported before the process died
    trial.set_user_attr("worker", f"{socket.gethostname()}:{os.getpid()}")
    trial.set_user_attr("hparams", configuration.tuned(config))
    config = replace(config, epochs=search.epochs)  # what best.yaml is trained for is more than a trial is

    def report(best_scores: list[float], epoch: int) -> None:
        """Called with the best score of each seed begun. A step is an epoch of the first seed: comparable in all."""
        if storage.get_trial(trial_id).state.is_finished():
            raise UpdateFinishedTrialError(f"trial {search.attempt} was taken up by another worker")
        if len(best_scores) > 1:
            return
        if epoch not in known:
            trial.report(best_scores[0], epoch)
            known.add(epoch)
        if trial.should_prune():
            raise TrialPruned

    folder = Path(config.output_dir)
    while True:
        resume = folder if (folder / "config.yaml").is_file() else None
        before = configuration.from_yaml(folder / "config.yaml") if resume else config
        if (before.hparams, before.optimizer) != (config.hparams, config.optimizer):
            raise UserError(f"{folder} holds another run: it is not overwritten; choose another search.study_name")
        ended = RunFolder(folder).entries if resume else []
        if len(ended) == config.trials:
            return fmean(entry["best_score"] for entry in ended)  # trained, but its worker died
        try:
            return run(config, resume, Console(quiet=True), lambda *args: patiently(lambda: report(*args))).score
        except FolderInUse:  # a process that was believed dead lives: it ends at its next report
            time.sleep(LOCKED_POLL_S)
