"""The checks of a configuration that need no data; nothing here changes it."""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

from snntha.config.schema import Config, Search
from snntha.errors import ConfigError, did_you_mean
from snntha.topology import LayerShape, parse

CHOICES: dict[str, tuple[str, ...]] = {
    "device": ("auto", "cpu", "cuda"),
    "backend": ("auto", "reference", "numba"),
    "selection": ("validation", "test"),
    "logger": ("none", "tensorboard"),
    "dataset.name": ("digits", "mnist", "fashion_mnist", "dvs_gesture", "shd", "temporal_coding"),
    "dataset.window": ("full", "first_T_ms"),
    "mode.name": ("flt32", "bsnn_theta1", "bsnn", "annealed"),
    "fidelity.surrogate": ("clamped", "moving"),
    "fidelity.spike": ("at_threshold", "above_threshold"),
    "fidelity.init": ("pytorch", "glorot"),
    "fidelity.weight_clip": ("weights_after_step", "all_before_step"),
    "fidelity.trial_seed": ("seed_plus_trial", "same"),
    "optimizer.name": ("adam", "sgd"),
}

Rule = tuple[Callable[[Any], bool], str]  # of one number: the test, and what it allows in words
AT_LEAST_0: Rule = (lambda value: 0 <= value < math.inf, "0 or more")
AT_LEAST_1: Rule = (lambda value: value >= 1, "1 or more")
POSITIVE: Rule = (lambda value: 0 < value < math.inf, "more than 0")
FRACTION: Rule = (lambda value: 0 <= value <= 1, "0 to 1")
BELOW_1: Rule = (lambda value: 0 <= value < 1, "0 to less than 1")

# Keys by the rule of their number; null passes where the type allows it; of a list, every entry must pass.
_KEYS: tuple[tuple[Rule, str], ...] = (
    ((lambda value: 0 <= value < 2**40, "0 to 2^40"), "seed"),
    ((lambda value: 0 < value <= 100, "percent, more than 0 to 100"), "target_train_accuracy"),
    (AT_LEAST_1, "trials epochs patience threads hparams.batch_size"),
    (AT_LEAST_1, "dataset.time_steps dataset.test_time_steps dataset.limit dataset.target_step"),
    (AT_LEAST_1, "search.n_trials search.epochs search.limit search.seeds search.workers"),
    (AT_LEAST_1, "search.failure_window search.max_deaths"),
    (POSITIVE, "dataset.bin_ms dataset.target_peak optimizer.lr hparams.slope hparams.grad_clip hparams.weight_clip"),
    (POSITIVE, "hparams.cosine_epochs hparams.threshold.start search.heartbeat_s search.stale_s"),
    (AT_LEAST_0, "hparams.threshold.rise"),
    (BELOW_1, "dataset.validation_fraction optimizer.momentum optimizer.betas"),
    (BELOW_1, "hparams.dropout search.max_failure_share"),
    (FRACTION, "loss.correct_rate loss.incorrect_rate hparams.beta hparams.threshold.rate"),
)
RULES = {key: rule for rule, keys in _KEYS for key in keys.split()}


def validate(config: Config) -> None:
    """Check what needs no data; raises ConfigError."""
    _check_choices(config)
    _check_match(config)
    layers = parse(config.model.topology, tuple(config.dataset.input_shape))
    _check_layers(config, layers)
    _check_numbers(config)
    _check_threshold(config)
    _check_optimizer(config)
    _check_dataset(config)
    if config.search is not None:
        _check_search(config, config.search)


def _settings(config: Config, keys: Iterable[str]) -> Iterator[tuple[str, Any]]:
    """The values of keys; those of a search only where there is one."""
    for key in keys:
        if config.search is not None or not key.startswith("search."):
            yield key, attrgetter(key)(config)


def _check_choices(config: Config) -> None:
    for key, value in _settings(config, CHOICES):
        allowed = CHOICES[key]
        if value not in allowed:
            raise ConfigError(f"{key}={value}: expected {' | '.join(allowed)}{did_you_mean(value, allowed)}")


def _check_match(config: Config) -> None:
    """Hyperparameters are for one data set and mode."""
    hparams, dataset, mode = config.hparams, config.dataset.name, config.mode.name
    if (hparams.dataset, hparams.mode) != (dataset, mode):
        raise ConfigError(
            f"hparams={hparams.name} is for dataset={hparams.dataset} mode={hparams.mode}, "
            f"but this run has dataset={dataset} mode={mode}: "
            f"pass dataset={hparams.dataset} mode={hparams.mode}, or hparams={dataset}_{mode}"
        )
    for key, value, expected in (
        ("mode.binarize", config.mode.binarize, mode != "flt32"),
        ("mode.anneal", config.mode.anneal, mode == "annealed"),
    ):
        if value is not expected:
            raise ConfigError(f"{key}={str(value).lower()}: this is not mode={mode}; choose another mode instead")


