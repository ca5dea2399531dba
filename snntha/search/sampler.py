"""Samplers and pruners by name, with a generator that follows from the trial's number."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from snntha.config.schema import Search
from snntha.errors import UserError

SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "tpe": optuna.samplers.TPESampler,
    "random": optuna.samplers.RandomSampler,
}
PRUNERS: dict[str, Callable[..., BasePruner]] = {
    "none": optuna.pruners.NopPruner,
    "median": optuna.pruners.MedianPruner,
    "hyperband": optuna.pruners.HyperbandPruner,
}


class SeededByTrial(BaseSampler):
    """Optuna's sampler, built anew for each trial with a seed made of the search's seed and the trial's number.

    So no start-up trial comes twice, whoever begins it and however often the search was killed; Optuna's own
    samplers start their one generator again in every process.
    """

    def __init__(self, build: Callable[[int], BaseSampler], seed: int):
        self._build = build
        self._seed = seed
        self._samplers: dict[int, BaseSampler] = {}  # of the trials being set up, by number

    def _of(self, trial: FrozenTrial) -> BaseSampler:
        if trial.number not in self._samplers:
            (seed,) = np.random.SeedSequence([self._seed, trial.number]).generate_state(1)
            self._samplers[trial.number] = self._build(int(seed))
        return self._samplers[trial.number]

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._of(trial).infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        return self._of(trial).sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        return self._of(trial).sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        self._of(trial).before_trial(study, trial)

    def after_trial(
        self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None
    ) -> None:
        self._of(trial).after_trial(study, trial, state, values)
        del self._samplers[trial.number]


def build_sampler(search: Search, seed: int) -> BaseSampler:
    """The sampler that `search.sampler` names, with its arguments of `search.samplers`."""
    options = search.samplers.get(search.sampler, {})

    def build(trial_seed: int) -> BaseSampler:
        return _call(SAMPLERS[search.sampler], {**options, "seed": trial_seed}, f"search.samplers.{search.sampler}")

    return SeededByTrial(build, seed)


def build_pruner(search: Search) -> BasePruner:
    """The pruner that `search.pruner` names, with its arguments of `search.pruners`."""
    return _call(PRUNERS[search.pruner], search.pruners.get(search.pruner, {}), f"search.pruners.{search.pruner}")


def _call(factory: Callable[..., Any], options: dict[str, Any], key: str) -> Any:
    try:
        return factory(**options)
    except (TypeError, ValueError) as error:
        raise UserError(f"{key}={options}: {error}") from error
