"""Composing a configuration from conf/ and the command line, reading it back, and writing it."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntha.config.migrate import as_delta, without_replaced
from snntha.config.overrides import check_effect, check_names, check_resumed
from snntha.config.rules import validate
from snntha.config.schema import Config
from snntha.errors import ConfigError, did_you_mean
from snntha.topology import parse


def conf_folder() -> Path:
    """The YAML files: beside the package in a checkout, inside it once installed."""
    package = Path(__file__).resolve().parents[1]
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
    delta = as_delta(_read(path, lambda path: OmegaConf.to_container(OmegaConf.load(path)), f"hparams={path}"))
    # A group of its own: of two options with one name Hydra would take that of conf/.
    ConfigStore.instance().store(group="hparams/file", name=path.stem, node=delta, package="_global_", replace=True)
    return f"file/{path.stem}"


def compose(overrides: Iterable[str] = ()) -> Config:
    """What `snntha train` would run with these overrides (`"dataset=shd"`, `"epochs=3"`)."""
    overrides = list(overrides)
    check_names(overrides)
    register()
    try:
        with initialize_config_dir(str(conf_folder())):
            return load(hydra_compose("train", overrides=overrides), overrides)
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
    check_effect(overrides, config.dataset.name)
    return config


_NOISE = ("object_type=", "reference_type=", "To append to your config use +")  # the schema refuses additions


def explain(error: Exception) -> str:
    """What a Hydra or OmegaConf error means for the one who typed the command."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: expected {' | '.join(error.options)}{did_you_mean(name, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: expected key=value, such as dataset=shd, without spaces around the ="
    text = f"{error}\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else str(error)
    text = text.replace("list index out of range", "the list is shorter: pass all of it, one entry per layer")
    first, *others = dict.fromkeys(line.strip() for line in text.splitlines() if line.strip())  # the cause repeats some
    kept = [line for line in others if not line.startswith(_NOISE) and line.removeprefix("full_key: ") not in first]
    return "\n  ".join([first, *kept])


def to_yaml(config: Config) -> str:
    """The text of a run's config.yaml, every value resolved."""
    return OmegaConf.to_yaml(OmegaConf.structured(config))


def from_yaml(path: Path) -> Config:
    """Read a run's config.yaml back, also one of an earlier version."""
    return _merge(Config(), read_recorded(path))


def read_recorded(path: Path) -> dict[str, Any]:
    """The values of a run's config.yaml, also one of an earlier version, without a check against the schema.

    A run that is read is data, perhaps a stranger's: an interpolation, which could read this machine's environment, is
    refused and never resolved.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist: name the folder of a run, the one that holds config.yaml")
    recorded = _read(path, lambda path: yaml.load(path.read_bytes(), _YAML_LOADER), f"{path} is damaged, it")
    for key, value in flatten(recorded):
        if "${" in str(value):
            raise ConfigError(
                f"{path}: {key}={value} is an interpolation, which no run records: write the value itself"
            )
    return without_replaced(recorded)


_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times faster, where it was built in


def _read(path: Path, parse: Callable[[Path], Any], subject: str) -> dict[str, Any]:
    """A YAML file of keys; `subject` begins the sentence that says what is wrong with it."""
    try:
        values = parse(path)
    except (yaml.YAMLError, ValueError, OSError) as error:
        raise ConfigError(f"{subject} is not YAML: {error}") from error
    if not isinstance(values, dict):
        raise ConfigError(f"{subject} holds no keys")
    return values


def override(config: Config, overrides: Iterable[str]) -> Config:
    """A copy with some `key=value` changed: only what an interrupted run may change when it goes on."""
    overrides = list(overrides)
    check_resumed(overrides)
    return _merge(config, OmegaConf.from_dotlist([text.lstrip("+") for text in overrides]))


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


def _merge(config: Config, changes: DictConfig | ListConfig | dict[str, Any]) -> Config:
    """Changes over a configuration, resolved, spelt out and checked."""
    try:
        plain = changes if isinstance(changes, dict) else OmegaConf.to_container(changes, resolve=True)
        assert isinstance(plain, dict)
        merged = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config), plain))
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(merged, Config)
    merged = _spelt_out(merged)
    validate(merged)
    return merged


def _spelt_out(config: Config) -> Config:
    """A copy that says, with an entry for each layer, what a set of hyperparameters may leave out.

    No dropout, and the zero rise and rate of a threshold that stays.
    """
    layers = parse(config.model.topology, tuple(config.dataset.input_shape))
    hparams, threshold = config.hparams, config.hparams.threshold
    if not hparams.dropout:
        hparams = replace(hparams, dropout=[0.0] * sum(layer.kind == "dense" for layer in layers))
    if not config.mode.anneal:
        zeros = [0.0] * len(layers)
        threshold = replace(threshold, rise=threshold.rise or zeros, rate=threshold.rate or list(zeros))
    return replace(config, hparams=replace(hparams, threshold=threshold))
