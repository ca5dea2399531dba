"""Read run folders, which docs/records.md describes, without torch: the one reader for all other parts.

What a folder lacks is empty here (`{}`, `[]`, None) and told once in `RunFolder.problems`. What a caller cannot do
without it asks for by a method that raises `Missing`. A file that cannot be read is `Damaged`.
"""

import fcntl
import json
import math
import statistics
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from snntha import config as configuration
from snntha.config.schema import Config
from snntha.errors import Damaged, Missing, UserError, counted
from snntha.published import Accuracy, are_published, published
from snntha.topology import LayerShape, parse

State = Literal["running", "interrupted", "finished", "failed"]
RECORDS = ("config.yaml", "summary.json")  # a folder that holds one of them is a run


def read_mapping(path: Path, read: Callable[[Path], Any], why_missing: str = "") -> dict[str, Any]:
    """What a function reads from a file, if it is a mapping; raises Missing or Damaged."""
    if not path.is_file():
        raise Missing(f"{path} is missing{why_missing}")
    try:
        content = read(path)
    except Exception as error:  # a damaged file makes torch raise anything
        if isinstance(error, OSError) and error.filename:
            raise Missing(f"{path} cannot be read: {error.strerror}") from error
        raise Damaged(path, str(error).partition("\n")[0] or "it is empty") from error
    if not isinstance(content, dict):
        raise Damaged(path, "it holds no mapping")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file; raises Missing or Damaged."""
    return read_mapping(path, lambda path: json.loads(path.read_bytes()))


def read_epochs(text: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The epochs in the text of a metrics.jsonl, and the numbers (from 1) of lines that are none."""
    epochs, damaged = [], []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            epoch = json.loads(line.strip("\0"))  # which a power cut leaves where a line was to be
        except ValueError:
            epoch = None
        if isinstance(epoch, dict) and isinstance(epoch.get("epoch"), int):
            epochs.append(epoch)
        else:
            damaged.append(number)
    return epochs, damaged


def spread(entries: Iterable[dict[str, Any]]) -> dict[str, float | None]:
    """Best, mean and sample standard deviation of the seeds' test accuracy; null where unknown."""
    known = [entry["test_accuracy"] for entry in entries if entry.get("test_accuracy") is not None]
    return {
        "best": max(known, default=None),
        "mean": statistics.fmean(known) if known else None,
        "std": statistics.stdev(known) if len(known) > 1 else None,
    }


class SeedPaths:
    """Where the files of one seed lie."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.metrics_path = folder / "metrics.jsonl"

    def checkpoint_path(self, which: str) -> Path:
        """Of `best` or `last`."""
        return self.folder / "checkpoints" / f"{which}.pt"

    def activity_path(self, when: str) -> Path:
        """Of `initial` (untrained), `start` (after the first epoch) or `end` (best epoch, test set)."""
        return self.folder / f"activity_{when}.pt"


class SeedFolder(SeedPaths):
    """One seed of a run, by its number from 0."""

    def __init__(self, run: "RunFolder", number: int):
        super().__init__(run.folder / f"trial_{number}")
        self.run = run
        self.number = number

    @cached_property
    def entry(self) -> dict[str, Any]:
        """What summary.json says of it; empty until it has ended."""
        entries = self.run.entries
        return entries[self.number] if self.number < len(entries) else {}

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl that can be read, one an epoch."""
        problems, name = self.run.problems, self.folder.name
        if not self.metrics_path.is_file():
            problems.append(f"{name}: metrics.jsonl is missing, so there are no curves")
            return []
        epochs, damaged = read_epochs(self.metrics_path.read_text(encoding="utf-8", errors="replace"))
        problems += [f"{name}: line {number} of metrics.jsonl is damaged, left out" for number in damaged]
        return [_checked(epoch, f"{name}: metrics.jsonl", problems) for epoch in epochs]

    def column(self, key: str) -> list[Any]:
        """One value of each epoch's line; raises Missing if there is no epoch or one of them lacks it."""
        if not self.metrics:
            raise Missing(f"{self.metrics_path} is missing or empty: no epoch has ended; go on with the run")
        if any(key not in line for line in self.metrics):
            raise Missing(f"{self.metrics_path} has no {key}: an older run or another data set; train it anew")
        return [line[key] for line in self.metrics]

    @property
    def failed(self) -> str | None:
        """Why training could not go on."""
        return self.entry.get("failed")

    @property
    def state(self) -> State:
        if self.entry:
            return "failed" if self.failed else "finished"
        return "running" if self.run.is_locked() else "interrupted"

    @property
    def epochs(self) -> int:
        """Finished epochs."""
        return self.entry.get("epochs") or (self.metrics[-1]["epoch"] if self.metrics else 0)

    @property
    def best_epoch(self) -> dict[str, Any]:
        """The line of the selected epoch; of the last one where the seed has not ended; empty without metrics."""
        number = self.entry.get("best_epoch")
        chosen = [epoch for epoch in self.metrics if epoch["epoch"] == number] or self.metrics[-1:]
        return chosen[0] if chosen else {}

    @property
    def seconds(self) -> float | None:
        """Of training, evaluation of the selection samples included."""
        return self.entry.get("seconds") or (self.metrics[-1].get("seconds") if self.metrics else None)

    @property
    def selection_loss(self) -> float | None:
        """The loss of the selected epoch where the data have no classes, so that no accuracy could select."""
        score = self.entry.get("best_score")
        return None if score is None or self.entry.get("validation_accuracy") is not None else -score

    def per_layer(self, quantity: str) -> tuple[list[float] | None, str]:
        """`firing_rate` or `dead_fraction` of each layer, and on what: older records have it on selection samples."""
        if on_test := self.entry.get(f"test_{quantity}"):
            return on_test, "test"
        return self.best_epoch.get(quantity), self.best_epoch.get("selection", "selection")