def _check_layers(config: Config, layers: list[LayerShape]) -> None:
    """Lists have one entry per layer, and the last layer one neuron per class."""
    hparams, topology = config.hparams, config.model.topology
    dense = sum(layer.kind == "dense" for layer in layers)
    lengths = {
        "dropout": (dense, "dense"),
        **{f"threshold.{key}": (len(layers), "spiking") for key in ("start", "rise", "rate")},
    }
    for key, (expected, kind) in lengths.items():
        values = attrgetter(key)(hparams)
        if len(values) != expected:
            raise ConfigError(
                f"hparams.{key}={values} has {_count(len(values), 'entry', 'entries')}, but model.topology={topology} "
                f"has {_count(expected, f'{kind} layer', f'{kind} layers')}: pass one entry per {kind} layer"
            )
    if layers[-1].neurons != config.dataset.classes:
        raise ConfigError(
            f"model.topology={topology} ends with {_count(layers[-1].neurons, 'neuron', 'neurons')}, "
            f"but dataset={config.dataset.name} needs {config.dataset.classes}"
        )
    if hparams.batch_norm and dense == len(layers):
        raise ConfigError(
            f"hparams.batch_norm=true needs a convolution, but model.topology={topology} has none: pass false"
        )


def _check_numbers(config: Config) -> None:
    for key, value in _settings(config, RULES):
        passes, allowed = RULES[key]
        entries = value if isinstance(value, list) else [value]
        if not all(entry is None or passes(entry) for entry in entries):
            raise ConfigError(
                f"{key}={json.dumps(value)}: expected {allowed}{' in every entry' * isinstance(value, list)}"
            )


def _check_threshold(config: Config) -> None:
    """What the mode says of the threshold."""
    mode, threshold = config.mode, config.hparams.threshold
    if not mode.anneal and any(threshold.rise):
        zeros = json.dumps([0.0] * len(threshold.rise), separators=(",", ":"))
        raise ConfigError(
            f"hparams.threshold.rise={threshold.rise}: mode={mode.name} keeps the threshold fixed: "
            f"pass mode=annealed or hparams.threshold.rise={zeros}"
        )
    if mode.name == "bsnn_theta1" and any(start != 1 for start in threshold.start):
        raise ConfigError(f"hparams.threshold.start={threshold.start}: mode=bsnn_theta1 fixes it at 1: pass mode=bsnn")


def _check_optimizer(config: Config) -> None:
    optimizer = config.optimizer
    if optimizer.name == "sgd":
        return
    if optimizer.momentum > 0:
        raise ConfigError(
            f"optimizer.momentum={optimizer.momentum} belongs to sgd: pass optimizer=sgd or optimizer.momentum=0"
        )
    if len(optimizer.betas) != 2:
        raise ConfigError(f"optimizer.betas={optimizer.betas}: adam needs two, such as optimizer.betas=[0.9,0.999]")


def _check_dataset(config: Config) -> None:
    dataset = config.dataset
    if dataset.name in ("dvs_gesture", "shd") and dataset.bin_ms is None:
        raise ConfigError(
            "dataset.bin_ms=null: event data need the milliseconds of a time step, such as dataset.bin_ms=3"
        )
    if dataset.name != "temporal_coding" and config.selection == "validation" and dataset.validation_fraction == 0:
        raise ConfigError(
            "dataset.validation_fraction=0 leaves nothing to select the model on: "
            "pass dataset.validation_fraction=0.1 or selection=test"
        )


def _check_search(config: Config, search: Search) -> None:
    if config.selection == "test":
        raise ConfigError(
            "selection=test: a search would choose hyperparameters by the test set; pass selection=validation"
        )
    if search.stale_s <= search.heartbeat_s:
        raise ConfigError(
            f"search.stale_s={search.stale_s}: a worker that gives a sign of life every search.heartbeat_s="
            f"{search.heartbeat_s} seconds would count as dead; pass several times that"
        )
    for key, value, own, wanted in (
        ("trials", config.trials, "search.seeds", search.seeds),
        ("dataset.limit", config.dataset.limit, "search.limit", search.limit),
    ):
        if value != wanted:  # what a trial costs, which the study's record and the pruner go by
            raise ConfigError(f"{key}={value}: in a search, set {own} instead")
    if search.pruner not in search.pruners:
        raise ConfigError(
            f"search.pruner={search.pruner}: expected {' | '.join(search.pruners)}"
            f"{did_you_mean(search.pruner, search.pruners)}"
        )
    for name, dimension in search.space.items():
        key = f"search.space.{name}"
        if dimension.each not in (None, "layer", "dense"):
            raise ConfigError(f"{key}.each={dimension.each}: expected null | layer | dense")
        if dimension.when not in (None, "convolution", "sgd"):
            raise ConfigError(f"{key}.when={dimension.when}: expected null | convolution | sgd")
        if dimension.choices:
            continue
        if dimension.low is None or dimension.high is None:
            raise ConfigError(f"{key}: give low and high, or choices")
        if dimension.low > dimension.high or (dimension.log and dimension.low <= 0):
            above = ", and above 0 for log" if dimension.log else ""
            raise ConfigError(f"{key}: low={dimension.low} must not be above high={dimension.high}{above}")


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
