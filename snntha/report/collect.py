"""Read run folders without torch. What is missing or damaged becomes a sentence in `problems`, never a crash."""

import json
import math
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from snntha.errors import UserError
from snntha.topology import LayerShape, parse

SEARCH_TRIAL = re.compile(r"trial_\d+")
RECORDS = ("config.yaml", "summary.json")  # a folder that holds one of them is a run


@dataclass
class TrialRecord:
    """One trial: its entry in summary.json (empty while it runs) and its epochs."""

    number: int
    folder: Path
    entry: dict[str, Any]
    problems: list[str]

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl that can be read."""
        path = self.folder / "metrics.jsonl"
        if not path.is_file():
            self.problems.append(f"trial {self.number + 1}: metrics.jsonl is missing, so there are no curves")
            return []
        epochs = []
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            try:
                epoch = json.loads(line)
            except json.JSONDecodeError:
                self.problems.append(f"trial {self.number + 1}: line {number} of metrics.jsonl is damaged, left out")
                continue
            if isinstance(epoch, dict) and isinstance(epoch.get("epoch"), int):
                epochs.append(_checked(epoch, f"trial {self.number + 1}: metrics.jsonl", self.problems))
        return epochs

    @property
    def failed(self) -> str | None:
        return self.entry.get("failed")

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return self.entry.get("epochs") or (self.metrics[-1]["epoch"] if self.metrics else 0)

    @property
    def best_epoch(self) -> dict[str, Any]:
        """The line of the selected epoch; of the last one where the trial has not ended; empty without metrics."""
        number = self.entry.get("best_epoch")
        chosen = [epoch for epoch in self.metrics if epoch["epoch"] == number] or self.metrics[-1:]
        return chosen[0] if chosen else {}

    @property
    def seconds(self) -> float | None:
        return self.entry.get("seconds") or (self.metrics[-1].get("seconds") if self.metrics else None)

    @property
    def selection_loss(self) -> float | None:
        """The loss of the selected epoch where the data have no classes, so that no accuracy could select."""
        score = self.entry.get("best_score")
        return None if score is None or self.entry.get("validation_accuracy") is not None else -score

    def per_layer(self, quantity: str) -> tuple[list[float] | None, str]:
        """`firing_rate` or `dead_fraction` of each layer, and what it was measured on.

        Older records have no test value: then it is the selected epoch's, on the selection samples.
        """
        on_test = self.entry.get(f"test_{quantity}")
        if on_test:
            return on_test, "test"
        return self.best_epoch.get(quantity), self.best_epoch.get("selection", "selection")


@dataclass
class RunRecord:
    """What one run folder says."""

    folder: Path
    config: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    trials: list[TrialRecord] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def setting(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """A value of config.yaml, `"hparams.threshold.start"`; None where it is missing or of another type."""
        value: Any = self.config
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return value if isinstance(value, kind) else None

    @property
    def dataset(self) -> str:
        return self._text("dataset") or self.setting("dataset.name", str) or "unknown"

    @property
    def mode(self) -> str:
        return self._text("mode") or self.setting("mode.name", str) or "unknown"

    @property
    def fidelity(self) -> str | None:
        return self._text("fidelity") or self.setting("fidelity.name", str)

    @property
    def selection(self) -> str | None:
        return self._text("selection") or self.setting("selection", str)

    @property
    def created(self) -> str:
        """ISO time; empty where environment.json is missing."""
        return str(self.environment.get("created") or "")

    @property
    def data_fingerprint(self) -> str | None:
        """Of the data set's samples; None where it is unknown, and for temporal coding, whose seed makes the data."""
        value = self.environment.get("data_fingerprint")
        return value if isinstance(value, str) and self.dataset != "temporal_coding" else None

    @property
    def footprint_bits(self) -> int | None:
        bits = self.summary.get("footprint_bits")
        return bits if isinstance(bits, int) else None

    def _text(self, key: str) -> str | None:
        """A text of summary.json; None where it is missing or no text."""
        value = self.summary.get(key)
        return value if isinstance(value, str) else None

    @cached_property
    def layers(self) -> list[LayerShape]:
        """Spiking layers of model.topology; none where config.yaml does not tell."""
        topology, shape = self.setting("model.topology", str), self.setting("dataset.input_shape", list)
        try:
            return parse(topology, tuple(shape)) if topology and shape else []
        except (UserError, TypeError) as error:
            self.problems.append(f"config.yaml: {error}")
            return []


