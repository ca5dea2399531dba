"""From the ranges of `search.space` and of the command line to the values of one trial."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from optuna import Trial
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from snntha.config.schema import Config, Dimension, Search
from snntha.errors import UserError
from snntha.topology import parse

SEARCHED = ("hparams.", "optimizer.")  # keys that best.yaml holds
OPTIMIZER, MOMENTUM = "optimizer.name", "optimizer.momentum"


@dataclass(frozen=True)
class SearchSpace:
    """What one search varies.

    Args:
        config: of the search, without a trial's values.
        search: its part of that name.
        typed: ranges of the command line, which replace those of `search.space`, by override key.
        fixed: overrides of the command line that all trials share; their keys are left out of the space.
    """

    config: Config
    search: Search
    typed: dict[str, BaseDistribution]
    fixed: dict[str, str]

    @classmethod
    def of(cls, config: Config, arguments: Sequence[str]) -> "SearchSpace":
        """Read a command line; raises UserError where it varies what is no hyperparameter."""
        assert config.search is not None
        typed: dict[str, BaseDistribution] = {}
        fixed: dict[str, str] = {}
        for override in OverridesParser.create().parse_overrides(list(arguments)):
            key, text = override.get_key_element(), str(override.input_line)
            if key == "optimizer":
                raise UserError(f"{text}: in a search, set optimizer.name instead")
            if not override.is_sweep_override():
                fixed[key] = text
            elif key.startswith(SEARCHED):
                typed[key] = _distribution(override)
            else:
                raise UserError(
                    f"{key} has several values, but a search varies hparams.* and optimizer.* alone: pass one value, "
                    f"and run the command once for each of the others"
                )
        return cls(config, config.search, typed, fixed)

    def draw(self, trial: Trial) -> list[str]:
        """The overrides of a trial: its values, drawn or known since an earlier attempt, and the fixed ones."""
        values = {key: _suggest(trial, key, distribution) for key, distribution in self.typed.items()}
        for key, dimension in dimensions(self.config):
            settled = {*values, *self.fixed} - {"hparams"}
            if key in settled or key.rpartition(".")[0] in settled:  # a list is settled with all its entries
                continue
            if dimension.when == "sgd" and values.get(OPTIMIZER, self.config.optimizer.name) != "sgd":
                continue
            values[key] = _suggest(trial, key, _range_of(dimension))
        if values.get(OPTIMIZER) == "adam" and self.config.optimizer.momentum > 0:
            values[MOMENTUM] = 0.0  # Adam takes none
        return [*self.fixed.values(), *(f"{key}={value}" for key, value in values.items())]


def dimensions(config: Config) -> Iterator[tuple[str, Dimension]]:
    """The space of one data set, mode and network: override keys with their ranges, one a layer where it says so."""
    assert config.search is not None
    layers = parse(config.model.topology, tuple(config.dataset.input_shape))
    dense = sum(layer.kind == "dense" for layer in layers)
    counts = {"layer": len(layers), "dense": dense}
    for dimension in config.search.space.values():
        if dimension.datasets and config.dataset.name not in dimension.datasets:
            continue
        if dimension.modes and config.mode.name not in dimension.modes:
            continue
        if dimension.when == "convolution" and dense == len(layers):
            continue
        if dimension.each is None:
            yield dimension.key, dimension
        else:
            for position in range(counts[dimension.each]):
                yield f"{dimension.key}.{position}", dimension


def _range_of(dimension: Dimension) -> BaseDistribution:
    if dimension.choices:
        return CategoricalDistribution(dimension.choices)
    assert dimension.low is not None and dimension.high is not None
    return FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _distribution(override: Override) -> BaseDistribution:
    """What the plugin's grammar makes of `interval(low,high)`, `range(low,high,step)` and `choice(a,b)`."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        ends: list[Any] = [sweep.start, sweep.end]
        kind = IntDistribution if all(isinstance(end, int) for end in ends) else FloatDistribution
        return kind(*ends, log="log" in sweep.tags)
    if isinstance(sweep, RangeSweep) and not sweep.shuffle:
        values: list[Any] = list(override.sweep_iterator())
        kind = IntDistribution if all(isinstance(value, int) for value in values) else FloatDistribution
        return kind(min(values), max(values), step=abs(values[1] - values[0]) if len(values) > 1 else 1)
    if isinstance(sweep, ChoiceSweep | RangeSweep):
        choices: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
        return CategoricalDistribution(choices)
    raise UserError(f"{override.input_line}: expected interval(low,high), range(low,high,step) or choice(a,b)")


def _suggest(trial: Trial, key: str, distribution: BaseDistribution) -> Any:
    if isinstance(distribution, CategoricalDistribution):
        return trial.suggest_categorical(key, distribution.choices)
    assert isinstance(distribution, IntDistribution | FloatDistribution)
    suggest: Any = trial.suggest_int if isinstance(distribution, IntDistribution) else trial.suggest_float
    return suggest(key, distribution.low, distribution.high, step=distribution.step, log=distribution.log)
