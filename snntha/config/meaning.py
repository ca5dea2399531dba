"""What a key means, which values it takes and where its value comes from: read from comments of conf/ and schema.py."""

import inspect
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from hydra import compose as hydra_compose
from hydra import initialize_config_dir

from snntha.choices import CHOICES
from snntha.config.compose import as_texts, compose, conf_folder, register
from snntha.config.files import flatten
from snntha.config.rules import RULES
from snntha.config.schema import Config
from snntha.errors import ConfigError, did_you_mean

WIDTH = 80


def meaning(keys: Sequence[str], overrides: Sequence[str] = ()) -> str:
    """An explanation of each key, or of all below a group, with the values that these overrides give.

    Raises ConfigError for a key that there is not.
    """
    values = dict(flatten(asdict(compose(overrides))))
    comments, files = schema_comments(Config), list(_files(overrides))
    blocks = []
    for key in keys:
        below = [known for known in comments if known == key or known.startswith(f"{key}.")]
        if not below:
            raise ConfigError(f"{key}: there is no such key{did_you_mean(key, comments)}")
        if (folder := conf_folder() / key).is_dir():
            options = " | ".join(sorted(path.stem for path in folder.glob("*.yaml")))
            blocks.append(_wrapped(f"{key}: choose {key}=OPTION of {options}", ""))
        for known in below:
            value = f" = {_yaml(values[known])}" if known in values else ""
            words = [comments[known], _allowed(known), *(said for file in files if (said := _said(*file, known)))]
            blocks.append("\n".join([known + value, *(_wrapped(text, "  ") for text in words if text)]))
    return "\n\n".join(blocks)


def schema_comments(kind: type, prefix: str = "") -> dict[str, str]:
    """Of each key of a dataclass, and of those in it, the comment behind it."""
    written = dict(re.findall(r"^    (\w+):[^#\n]*(?:#\s*(.*))?$", inspect.getsource(kind), re.MULTILINE))
    found: dict[str, str] = {}
    hints = get_type_hints(kind)
    for field in fields(kind):
        if (group := _group(hints[field.name])) is not None:
            found |= schema_comments(group, f"{prefix}{field.name}.")
        else:
            found[prefix + field.name] = written.get(field.name, "")
    return found


def _group(hint: Any) -> type | None:
    """The dataclass of a key that is a group, `Search` of `Search | None`."""
    kinds = () if "dict" in str(hint) else (hint, *getattr(hint, "__args__", ()))
    return next((kind for kind in kinds if isinstance(kind, type) and is_dataclass(kind)), None)


def _allowed(key: str) -> str:
    """Its values in words."""
    hint: Any = Config
    for part in key.split("."):
        hint = get_type_hints(_group(hint))[part]
    name = str(getattr(hint, "__name__", hint) if isinstance(hint, type) else hint)
    none = " or null" if "None" in name else ""
    if key in CHOICES:
        return f"values: {' | '.join(CHOICES[key])}{none}"
    if key in RULES:
        return f"values: {RULES[key][1]}{' in every entry' * ('list' in name)}{none}"
    return "values: true | false" if name == "bool" else ""


def _files(overrides: Sequence[str]) -> Iterator[tuple[Path, str]]:
    """The files of conf/ that this configuration is made of, each with the key that it fills, later ones winning."""
    register()
    with initialize_config_dir(str(conf_folder())):
        cfg = hydra_compose("train", overrides=list(as_texts(overrides)), return_hydra_config=True)
    yield conf_folder() / "train.yaml", ""
    for group, option in cfg.hydra.runtime.choices.items():
        path = conf_folder() / str(group) / f"{option}.yaml"
        if path.is_file():
            yield path, "" if "@package _global_" in path.read_text() else f"{group}."


def _said(path: Path, prefix: str, key: str) -> str:
    """What a file says of a key: its name, the comment behind the key or that of its group, and the file's source."""
    text = path.read_text(encoding="utf-8")
    node, comment, lines = yaml.compose(text, yaml.SafeLoader), "", text.splitlines()
    if not key.startswith(prefix):
        return ""
    for part in key.removeprefix(prefix).split("."):
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [(name, value) for name, value in pairs if name.value == part]
        if not found:
            return ""
        (name, node) = found[0]
        comment = lines[name.start_mark.line].partition(" # ")[2] or comment
    head = [line.lstrip("# ") for line in lines[: next(n for n, line in enumerate(lines) if not line.startswith("#"))]]
    where = path.relative_to(conf_folder())
    source = " ".join(line for line in head if not line.startswith("@package")) if len(where.parts) > 1 else ""
    return ": ".join([f"conf/{where}", *filter(None, [" - ".join(filter(None, [comment, source]))])])


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, width=10_000).removesuffix("\n...\n").strip()


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ")