def collect(folders: list[Path]) -> list[RunRecord]:
    """The runs in these folders at any depth, each once, oldest first.

    Raises:
        UserError: a folder does not exist, or there is no run in any of them.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: name one that is a run, or that holds runs at any depth")
    found = {path.resolve(): path for folder in folders for path in find_runs(folder)}
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"no run found in {looked}: a run is a folder with {' or '.join(RECORDS)}; "
            f"make one with: snntha train debug=smoke"
        )
    return sorted((read_run(path) for path in found.values()), key=lambda run: (run.created, str(run.folder)))


def find_runs(folder: Path) -> Iterator[Path]:
    """Folders of runs in and below a folder; hidden folders and the inside of a run are not searched.

    The trials of a hyperparameter search are found only in the folder of that search: they are many, and short.
    """
    for parent, children, files in os.walk(folder):
        if Path(parent) != folder:
            children[:] = [name for name in children if not SEARCH_TRIAL.fullmatch(name)]
        if any(name in files for name in RECORDS):
            children.clear()
            yield Path(parent)
        children[:] = sorted(name for name in children if not name.startswith("."))


def read_run(folder: Path) -> RunRecord:
    """Everything but the epochs and the tensors, which are read when they are asked for."""
    run = RunRecord(folder)
    run.config = _read_mapping(run, "config.yaml", "the configuration is unknown")
    run.environment = _read_mapping(run, "environment.json", "command, versions and commit are unknown")
    run.summary = _read_mapping(run, "summary.json", "no trial has ended")
    entries = run.summary.get("trials", [])
    if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
        run.problems.append("summary.json: trials is not a list of mappings, left out")
        entries = []
    begun = len(list(folder.glob("trial_*/metrics.jsonl")))
    for number in range(max(len(entries), begun)):
        entry = entries[number] if number < len(entries) else {}
        entry = _checked(entry, f"summary.json: trial {number + 1}", run.problems)
        run.trials.append(TrialRecord(number, folder / f"trial_{number}", entry, run.problems))
        if "failed" in entry:
            run.problems.append(f"trial {number + 1} failed: {entry['failed']}")
    wanted = run.setting("trials", int) or 0
    if run.summary and len(entries) < wanted:
        run.problems.append(f"{len(entries)} of {wanted} trials have ended")
    return run


_NUMBERS = {
    *("seed", "epochs", "best_epoch", "best_score", "test_accuracy", "seconds", "iteration", "learning_rate"),
    *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
}
_LISTS = {
    *("thresholds", "firing_rate", "dead_fraction", "silenced_by_threshold", "output_membrane"),
    *("test_firing_rate", "test_dead_fraction"),
}


def _checked(record: dict[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """The record without known keys whose value is of a wrong type or not finite; each is told once."""
    kept = {}
    for key, value in record.items():
        if key in _LISTS:
            expected, fits = "a list of finite numbers", isinstance(value, list) and all(map(_is_finite, value))
        else:
            expected, fits = "a finite number", key not in _NUMBERS or _is_finite(value)
        problem = f"{where}: {key} is not {expected}, left out"
        if fits or value is None:
            kept[key] = value
        elif problem not in problems:
            problems.append(problem)
    return kept


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _read_mapping(run: RunRecord, name: str, consequence: str) -> dict[str, Any]:
    path = run.folder / name
    if not path.is_file():
        run.problems.append(f"{name} is missing: {consequence}")
        return {}
    try:
        content = yaml.load(path.read_bytes(), _YAML) if path.suffix == ".yaml" else json.loads(path.read_bytes())
    except (ValueError, yaml.YAMLError, OSError) as error:
        run.problems.append(f"{name} cannot be read ({' '.join(str(error).split())}): {consequence}")
        return {}
    if not isinstance(content, dict):
        run.problems.append(f"{name} holds no mapping: {consequence}")
        return {}
    return content


_YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's loader is ten times faster, where it was built in
