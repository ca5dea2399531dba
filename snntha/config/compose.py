"""Composing a configuration from conf/ and the command line, and changing one that was read back."""

import os
import re
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from snntha.choices import CHOICES, OPEN, TUNED
from snntha.config.files import read_hparams, read_recorded
from snntha.config.opened import is_open
from snntha.config.rules import (
    PATHS,
    TEXTS,
    check_effect,
    check_names,
    check_resumed,
    check_targets,
    validate,
)
from snntha.config.schema import Config
from snntha.errors import ConfigError, UserError, expected
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
    store = ConfigStore.instance()
    store.store(name="schema", node=Config, replace=True)
    for dataset in OPEN:
        store.store(group="model", name=dataset, node={"defaults": ["auto"]}, replace=True)
    for dataset in set(CHOICES["dataset.name"]) - set(TUNED):  # which nobody has tuned
        for mode in CHOICES["mode.name"]:
            node = {"defaults": ["auto"]}
            store.store(group="hparams", name=f"{dataset}_{mode}", node=node, package="_global_", replace=True)
    OmegaConf.register_resolver("short_id", lambda: secrets.token_hex(3), replace=True)


def add_hparams(path: Path) -> str:
    """Make a file of hyperparameters an option of the group hparams, and return the option's name."""
    delta = read_hparams(path)
    # A group of its own: of two options with one name Hydra would take that of conf/.
    ConfigStore.instance().store(group="hparams/file", name="given", node=delta, package="_global_", replace=True)
    return "file/given"


def compose(overrides: Sequence[str] = ()) -> Config:
    """What `snntha train` would run with these overrides (`"dataset=shd"`, `"epochs=3"`)."""
    overrides = as_texts(overrides)
    register()
    try:
        with initialize_config_dir(str(conf_folder())):
            return load(hydra_compose("train", overrides=list(overrides)), overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error


def load(cfg: DictConfig, overrides: Sequence[str] = ()) -> Config:
    """Resolve what Hydra composed, its own part left out, and check it once.

    Raises ConfigError where a value is wrong, or one of the command line's overrides has no effect.
    """
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    # Plain values over the bare schema, which refuses keys that were added by `+`.
    config = merged(Config(), OmegaConf.to_container(own, resolve=True))
    check_effect(overrides, config.dataset.name)
    check_targets(config)
    return config


_OPTIONAL = ("resume", "dataset.title", "dataset.class_", "dataset._target_")  # texts that may be null
_GROUPS = ("dataset", "model", "mode", "hparams", "fidelity", "optimizer", "launcher", "search", "debug")  # of conf/


def as_texts(overrides: Sequence[str], several: bool = False) -> list[str]:
    """The overrides with those texts quoted that Hydra takes for something else, as 2026_11_24; and `~` expanded.

    What the user has quoted for Hydra stays. With `several`, of a multirun, commas stand between values.
    Raises ConfigError where a text is empty or a key is one of an earlier version.
    """
    overrides = [re.sub(r"^(\+*dataset\.class)=", r"\1_=", override) for override in overrides]  # Python has the word
    overrides = [re.sub(r"^dataset\.arguments(?=[.=])", "+dataset.arguments", override) for override in overrides]
    check_names(overrides)
    return [_as_text(override, several) for override in overrides]


def _as_text(override: str, several: bool) -> str:
    typed, _, value = override.partition("=")
    key = typed.lstrip("+")
    is_word = key in _GROUPS and re.fullmatch(r"[\w.,/]+", value)
    is_sweep = several and re.match(r"(choice|shuffle|sort)\(", value)
    if not (is_word or key in TEXTS) or is_sweep or value[:1] in "'\"" or (key in _OPTIONAL and value == "null"):
        return override
    values = value.split(",") if several or is_word else [value]
    if key in PATHS:
        values = map(os.path.expanduser, values)
    return f"{typed}={','.join(map(_quoted, values))}"


def _quoted(text: str) -> str:
    """A text as Hydra reads it: quoted unless it is read as it is."""
    try:
        if OverridesParser.create().parse_override(f"key={text}").value() == text:
            return text
    except HydraException:
        pass
    return QuotedString(text, Quote.single).with_quotes()


_NOISE = ("object_type=", "reference_type=", "To append to your config use +")  # the schema refuses additions


def explain(error: Exception) -> str:
    """What a Hydra or OmegaConf error means for the one who typed the command."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, name = error.missing_cfg_file.rpartition("/")
        return f"{group}={name}: {expected(name, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: expected key=value, such as dataset=shd, without spaces around the ="
    text = f"{error}\n{error.__cause__}" if isinstance(error.__cause__, OmegaConfBaseException) else str(error)
    text = text.replace("list index out of range", "the list is shorter: pass all of it, one entry per layer")
    first, *others = dict.fromkeys(line.strip() for line in text.splitlines() if line.strip())  # the cause repeats some
    kept = [line for line in others if not line.startswith(_NOISE) and line.removeprefix("full_key: ") not in first]
    return "\n  ".join([first, *kept])


def from_yaml(path: Path) -> Config:
    """Read a run's config.yaml back, also one of an earlier version.

    The class of one's own data is code, which no folder may name: `dataset._target_` is left out, and given anew.
    """
    recorded = read_recorded(path)
    if isinstance(recorded.get("dataset"), dict):
        recorded["dataset"].pop("_target_", None)
    try:
        return merged(Config(), recorded)
    except UserError as error:
        raise ConfigError(f"{path}: {error}") from error


def override(config: Config, overrides: Sequence[str]) -> Config:
    """A copy with some `key=value` changed: only what an interrupted run may change when it goes on."""
    check_resumed(overrides)
    return changed(config, overrides)


def located(config: Config, root: str | None, own_class: str | None) -> Config:
    """A run's configuration with its data where they lie now, and the class of the user's own data."""
    given = {"dataset.root": root, "dataset._target_": own_class}
    return override(config, [f"{key}={value}" for key, value in given.items() if value is not None])


def changed(config: Config, overrides: Sequence[str]) -> Config:
    """A checked copy with some `key=value` changed, read as on the command line; groups cannot be chosen."""
    changes = OmegaConf.create()
    for parsed in OverridesParser.create().parse_overrides(as_texts(overrides)):
        OmegaConf.update(changes, parsed.key_or_group, parsed.value())
    return merged(config, changes)


def merged(config: Config, changes: Any) -> Config:
    """Changes, nested as in YAML, over a configuration; resolved, spelt out and checked."""
    try:
        result = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(config), changes))
    except OmegaConfBaseException as error:
        raise ConfigError(explain(error)) from error
    assert isinstance(result, Config)
    if not is_open(result):
        _spell_out(result)
    validate(result)
    return result


def _spell_out(config: Config) -> None:
    """Write, with an entry for each layer, what may be left out: no dropout, no delays, a threshold that stays."""
    layers = parse(config.model.topology, tuple(config.dataset.input_shape))
    hparams, threshold = config.hparams, config.hparams.threshold
    dense = sum(layer.kind == "dense" for layer in layers)
    hparams.dropout = hparams.dropout or [0.0] * dense
    hparams.delays = hparams.delays or [0] * dense
    if not config.mode.anneal:
        threshold.rise = threshold.rise or [0.0] * len(layers)
        threshold.rate = threshold.rate or [0.0] * len(layers)
