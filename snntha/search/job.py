"""One trial of a search, in the process that Hydra's launcher gave it."""

import math
import traceback
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import optuna
from omegaconf import DictConfig
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from rich.console import Console

from snntha import config as configuration
from snntha.config.schema import Config
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.records import Run, write_atomically
from snntha.run import run
from snntha.search.failures import describe
from snntha.search.sampler import build_pruner
from snntha.search.storage import PATIENCE_S, connect
from snntha.search.study import open_study
from snntha.search.workers import Heartbeat, this_worker


class Pruned(Exception):
    """The trial is hopeless; `score` is what it reached."""

    def __init__(self, score: float):
        super().__init__(score)
        self.score = score


class Superseded(Exception):
    """The trial was begun anew since this job was launched, which must not touch it any more."""


def run_trial(cfg: DictConfig) -> float:
    """Train one trial, or go on with one whose worker died, and return its value: the best selection score.

    A failed trial's value is nan, which makes it a failed one in the study too; its reason is left there, and where it
    is not the user's to mend, its traceback in failure.txt of the trial's folder.

    Raises:
        Superseded: another job has the trial.
        StorageInternalError: the storage does not answer, which says nothing of the trial.
    """
    study = open_study(cfg.search.study_name, connect(cfg.search.storage, PATIENCE_S))
    folder, number = Path(cfg.output_dir), cfg.search.trial
    trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[number]._trial_id)
    _check_claim(study, trial, cfg.search.claim)
    trial.set_user_attr("job", this_worker())
    try:
        with _signs_of_life(study, trial, cfg.search.heartbeat_s):
            value = _train(configuration.load(cfg), study, trial)
    except Pruned as pruned:
        trial.set_user_attr("pruned", True)
        _remove_checkpoints(folder, "best", "last")
        _print(number, f"{pruned.score:8.3f}  pruned")
        return pruned.score
    except (Superseded, StorageInternalError):
        raise
    except Exception as error:
        if not isinstance(error, UserError):
            folder.mkdir(parents=True, exist_ok=True)
            write_atomically(folder / "failure.txt", "".join(traceback.format_exception(error)))
        trial.set_user_attr("failure", describe(error))
        _remove_checkpoints(folder, "best", "last")
        print_failure(number, describe(error))
        return math.nan
    _remove_checkpoints(folder, "last")
    _print(number, f"{value:8.3f}{_best_before(study)}")
    return value


def print_failure(number: int, reason: str) -> None:
    _print(number, f"failed: {reason}", style="red")


def _print(number: int, text: str, style: str | None = None) -> None:
    Console().print(f"trial {number:>3}  {text}", style=style, highlight=False, soft_wrap=True, markup=False)


def _train(config: Config, study: optuna.Study, trial: optuna.trial.Trial) -> float:
    """Train as `snntha train` does, and ask the study's pruner after each epoch; raises Pruned.

    Of several seeds only the first is asked about: its epochs are comparable between trials.
    """
    search = config.search
    assert search is not None
    trial.set_user_attr("hparams", configuration.tuned(config))
    config = replace(config, epochs=search.epochs)
    study.pruner = build_pruner(search)
    known = study._storage.get_trial(trial._trial_id).intermediate_values  # of a worker that died

    def report(best_scores: list[float], epoch: int) -> None:
        """Called with the best score of each seed begun; a step is an epoch of the first."""
        _check_claim(study, trial, search.claim)
        if len(best_scores) > 1 or epoch in known:
            return
        trial.report(best_scores[0], epoch)
        if trial.should_prune():
            raise Pruned(best_scores[0])

    folder = _resumable(config)
    if folder is not None and (value := _recorded(folder, config)) is not None:
        return value
    return run(config, folder, Console(quiet=True), report).score


def _check_claim(study: optuna.Study, trial: optuna.trial.Trial, claim: str | None) -> None:
    now = study._storage.get_trial(trial._trial_id)
    if now.state != TrialState.RUNNING or now.user_attrs.get("claim") != claim:
        raise Superseded(f"trial {trial.number} was begun anew by another worker")


def _signs_of_life(study: optuna.Study, trial: optuna.trial.Trial, interval_s: float) -> Heartbeat | nullcontext:
    """A heartbeat of this job's own where a launcher has put it into another process, which may outlive the worker."""
    if trial.user_attrs["worker"] == this_worker():
        return nullcontext()
    heartbeat = Heartbeat(study._storage, interval_s)
    heartbeat.watch(trial._trial_id)
    return heartbeat


def _resumable(config: Config) -> Path | None:
    """The trial's folder if a worker that died had begun it; refuses a folder that holds something else."""
    folder = Path(config.output_dir)
    if not (folder / "config.yaml").is_file():
        return None
    before = configuration.from_yaml(folder / "config.yaml")
    if (before.hparams, before.optimizer) != (config.hparams, config.optimizer):
        raise UserError(f"{folder} holds another run: it is not overwritten; choose another search.study_name")
    return folder


def _recorded(folder: Path, config: Config) -> float | None:
    """The value of a trial that was trained to its end by a job whose worker could not tell it to the study."""
    seeds = RunFolder(folder).entries
    return fmean(entry["best_score"] for entry in seeds) if len(seeds) == config.trials else None


def _remove_checkpoints(folder: Path, *which: str) -> None:
    """A search would fill the disk with what nobody goes on from: of a complete trial the best weights stay."""
    if (folder / "config.yaml").is_file():
        for seed in range(RunFolder(folder).load_config().trials):
            for name in which:
                Run(folder).seed(seed).remove_checkpoint(name)


def _best_before(study: optuna.Study) -> str:
    try:
        best = study.best_trial
    except ValueError:  # none is complete
        return ""
    return f"  (best so far {best.value:.3f}, trial {best.number})"
