"""The YAML files of runs and of hyperparameters, read as plain values; also those that earlier versions wrote."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf

from snntha.config.schema import Config
from snntha.errors import ConfigError

REPLACED = {  # a key of earlier versions that was copied into another one, and that one, which now stands alone
    "hparams.optimizer": "optimizer.name",
    "hparams.lr": "optimizer.lr",
    "hparams.momentum": "optimizer.momentum",
    "hparams.epochs": "epochs",
    "hparams.patience": "patience",
    "hparams.time_steps": "dataset.time_steps",
    "hparams.bin_ms": "dataset.bin_ms",
    "hparams.target_peak": "dataset.target_peak",
    "fidelity.shd_window": "dataset.window",
    "fidelity.selection": "selection",
}
_FLAT_DEFAULTS = {  # of a flat file of hyperparameters, whatever conf/train.yaml says now
    "dropout": [],
    "batch_norm": False,
    "grad_clip": None,
    "weight_clip": None,
    "cosine_epochs": None,
    "optimizer": "adam",
    "momentum": 0.0,
    "patience": 100,
}
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times faster, where it was built in


def to_yaml(config: Config) -> str:
    """The text of a run's config.yaml, every value resolved."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def read_recorded(path: Path) -> dict[str, Any]:
    """The values of a run's config.yaml, also one of an earlier version, without a check against the schema.

    A run that is read is data, perhaps a stranger's: an interpolation is refused and never resolved.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: name the folder of a run, the one that holds config.yaml")
    recorded = _read(path, _load_plain, f"{path} is damaged, it")
    _check_values(path, recorded)
    for group, _, copy in (key.partition(".") for key in REPLACED):  # what a run was trained with is in the other key
        if isinstance(recorded.get(group), dict):
            recorded[group].pop(copy, None)
    return recorded


def read_hparams(path: Path) -> dict[str, Any]:
    """A file of hyperparameters as a change of the whole configuration."""
    if not path.is_file():
        raise ConfigError(f"hparams={path}: there is no such file; a name without .yaml chooses one of conf/hparams")
    delta = as_delta(_read(path, lambda path: OmegaConf.to_container(OmegaConf.load(path)), f"hparams={path}"))
    _check_values(path, delta)
    return delta


def as_delta(values: dict[str, Any]) -> dict[str, Any]:
    """Hyperparameters as a change of the whole configuration.

    Those of earlier versions are flat, `beta` beside `lr`; those of this one have the groups hparams and optimizer.
    """
    if "hparams" in values:
        return values
    delta: dict[str, Any] = {"hparams": {}, "optimizer": {}, "dataset": {}}
    for key, value in {**_FLAT_DEFAULTS, **values}.items():
        group, _, name = REPLACED.get(f"hparams.{key}", f"hparams.{key}").rpartition(".")
        if group != "dataset" or value is not None:  # null: not tuned, the data set's own
            (delta[group] if group else delta)[name] = value
    return delta


def tuned(config: Config) -> dict[str, Any]:
    """What a file of hyperparameters says of a configuration: the keys that are tuned for a data set and mode."""
    tuned_data = ("time_steps", "bin_ms", "target_peak")
    return {
        "hparams": asdict(config.hparams),
        "optimizer": asdict(config.optimizer),
        "dataset": {key: value for key in tuned_data if (value := getattr(config.dataset, key)) is not None},
        "epochs": config.epochs,
        "patience": config.patience,
    }


def flatten(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of a nested configuration with its key as on the command line, `hparams.threshold.start`."""
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def nested(values: dict[str, Any]) -> dict[str, Any]:
    """The other way round: `{"hparams.slope": 1}` as `{"hparams": {"slope": 1}}`."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".")
        inner = result
        for group in groups:
            inner = inner.setdefault(group, {})
        inner[name] = value
    return result


def differing(before: Config, after: Config) -> list[str]:
    """Overrides that make the one configuration the other."""
    old, new = (dict(flatten(asdict(config))) for config in (before, after))
    return [f"{key}={json.dumps(value)}" for key, value in new.items() if key not in old or old[key] != value]


_SWITCHES = {key for key, value in flatten(asdict(Config())) if isinstance(value, bool)}


def check_switch(key: str, value: Any) -> None:
    """Refuse a number that would be taken for true or false, but for 1 and 0."""
    if key in _SWITCHES and re.fullmatch(r"[-+.\d]+", str(value)) and str(value) not in ("0", "1"):
        raise ConfigError(f"{key}={value}: expected true | false")


def _check_values(path: Path, values: dict[str, Any]) -> None:
    """Refuse an interpolation, which could read this machine's environment, and a number in place of a switch."""
    for key, value in flatten(values):
        if "${" in str(value):
            raise ConfigError(
                f"{path}: {key}={value} is an interpolation, which no run records: write the value itself"
            )
        try:
            check_switch(key, value)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from None


def _load_plain(path: Path) -> Any:
    """YAML without aliases, of which a few lines can make more values than fit into memory."""
    content = path.read_bytes()
    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(content, _YAML_LOADER)):
        raise ValueError("an alias, which no run records")
    return yaml.load(content, _YAML_LOADER)


def _read(path: Path, parse: Callable[[Path], Any], subject: str) -> dict[str, Any]:
    """A YAML file of keys; `subject` begins the sentence that says what is wrong with it."""
    try:
        values = parse(path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{subject} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{subject} holds no keys")
    return values
