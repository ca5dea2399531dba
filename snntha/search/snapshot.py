"""A study at one moment: its trials in order of their values, and what tells the best from the rest."""

import json
from functools import cached_property
from typing import Any

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from snntha.errors import counted
from snntha.search.shared_study import COUNTED, taken_up

FEWEST_FOR_IMPORTANCES = 4  # complete trials
WANTED_AT_TOP = 5  # trials that PED-ANOVA wants above its quantile for a stable answer


class Snapshot:
    """A study's trials at one moment; one that went on under another number is left out: that stands for it."""

    def __init__(self, study: Study):
        trials = study.get_trials()
        again = taken_up(trials)
        self.study, self.attributes = study, study.user_attrs  # n_trials, folder, config, overrides
        self.config: dict[str, Any] = json.loads(self.attributes["config"])  # what all trials share, by key
        self.trials = [trial for trial in trials if trial.number not in again]
        self.ended = self.having(*COUNTED)  # what counts towards n_trials
        complete = self.having(TrialState.COMPLETE)
        self.ranked = sorted(complete, key=score, reverse=True)  # the best first, the earlier first of equals

    def having(self, *states: TrialState) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state in states]

    @property
    def parameters(self) -> list[str]:
        """All that any trial has, the most important first where that is known."""
        return list(self.importances or dict.fromkeys(name for trial in self.trials for name in trial.params))

    @property
    def measure(self) -> str:
        """What a trial's value is; temporal_coding has no classes and is scored by its loss."""
        loss = self.config["dataset.name"] == "temporal_coding"
        return "validation score (minus the loss)" if loss else "validation accuracy, %"

    @property
    def setting(self) -> str:
        """What was searched on: `shd annealed, 30 epochs a trial, mean over 2 seeds`."""
        dataset, mode, epochs, seeds, limit = (
            self.config[key] for key in ("dataset.name", "mode.name", "search.epochs", "search.seeds", "search.limit")
        )
        averaged = "1 seed" if seeds == 1 else f"mean over {seeds} seeds"
        only = "" if limit is None else f", only {counted(limit, 'sample')} of each split"
        return f"{dataset} {mode}, {counted(epochs, 'epoch')} a trial, {averaged}{only}"

    @cached_property
    def evaluator(self) -> PedAnovaImportanceEvaluator | None:
        """PED-ANOVA: it has no random part and knows conditional keys; None while it could not tell anything."""
        values = [score(trial) for trial in self.ranked]
        if len(values) < FEWEST_FOR_IMPORTANCES:
            return None
        quantile = min(0.5, max(0.1, WANTED_AT_TOP / len(values)))
        top = sum(value >= values[round(quantile * len(values)) - 1] for value in values)
        return None if top == len(values) else PedAnovaImportanceEvaluator(target_quantile=quantile)

    @cached_property
    def importances(self) -> dict[str, float]:
        """Share of each parameter in what tells the best trials from the rest, the most important first."""
        return {} if self.evaluator is None else get_param_importances(self.study, evaluator=self.evaluator)


def score(trial: FrozenTrial) -> float:
    """A complete trial's value; of another, the last that it reported; nan without any."""
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else float("nan")


def short_name(parameter: str) -> str:
    return parameter.removeprefix("hparams.")


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed, in one line."""
    return trial.user_attrs.get("failure", "its process died (killed, perhaps for want of memory)").splitlines()[0]
