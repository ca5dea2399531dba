"""A study at one moment: its trials in order of their values, and what tells the best from the rest."""

import warnings
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

FEWEST_FOR_IMPORTANCES = 4  # complete trials
WANTED_AT_TOP = 5  # trials that PED-ANOVA wants above its quantile for a stable answer


@dataclass(frozen=True)
class Importances:
    """Parameter -> importance, most important first, of sum 1; or why there are none."""

    shares: dict[str, float]
    note: str


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment, so that all its tables and pictures speak of the same trials."""

    study: Study
    trials: list[FrozenTrial]

    @classmethod
    def of(cls, study: Study) -> "Snapshot":
        return cls(study, study.get_trials())

    def having(self, *states: TrialState) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state in states]

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Of the study: dataset, mode, n_trials, epochs, seeds, limit, folder."""
        return self.study.user_attrs

    @property
    def ended(self) -> list[FrozenTrial]:
        """What counts towards n_trials."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    @property
    def ranked(self) -> list[FrozenTrial]:
        """Complete trials, the best first and the earlier first of equals."""
        return sorted(self.having(TrialState.COMPLETE), key=score, reverse=True)

    @property
    def best(self) -> FrozenTrial | None:
        """None until a trial is complete."""
        return next(iter(self.ranked), None)

    @property
    def parameters(self) -> list[str]:
        """All that any trial has, in the order of their first appearance."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.params))

    @property
    def unit(self) -> str:
        """Of a trial's value; temporal_coding has no classes and is scored by its loss."""
        return "" if self.attributes.get("dataset") == "temporal_coding" else " %"

    @property
    def measure(self) -> str:
        """What a trial's value is."""
        return "validation accuracy" if self.unit else "validation score (minus the loss)"

    @property
    def setting(self) -> str:
        """What was searched on: `shd annealed, 30 epochs a trial, mean over 2 seeds`."""
        seeds, limit = self.attributes["seeds"], self.attributes["limit"]
        parts = [
            f"{self.attributes['dataset']} {self.attributes['mode']}",
            f"{self.attributes['epochs']} epochs a trial",
        ]
        parts.append("1 seed" if seeds == 1 else f"mean over {seeds} seeds")
        if limit is not None:
            parts.append(f"only {limit} samples of each split")
        return ", ".join(parts)

    @cached_property
    def importances(self) -> Importances:
        """PED-ANOVA: what tells the best trials from the rest; it has no random part and knows conditional keys."""
        values = [score(trial) for trial in self.ranked]
        if len(values) < FEWEST_FOR_IMPORTANCES:
            return Importances({}, f"needs {FEWEST_FOR_IMPORTANCES} complete trials, there are {len(values)}")
        quantile = min(0.5, max(0.1, WANTED_AT_TOP / len(values)))
        top = sum(value >= values[round(quantile * len(values)) - 1] for value in values)
        if top == len(values):
            return Importances({}, f"too many of the {len(values)} complete trials have the same value")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Some regimes for parameter")  # a choice that one trial made counts 0
            shares = get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
        return Importances(shares, f"What tells the best {top} of {len(values)} complete trials from all (PED-ANOVA)")


def score(trial: FrozenTrial) -> float:
    """A complete trial's value; of a pruned one, the last that it reported; nan without any."""
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else float("nan")


def short_name(parameter: str) -> str:
    return parameter.removeprefix("hparams.")


def override_text(value: Any) -> str:
    """A parameter's value as the command line takes it, in full precision."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def short_text(value: Any) -> str:
    """The same with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else override_text(value)


def duration(trial: FrozenTrial, now: datetime) -> float | None:
    """Seconds that a trial took, so far if it runs; None where it has not begun."""
    if trial.datetime_start is None:
        return None
    return ((trial.datetime_complete or now) - trial.datetime_start).total_seconds()
