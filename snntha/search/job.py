"""One trial of a search, in the process that Hydra's launcher gave it."""

import math
import traceback
from pathlib import Path
from statistics import fmean

import optuna
from omegaconf import DictConfig
from rich.console import Console

from snntha import config as configuration
from snntha.errors import UserError
from snntha.records import write_atomically
from snntha.run import run
from snntha.schema import Config
from snntha.search.sampler import build_pruner
from snntha.search.study import open_study


class Pruned(Exception):
    """The trial is hopeless; `score` is what it reached."""

    def __init__(self, score: float):
        super().__init__(score)
        self.score = score


def run_trial(cfg: DictConfig) -> float:
    """Train one trial, or go on with one whose worker died, and return its value: the best selection score.

    A failed trial's value is nan, which makes it a failed one in the study too; its reason is left there, and where it
    is not the user's to mend, its traceback in failure.txt of the trial's folder.
    """
    console, name = Console(), f"trial {cfg.search.trial:>3}"
    study = open_study(cfg.search.study_name, cfg.search.storage)
    trial = optuna.trial.Trial(study, study.get_trials(deepcopy=False)[cfg.search.trial]._trial_id)
    try:
        value = _train(configuration.load(cfg), study, trial)
    except Pruned as pruned:
        trial.set_user_attr("pruned", True)
        console.print(f"{name}  {pruned.score:8.3f}  pruned", highlight=False)
        return pruned.score
    except Exception as error:
        reason = str(error) if isinstance(error, UserError) else _leave_traceback(error, Path(cfg.output_dir))
        trial.set_user_attr("failure", reason)
        console.print(f"{name}  failed: {reason}", style="red", highlight=False, soft_wrap=True, markup=False)
        return math.nan
    console.print(f"{name}  {value:8.3f}{_best_before(study)}", highlight=False)
    return value


def _train(config: Config, study: optuna.Study, trial: optuna.trial.Trial) -> float:
    """Train as `snntha train` does, and ask the study's pruner after each epoch; raises Pruned."""
    assert config.search is not None
    study.pruner = build_pruner(config.search)

    def report(best_scores: list[float], epoch: int) -> None:
        """Called with the best score of each seed begun; a step is an epoch of a seed."""
        score = fmean(best_scores)
        trial.report(score, (len(best_scores) - 1) * config.epochs + epoch)
        if trial.should_prune():
            raise Pruned(score)

    return run(config, _resumable(config), Console(quiet=True), report)


def _resumable(config: Config) -> Path | None:
    """The trial's folder if a worker that died had begun it; refuses a folder that holds something else."""
    folder = Path(config.output_dir)
    if not (folder / "config.yaml").is_file():
        return None
    if configuration.from_yaml(folder / "config.yaml").hparams != config.hparams:
        raise UserError(f"{folder} holds another run: it is not overwritten; choose another search.study_name")
    if not (folder / "environment.json").is_file():  # its worker died while it created the folder
        (folder / "config.yaml").unlink()
        return None
    return folder


def _leave_traceback(error: Exception, folder: Path) -> str:
    """Write failure.txt; the reason in one line."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / "failure.txt", "".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {error}"


def _best_before(study: optuna.Study) -> str:
    try:
        best = study.best_trial
    except ValueError:  # none is complete
        return ""
    return f"  (best so far {best.value:.3f}, trial {best.number})"
