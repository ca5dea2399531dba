"""The configuration: composing it, and the checks that need no data.

The only file that knows OmegaConf. Everything after `load` receives the plain dataclasses of schema.py.
"""

import difflib
import json
import math
import re
import secrets
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntha.errors import UserError
from snntha.schema import Config, Search
from snntha.topology import LayerShape, parse


class ConfigError(UserError):
    """A configuration that cannot run: names the key, its value and what is allowed."""


def conf_folder() -> Path:
    """The YAML files: beside the package in a checkout, inside it once installed."""
    package = Path(__file__).resolve().parent
    installed = package / "conf"
    return installed if installed.is_dir() else package.parent / "conf"


def register() -> None:
    """Make known to Hydra the schema and `${short_id:}`, the random end of a run folder's name.

    The id is drawn anew each time it is read; `load` reads it once, so that every job of a multirun has its own.
    """
    ConfigStore.instance().store(name="schema", node=Config, replace=True)
    OmegaConf.register_resolver("short_id", _short_id, replace=True)


def _short_id() -> str:
    return secrets.token_hex(3)


def add_hparams(path: Path) -> str:
    """Make a file of hyperparameters an option of the group hparams, and return the option's name."""
    if not path.is_file():
        raise ConfigError(f"hparams={path}: there is no such file; a name without .yaml chooses one of conf/hparams")
    try:
        node = OmegaConf.load(path)
    except (yaml.YAMLError, OSError) as error:
        raise ConfigError(f"hparams={path} is not YAML: {error}") from error
    # A group of its own: of two options with one name Hydra would take that of conf/.
    ConfigStore.instance().store(group="hparams/file", name=path.stem, node=node, package="hparams")
    return f"file/{path.stem}"