def _file(name: str, consequence: str) -> cached_property[dict[str, Any]]:
    """A property of a run: the content of a file; empty, with the consequence told, where it cannot be read."""

    def read(run: "RunFolder") -> dict[str, Any]:
        path = run.folder / name
        try:
            if not path.is_file():
                raise Missing(f"{path} is missing")
            return read_json(path) if path.suffix == ".json" else configuration.read_recorded(path)
        except UserError as error:
            sentence = " ".join(str(error).removeprefix(f"{run.folder}/").split())
            run.problems.append(f"{sentence}: {consequence}")
            return {}

    return cached_property(read)


def _recorded(file: str, key: str, kind: type, unknown: Any = None, setting: str = "") -> Any:
    """A property of a run: what a file says under the key, else config.yaml, where it is of that type."""

    def read(run: "RunFolder") -> Any:
        value = getattr(run, file).get(key)
        return (value if isinstance(value, kind) else None) or run.setting(setting, kind) or unknown

    return cached_property(read)


class RunFolder:
    """A run's folder; that it is one, `load_config` checks. A file is read when first asked for, tensors never."""

    config = _file("config.yaml", "the configuration is unknown")  # as it stands, of whatever version
    environment = _file("environment.json", "command, versions and commit are unknown")
    summary = _file("summary.json", "no seed has ended")
    dataset: str = _recorded("summary", "dataset", str, "unknown", "dataset.name")
    mode: str = _recorded("summary", "mode", str, "unknown", "mode.name")
    fidelity: str | None = _recorded("summary", "fidelity", str, None, "fidelity.name")
    selection: str | None = _recorded("summary", "selection", str, None, "selection")  # validation, test or training
    footprint_bits: int | None = _recorded("summary", "footprint_bits", int)
    created: str = _recorded("environment", "created", str, "")  # ISO time

    def __init__(self, folder: Path):
        self.folder = folder
        self.problems: list[str] = []  # what was missing or damaged in the files read so far

    def load_config(self) -> Config:
        """The checked configuration; raises Missing where the folder is not a run's, else ConfigError."""
        path = self.folder / "config.yaml"
        if not path.is_file():
            entries = ", ".join(sorted(entry.name for entry in self.folder.glob("*"))[:8])
            found = entries or ("nothing" if self.folder.is_dir() else "no such folder")
            raise Missing(f"{self.folder} is not the folder of a run: config.yaml is missing (found: {found})")
        return configuration.from_yaml(path)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """config.yaml flat, `{"hparams.beta": 0.9, ...}`."""
        return dict(configuration.flatten(self.config))

    @cached_property
    def entries(self) -> list[dict[str, Any]]:
        """summary.json's entries of the seeds that have ended or failed."""
        entries, where = self.summary.get("trials", []), "summary.json: trials"
        if not (isinstance(entries, list) and all(isinstance(entry, dict) for entry in entries)):
            self.problems.append(f"{where} is not a list of mappings, left out")
            return []
        return [_checked(entry, f"{where}[{number}]", self.problems) for number, entry in enumerate(entries)]

    @cached_property
    def seeds(self) -> list[SeedFolder]:
        """Those that have ended, failed or begun."""
        begun = len(list(self.folder.glob("trial_*/metrics.jsonl")))
        return [SeedFolder(self, number) for number in range(max(len(self.entries), begun))]

    def seed(self, number: int) -> SeedFolder:
        """One of the seeds that the configuration asks for, begun or not; raises UserError for another number."""
        count = self.load_config().trials
        if not 0 <= number < count:
            raise UserError(f"trial={number}: the run in {self.folder} has {counted(count, 'seed')}, counted from 0")
        return SeedFolder(self, number)

    def read(self) -> "RunFolder":
        """Read all but epochs now, so that `problems` tells what the folder lacks, and return it."""
        wanted, _ = self.setting("trials", int) or 0, self.environment
        for seed in self.seeds:
            if "failed" in seed.entry:
                value = seed.entry.get("seed", f"of {seed.folder.name}")
                self.problems.append(f"seed {value} failed: {seed.failed}")
        if self.summary and len(self.entries) < wanted:
            self.problems.append(
                f"{len(self.entries)} of {counted(wanted, 'seed')} have ended: the run is {self.state}"
            )
        return self

    @property
    def state(self) -> State:
        """`failed` if a seed did; `interrupted` if seeds are missing and nobody trains here."""
        if self.is_locked():
            return "running"
        if any(seed.failed for seed in self.seeds):
            return "failed"
        return "finished" if self.entries and len(self.entries) >= (self.setting("trials", int) or 0) else "interrupted"

    def is_locked(self) -> bool:
        """Whether a process trains in this folder (on a file system without locks: no)."""
        try:
            with (self.folder / ".lock").open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError as error:  # else there is no such file, or there are no locks
            return isinstance(error, BlockingIOError)
        return False

    def check_data(self, fingerprint: str) -> None:
        """Raises UserError if these are not the data that the run was trained with."""
        path = self.folder / "environment.json"
        before = read_json(path).get("data_fingerprint")
        if not isinstance(before, str):
            raise Missing(f"{path} has no data_fingerprint: whether the data are the same cannot be told")
        if before != fingerprint:
            raise UserError(
                f"{self.folder}: the data have changed since this run began (fingerprint {before[:12]}, now "
                f"{fingerprint[:12]}); put the old files back, name their folder with dataset.root, or start a new run"
            )

    def setting(self, key: str, kind: type | tuple[type, ...]) -> Any:
        """A value of config.yaml, `"hparams.threshold.start"`; None where it is missing or of another type."""
        value = self.settings.get(key)
        return value if isinstance(value, kind) else None

    @property
    def data_fingerprint(self) -> str | None:
        """Of the data set's samples; None where it is unknown, and for temporal coding, whose seed makes the data."""
        value = self.environment.get("data_fingerprint")
        return value if isinstance(value, str) and self.dataset != "temporal_coding" else None

    @property
    def title(self) -> str:
        """What tables and figures call the data."""
        return self.setting("dataset.title", str) or self.dataset

    @property
    def has_published_data(self) -> bool:
        """Whether the paper's figures may stand beside this run's; not where the record does not tell."""
        samples = self.environment.get("samples")
        return are_published(self.dataset, samples if isinstance(samples, list) else None, self.data_fingerprint)

    @property
    def published(self) -> Accuracy | None:
        """The paper's accuracy for this mode; None where it has none, and for other data."""
        return published(self.dataset, self.mode) if self.has_published_data else None

    @cached_property
    def layers(self) -> list[LayerShape]:
        """Spiking layers of model.topology; none where config.yaml does not tell."""
        topology, shape = self.setting("model.topology", str), self.setting("dataset.input_shape", list)
        try:
            return parse(topology, tuple(shape)) if topology and shape else []
        except (UserError, TypeError) as error:
            self.problems.append(f"config.yaml: {error}")
            return []


_NUMBERS = {
    *("seed", "epochs", "best_epoch", "best_score", "test_accuracy", "seconds", "iteration", "learning_rate"),
    *("train_loss", "train_accuracy", "validation_loss", "validation_accuracy"),
}
_LISTS = {
    *("thresholds", "firing_rate", "dead_fraction", "output_membrane", "test_firing_rate", "test_dead_fraction"),
    *("sign_flips", "silenced_by_threshold", "violates_eq5", "violates_eq6", "violates_eq7"),
}


def _checked(record: dict[str, Any], where: str, problems: list[str]) -> dict[str, Any]:
    """The record without known keys whose value is of a wrong type or not finite; each is told once."""
    kept = {}
    for key, value in record.items():
        expected, numbers = ("a list of finite numbers", value) if key in _LISTS else ("a finite number", [value])
        problem = f"{where}: {key} is not {expected}, left out"
        if value is None or key not in _LISTS | _NUMBERS or _are_finite(numbers):
            kept[key] = value
        elif problem not in problems:
            problems.append(problem)
    return kept


def _are_finite(values: Any) -> bool:
    return isinstance(values, list) and all(isinstance(value, int | float) and math.isfinite(value) for value in values)
