"""One trial of a search, in the process that Hydra's launcher gave it."""

import os
import signal
import socket
import time
import traceback
from dataclasses import replace
from itertools import product
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError, TrialPruned, UpdateFinishedTrialError
from rich.console import Console

from snntha import config as configuration
from snntha.atomic import write_atomically
from snntha.config.schema import Config, Search
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.records import FolderInUse, Run
from snntha.run import run
from snntha.search.shared_study import PATIENCE_S, connect, patiently

TRUSTED = ("optuna.*", "hydra_plugins.hydra_optuna_sweeper.*")  # what a search's configuration may name as a class
LOCKED_POLL_S = 1.0  # between two looks at a folder in which another process trains


class Answer(NamedTuple):
    """What a job tells its worker: a trial's value, or that it was pruned or stopped, or why it failed."""

    value: float = 0.0  # best selection score
    pruned: bool = False
    stopped: int = 0  # by which signal, Ctrl-C's or another, which no launcher carries from one process to another
    failure: str = ""


def run_trial(cfg: DictConfig) -> Answer:
    """Train one trial, or go on with one whose process died, and keep only its best checkpoint.

    A failure that is not the user's to mend leaves its traceback in failure.txt of the trial's folder.

    Raises:
        UpdateFinishedTrialError: this process was believed dead, and another one has the trial.
        StorageInternalError: the storage does not answer, which says nothing of the trial.
    """
    folder, unwanted = Path(cfg.output_dir), ("best", "last")
    try:
        answer, unwanted = Answer(_train(configuration.load(cfg))), ("last",)
    except TrialPruned:
        answer = Answer(pruned=True)
    except KeyboardInterrupt as error:
        return Answer(stopped=(error.args or (signal.SIGINT,))[0])
    except (StorageInternalError, UpdateFinishedTrialError):
        raise
    except FileExistsError as error:
        return Answer(failure=str(error))  # nothing in there is this trial's
    except UserError as error:
        answer = Answer(failure=str(error))
    except Exception as error:
        answer = Answer(failure=f"{type(error).__name__}: {error}")
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(folder / "failure.txt", "".join(traceback.format_exception(error)))
    for seed, name in product(range(cfg.trials), unwanted):
        Run(folder).seed(seed).remove_checkpoint(name)
    return answer


def build_pruner(search: Search) -> optuna.pruners.BasePruner:
    """The pruner that `search.pruner` names; raises UserError where it does not take its arguments."""
    options = search.pruners[search.pruner]
    try:
        return instantiate(options, _execution_whitelist_=TRUSTED)
    except (TypeError, ValueError) as error:
        raise UserError(f"search.pruners.{search.pruner}={options}: {error}") from error


def _train(config: Config) -> float:
    """Train as `snntha train` does, and ask the study's pruner after each epoch; raises TrialPruned."""
    assert (search := config.search) is not None and search.attempt is not None
    storage = connect(search.storage, PATIENCE_S)
    study = optuna.load_study(study_name=search.study_name, storage=storage, pruner=build_pruner(search))
    study_id = storage.get_study_id_from_name(search.study_name)
    trial_id = storage.get_trial_id_from_study_id_trial_number(study_id, search.attempt)
    storage.set_trial_user_attr(trial_id, "worker", f"{socket.gethostname()}:{os.getpid()}")
    storage.set_trial_user_attr(trial_id, "hparams", configuration.tuned(config))
    config = replace(config, epochs=search.epochs)  # what best.yaml is trained for is more than a trial is

    def report(best_scores: list[float], epoch: int) -> None:
        """Called with the best score of each seed begun. A step is an epoch of the first seed: comparable in all."""
        storage.check_trial_is_updatable(trial_id, storage.get_trial(trial_id).state)  # another worker may have it
        if len(best_scores) == 1:
            storage.set_trial_intermediate_value(trial_id, epoch, best_scores[0])
            if study.pruner.prune(study, storage.get_trial(trial_id)):
                raise TrialPruned

    folder = Path(config.output_dir)
    while True:
        resume = folder if (folder / "config.yaml").is_file() else None
        before = configuration.from_yaml(folder / "config.yaml") if resume else config
        if (before.hparams, before.optimizer) != (config.hparams, config.optimizer):
            raise FileExistsError(
                f"{folder} holds another run: it is not overwritten; choose another search.study_name"
            )
        if resume and len(seeds := RunFolder(folder).entries) == config.trials:
            return fmean(entry["best_score"] for entry in seeds)  # trained, but its worker died
        try:
            return run(config, resume, Console(quiet=True), lambda *args: patiently(lambda: report(*args))).score
        except FolderInUse:  # a process that was believed dead lives: it ends at its next report
            time.sleep(LOCKED_POLL_S)