def compose(overrides: Iterable[str] = ()) -> Config:
    """What `snntha train` would run with these overrides (`"dataset=shd"`, `"epochs=3"`)."""
    register()
    try:
        with initialize_config_dir(str(conf_folder())):
            return load(hydra_compose("train", overrides=list(overrides)), overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error


def load(cfg: DictConfig, overrides: Iterable[str] = ()) -> Config:
    """Resolve what Hydra composed, its own part left out, and check it once.

    Args:
        cfg: composed.
        overrides: of the command line, each of which shall do something.

    Raises:
        ConfigError: a value is wrong, or an override has no effect.
    """
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    config = _merge(Config(), own)  # over the bare schema, which refuses keys that were added by `+`
    _check_effect(own, overrides)
    return config


COPIED = {  # keys that act only where another key copies them, and that one
    "hparams.time_steps": "dataset.time_steps",
    "hparams.bin_ms": "dataset.bin_ms",
    "hparams.target_peak": "dataset.target_peak",
    "hparams.optimizer": "optimizer",
    "hparams.lr": "optimizer.lr",
    "hparams.momentum": "optimizer.momentum",
    "hparams.epochs": "epochs",
    "hparams.patience": "patience",
    "fidelity.shd_window": "dataset.window",
    "fidelity.selection": "selection",
}
_READ_BY = {  # keys that some data sets alone read
    "dataset.bin_ms": ("dvs_gesture", "shd"),
    "dataset.window": ("dvs_gesture", "shd"),
    "dataset.target_peak": ("temporal_coding",),
    "dataset.target_step": ("temporal_coding",),
}


def _check_effect(cfg: DictConfig, overrides: Iterable[str]) -> None:
    """Refuse what would be accepted and do nothing."""
    copied = set(re.findall(r"\$\{([\w.]+)\}", OmegaConf.to_yaml(cfg)))
    for text in overrides:
        key = text.partition("=")[0].lstrip("+")
        if key in COPIED and key not in copied:
            raise ConfigError(f"{text} has no effect: {COPIED[key]} decides here; set {COPIED[key]} itself")
        if cfg.dataset.name not in _READ_BY.get(key, (cfg.dataset.name,)):
            raise ConfigError(f"{text} has no effect: only dataset={' | '.join(_READ_BY[key])} reads it; leave it out")
        if key == "fidelity.name":
            raise ConfigError(f"{text} is the name of what conf/fidelity sets: choose one with fidelity=...")


_NOISE = ("object_type=", "reference_type=", "To append to your config use +")  # the schema refuses additions


def explain(error: Exception) -> str:
    """What a Hydra or OmegaConf error means for the one who typed the command."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: expected {' | '.join(error.options)}{did_you_mean(name, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: expected key=value, such as dataset=shd, without spaces around the ="
    text = f"{error}\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else str(error)
    first, *others = dict.fromkeys(line.strip() for line in text.splitlines() if line.strip())  # the cause repeats some
    kept = [line for line in others if not line.startswith(_NOISE) and line.removeprefix("full_key: ") not in first]
    return "\n  ".join([first, *kept])


def to_yaml(config: Config) -> str:
    """The text of a run's config.yaml, every value resolved."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def from_yaml(path: Path) -> Config:
    """Read a run's config.yaml back."""
    return _merge(Config(), read_recorded(path))


def read_recorded(path: Path) -> dict[str, Any]:
    """The values of a run's config.yaml as they stand, without a check against the schema.

    A run that is read is data, perhaps a stranger's: an interpolation, which could read this machine's environment, is
    refused and never resolved.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: name the folder of a run, the one that holds config.yaml")
    try:
        recorded = yaml.load(path.read_bytes(), _YAML_LOADER)
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise ConfigError(f"{path} is damaged, it is not YAML: {error}") from error
    if not isinstance(recorded, dict):
        raise ConfigError(f"{path} is damaged: it holds no keys")
    for key, value in flatten(recorded):
        if "${" in str(value):
            raise ConfigError(
                f"{path}: {key}={value} is an interpolation, which no run records: write the value itself"
            )
    return recorded


_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times faster, where it was built in


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested configuration with its key as on the command line, `hparams.threshold.start`."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


CHANGEABLE = ("epochs", "patience", "trials", "threads", "device", "backend", "dataset.root", "dataset.cache")


def override(config: Config, overrides: Iterable[str]) -> Config:
    """A copy with some `key=value` changed: only what an interrupted run may change when it goes on."""
    overrides = list(overrides)
    for text in overrides:
        key = text.partition("=")[0].lstrip("+")
        if key not in CHANGEABLE:
            raise ConfigError(
                f"{text}: a resumed run keeps its configuration and may change only {', '.join(CHANGEABLE)}; "
                f"leave {key} out, or start a new run without resume"
            )
    return _merge(config, OmegaConf.from_dotlist([text.lstrip("+") for text in overrides]))


def _merge(config: Config, changes: DictConfig | ListConfig | dict[str, Any]) -> Config:
    """Changes over a configuration, resolved and checked."""
    try:
        plain = changes if isinstance(changes, dict) else OmegaConf.to_container(changes, resolve=True)
        assert isinstance(plain, dict)
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config), plain))
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(merged, Config)
    validate(merged)
    return merged


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


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
    "fidelity.shd_window": ("full", "first_T_ms"),
    "fidelity.trial_seed": ("seed_plus_trial", "same"),
    "fidelity.selection": ("validation", "test"),
    "optimizer.name": ("adam", "sgd"),
    "hparams.optimizer": ("adam", "sgd"),
    "search.sampler": ("tpe", "random"),
    "search.pruner": ("none", "median", "hyperband"),
}

Rule = tuple[Callable[[Any], bool], str]  # of one number: the test, and what it allows in words
AT_LEAST_0: Rule = (lambda value: 0 <= value < math.inf, "0 or more")
AT_LEAST_1: Rule = (lambda value: value >= 1, "1 or more")
POSITIVE: Rule = (lambda value: 0 < value < math.inf, "more than 0")
FRACTION: Rule = (lambda value: 0 <= value <= 1, "0 to 1")
BELOW_1: Rule = (lambda value: 0 <= value < 1, "0 to less than 1")

RULES: dict[str, Rule] = {  # null passes where the type allows it; of a list, every entry must pass
    "seed": (lambda value: 0 <= value < 2**40, "0 to 2^40"),
    "trials": AT_LEAST_1,
    "epochs": AT_LEAST_1,
    "patience": AT_LEAST_1,
    "threads": AT_LEAST_1,
    "target_train_accuracy": (lambda value: 0 < value <= 100, "percent, more than 0 to 100"),
    "dataset.time_steps": AT_LEAST_1,
    "dataset.test_time_steps": AT_LEAST_1,
    "dataset.bin_ms": POSITIVE,
    "dataset.validation_fraction": BELOW_1,
    "dataset.limit": AT_LEAST_1,
    "dataset.target_peak": POSITIVE,
    "dataset.target_step": AT_LEAST_1,
    "loss.correct_rate": FRACTION,
    "loss.incorrect_rate": FRACTION,
    "optimizer.lr": POSITIVE,
    "optimizer.momentum": BELOW_1,
    "optimizer.betas": BELOW_1,
    "hparams.beta": FRACTION,
    "hparams.slope": POSITIVE,
    "hparams.batch_size": AT_LEAST_1,
    "hparams.dropout": BELOW_1,
    "hparams.grad_clip": POSITIVE,
    "hparams.weight_clip": POSITIVE,
    "hparams.cosine_epochs": POSITIVE,
    "hparams.threshold.start": POSITIVE,
    "hparams.threshold.rise": AT_LEAST_0,
    "hparams.threshold.rate": FRACTION,
    "search.n_trials": AT_LEAST_1,
    "search.epochs": AT_LEAST_1,
    "search.limit": AT_LEAST_1,
    "search.seeds": AT_LEAST_1,
    "search.batch": AT_LEAST_1,
    "search.max_failure_share": FRACTION,
    "search.failure_window": AT_LEAST_1,
    "search.max_deaths": AT_LEAST_1,
    "search.heartbeat_s": POSITIVE,
    "search.stale_s": POSITIVE,
}


def validate(config: Config) -> None:
    """Check what needs no data; raises ConfigError. Spells out an empty `hparams.dropout` as zeros."""
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
    if not hparams.dropout:
        hparams.dropout = [0.0] * dense
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
