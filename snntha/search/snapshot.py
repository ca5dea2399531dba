"""A study at one moment: its trials in order of their values, and what tells the best from the rest."""

import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from snntha.search.shared_study import taken_up

FEWEST_FOR_IMPORTANCES = 4  # complete trials
WANTED_AT_TOP = 5  # trials that PED-ANOVA wants above its quantile for a stable answer
COUNTED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True)
class Snapshot:
    """A study's trials at one moment.

    Trials that went on under another number are left out: their later attempts stand for them.
    """

    study: Study
    trials: list[FrozenTrial]

    @classmethod
    def of(cls, study: Study) -> "Snapshot":
        trials = study.get_trials()
        again = taken_up(trials)
        return cls(study, [trial for trial in trials if trial.number not in again])

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Of the study: n_trials, folder, config and overrides."""
        return self.study.user_attrs

    @property
    def name(self) -> str:
        return self.study.study_name

    def having(self, *states: TrialState) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state in states]

    @cached_property
    def config(self) -> dict[str, Any]:
        """What all trials share, by key."""
        return json.loads(self.attributes["config"])

    @property
    def ended(self) -> list[FrozenTrial]:
        """What counts towards n_trials."""
        return self.having(*COUNTED)

    @property
    def ranked(self) -> list[FrozenTrial]:
        """Complete trials, the best first and the earlier first of equals."""
        return sorted(self.having(TrialState.COMPLETE), key=score, reverse=True)

    @property
    def parameters(self) -> list[str]:
        """All that any trial has, the most important first where that is known."""
        known = dict.fromkeys(name for trial in self.trials for name in trial.params)
        return list(self.importances) or list(known)

    @property
    def measure(self) -> str:
        """What a trial's value is; temporal_coding has no classes and is scored by its loss."""
        loss = self.config["dataset.name"] == "temporal_coding"
        return "validation score (minus the loss)" if loss else "validation accuracy, %"

    @property
    def setting(self) -> str:
        """What was searched on: `shd annealed, 30 epochs a trial, mean over 2 seeds`."""
        config, limit = self.config, self.config["search.limit"]
        seeds = config["search.seeds"]
        parts = [f"{config['dataset.name']} {config['mode.name']}", f"{config['search.epochs']} epochs a trial"]
        parts.append("1 seed" if seeds == 1 else f"mean over {seeds} seeds")
        return ", ".join(parts + ([] if limit is None else [f"only {limit} samples of each split"]))

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


def short_text(value: Any) -> str:
    """A parameter's value as the command line takes it, with three significant digits."""
    if value is None:
        return "null"
    return f"{value:.3g}" if isinstance(value, float) else str(value).lower() if isinstance(value, bool) else str(value)
