"""From the ranges of `search.space` and of the command line to the values of one trial."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Transformer
from optuna import Trial

from snntha.config.schema import Config, Dimension
from snntha.errors import UserError
from snntha.topology import parse

SEARCHED = ("hparams.", "optimizer.")  # keys that best.yaml holds
OPTIMIZER, MOMENTUM = "optimizer.name", "optimizer.momentum"
DELAYS = "hparams.delays"  # a list that no set of hyperparameters has, so that it is overridden as a whole


class SearchSpace:
    """What one search varies: the ranges of the command line, and those of `search.space` whose keys it leaves open."""

    def __init__(self, config: Config, arguments: Sequence[str], followed: Sequence[str] = ()):
        """Read a command line; raises UserError where it varies what is no hyperparameter.

        Args:
            followed: overrides by which every trial has what the data said when this worker began.
        """
        self.config = config
        self.followed = followed
        self.fixed: dict[str, str] = {}  # overrides that all trials share, by key
        self.ranges: dict[str, partial[Any]] = {}  # by key; called with a trial and the key it suggests a value
        for override in OverridesParser.create().parse_overrides(list(arguments)):
            key, text = override.get_key_element(), str(override.input_line)
            if key == "optimizer":
                raise UserError(f"{text}: in a search, set optimizer.name instead")
            if not override.is_sweep_override():
                self.fixed[key] = text
            elif key.startswith(SEARCHED):
                self.ranges[key] = _typed_range(override)
            else:
                raise UserError(
                    f"{key} has several values, but a search varies hparams.* and optimizer.* alone: pass one value, "
                    f"and run the command once for each of the others"
                )
        settled = {*self.fixed, *self.ranges} - {"hparams"}  # a list is settled with all its entries
        ours = {key: of for key, of in dimensions(config) if not {key, key.rpartition(".")[0]} & settled}
        self.ranges |= {key: _range(dimension) for key, dimension in ours.items()}
        self.only_with_sgd = {key for key, dimension in ours.items() if dimension.when == "sgd"}

    def draw(self, trial: Trial) -> list[str]:
        """The overrides of a trial: its values, drawn or known since an earlier attempt, and the fixed ones."""
        values: dict[str, Any] = {}
        for key, suggest in self.ranges.items():
            if key not in self.only_with_sgd or values.get(OPTIMIZER, self.config.optimizer.name) == "sgd":
                values[key] = suggest(trial, key)
        if values.get(OPTIMIZER) == "adam" and self.config.optimizer.momentum > 0:
            values[MOMENTUM] = 0.0  # Adam takes none
        if delays := [values.pop(key) for key in list(values) if key.startswith(f"{DELAYS}.")]:
            values[DELAYS] = delays
        return [*self.followed, *self.fixed.values(), *(f"{key}={value}" for key, value in values.items())]

    def tuned(self) -> dict[str, Any]:
        """The values of the configuration itself, the published set's, as far as the ranges hold them."""
        known = {key: value for key, of in self.ranges.items() if _holds(of, value := _value(self.config, key))}
        if self.config.optimizer.name != "sgd":
            known = {key: value for key, value in known.items() if key not in self.only_with_sgd}
        return known

    def in_words(self) -> str:
        """`hparams.beta 0.05 to 0.999, ...`, the entries of a list told once."""
        told = {re.sub(r"\.\d+$", " (each)", key): _worded(of.keywords) for key, of in self.ranges.items()}
        return ", ".join(f"{key.removeprefix('hparams.')} {words}" for key, words in told.items())


def _value(config: Config, key: str) -> Any:
    """What the configuration has under an override's key; of a choice as it is written there, null for None."""
    value: Any = config
    for part in key.split("."):
        value = value[int(part)] if isinstance(value, list) else getattr(value, part)
    return "null" if value is None else value


def _holds(of: partial[Any], value: Any) -> bool:
    """Whether a range can suggest this value."""
    limits = of.keywords
    if "choices" in limits:
        return value in limits["choices"]
    is_number = isinstance(value, int | float) and limits["low"] <= value <= limits["high"]
    return is_number and "step" not in limits and (of.func is not Trial.suggest_int or isinstance(value, int))


def _worded(limits: dict[str, Any]) -> str:
    if "choices" in limits:
        return "|".join(str(choice) for choice in limits["choices"])
    return f"{limits['low']:g} to {limits['high']:g}" + " log" * bool(limits.get("log"))


def dimensions(config: Config) -> Iterator[tuple[str, Dimension]]:
    """The space of one data set, mode and network: override keys with their ranges, one a layer where it says so."""
    assert config.search is not None
    layers = parse(config.model.topology, tuple(config.dataset.input_shape))
    dense = sum(layer.kind == "dense" for layer in layers)
    positions = {None: [""], "layer": [f".{n}" for n in range(len(layers))], "dense": [f".{n}" for n in range(dense)]}
    for dimension in config.search.space.values():
        of_data = config.dataset.name in (dimension.datasets or [config.dataset.name])
        of_mode = config.mode.name in (dimension.modes or [config.mode.name])
        if of_data and of_mode and (dimension.when != "convolution" or dense < len(layers)):
            yield from ((dimension.key + position, dimension) for position in positions[dimension.each])


def _range(dimension: Dimension) -> partial[Any]:
    if dimension.choices:
        return partial(Trial.suggest_categorical, choices=dimension.choices)
    assert dimension.low is not None and dimension.high is not None
    return partial(Trial.suggest_float, low=dimension.low, high=dimension.high, log=dimension.log)


def _typed_range(override: Override) -> partial[Any]:
    """Of `interval(low,high)`, `range(low,high,step)` and `choice(a,b)`, as the plugin reads them."""
    sweep = override.value()
    if isinstance(sweep, IntervalSweep):
        assert sweep.start is not None and sweep.end is not None
        if not sweep.start <= sweep.end or ("log" in sweep.tags and sweep.start <= 0):
            raise UserError(f"{override.input_line}: expected low before high, and above 0 where it is tagged log")
        suggest = _suggest_number([sweep.start, sweep.end])
        return partial(suggest, low=sweep.start, high=sweep.end, log="log" in sweep.tags)
    if isinstance(sweep, RangeSweep) and not sweep.shuffle:
        values: list[Any] = list(override.sweep_iterator())
        if not values:
            raise UserError(f"{override.input_line}: this range is empty")
        step = abs(values[1] - values[0]) if len(values) > 1 else 1
        return partial(_suggest_number(values), low=min(values), high=max(values), step=step)
    if isinstance(sweep, ChoiceSweep | RangeSweep):
        choices: list[Any] = list(override.sweep_iterator(transformer=Transformer.encode))
        return partial(Trial.suggest_categorical, choices=choices)
    raise UserError(f"{override.input_line}: expected interval(low,high), range(low,high,step) or choice(a,b)")


def _suggest_number(values: list[Any]) -> Any:
    return Trial.suggest_int if all(isinstance(value, int) for value in values) else Trial.suggest_float
