"""The record of a run is a folder that a stranger can read. Lines are flushed, files are replaced atomically."""

import fcntl
import json
import os
import pickle
import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snntha import config as configuration
from snntha.errors import UserError
from snntha.logger import Log
from snntha.schema import Config

CHECKPOINT_FORMAT = 1
_VERSIONS_OF = ("snntha", "torch", "torchvision", "numpy", "numba", "tonic", "snntorch", "hydra-core", "omegaconf")


class Run:
    """A run's folder: config.yaml, environment.json, summary.json and one folder a seed."""

    def __init__(self, folder: Path):
        self.folder = folder

    @classmethod
    def create(cls, config: Config, data_fingerprint: str) -> "Run":
        """Make the folder and write what is known before training starts."""
        folder = Path(config.output_dir)
        if (folder / "config.yaml").exists():
            raise UserError(
                f"output_dir={folder} already holds a run; continue it with resume={folder} or choose another"
            )
        run = cls(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "environment.json", describe_environment(data_fingerprint))
            run.write_config(config)  # last: with it the folder is a run's
        except OSError as error:
            raise UserError(f"output_dir={folder} cannot be written: {error.strerror}; choose another") from error
        return run

    @classmethod
    def open(cls, folder: Path) -> "Run":
        """An existing run's folder."""
        if not (folder / "config.yaml").is_file():
            found = (
                ", ".join(sorted(path.name for path in folder.iterdir())[:8]) if folder.is_dir() else "no such folder"
            )
            raise UserError(
                f"{folder} is not the folder of a run: config.yaml is missing (found: {found or 'nothing'})"
            )
        return cls(folder)

    @property
    def config(self) -> Config:
        return configuration.from_yaml(self.folder / "config.yaml")

    def write_config(self, config: Config) -> None:
        write_atomically(self.folder / "config.yaml", without_passwords(configuration.to_yaml(config)))

    def check_data(self, fingerprint: str) -> None:
        """Raises UserError if these are not the data that the run was trained with."""
        before = self.environment["data_fingerprint"]
        if before != fingerprint:
            raise UserError(
                f"{self.folder}: the data have changed since this run began (fingerprint {before[:12]}, now "
                f"{fingerprint[:12]}); put the old files back, name their folder with dataset.root, or start a new run"
            )

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder meanwhile.

        Raises:
            UserError: another one does.
        """
        with (self.folder / ".lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise UserError(
                    f"{self.folder}: another process trains in this folder: wait for it or stop it"
                ) from error
            except OSError:  # a file system without locks
                pass
            yield

    def add_environment(self, data_fingerprint: str) -> None:
        """Note with what the run goes on, in the list `resumed` of environment.json."""
        before = self.environment
        resumed = [*before.get("resumed", []), describe_environment(data_fingerprint)]
        write_json(self.folder / "environment.json", {**before, "resumed": resumed})

    @property
    def environment(self) -> dict[str, Any]:
        return json.loads((self.folder / "environment.json").read_text())

    @property
    def summary(self) -> dict[str, Any] | None:
        """None until the first seed has ended."""
        path = self.folder / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_json(self.folder / "summary.json", summary)

    def seed(self, number: int) -> "SeedRecord":
        return SeedRecord(self.folder / f"trial_{number}")


class SeedRecord:
    """One seed's folder: metrics.jsonl and checkpoints."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.metrics_path = folder / "metrics.jsonl"
        self.log: Log | None = None  # also receives each epoch's metrics

    def checkpoint_path(self, which: str) -> Path:
        return self.folder / "checkpoints" / f"{which}.pt"

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """One line for one epoch, on disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.metrics_path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self.log is not None:
            self.log(metrics)

    def read_metrics(self) -> Iterator[dict[str, Any]]:
        """The epochs' lines; a line that a crash cut short is the last and is left out."""
        if not self.metrics_path.exists():
            return
        for line in self.metrics_path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                yield json.loads(line)

    def forget_after(self, epoch: int) -> None:
        """Drop lines of later epochs, which a resumed seed writes again."""
        kept = [json.dumps(metrics) + "\n" for metrics in self.read_metrics() if metrics["epoch"] <= epoch]
        if self.metrics_path.exists():
            write_atomically(self.metrics_path, "".join(kept))

    def save_checkpoint(self, which: str, state: dict[str, Any]) -> None:
        """Replace checkpoints/<which>.pt; tensors and plain data only."""
        _save_tensors(self.checkpoint_path(which), {"format": CHECKPOINT_FORMAT, **state})

    def remove_checkpoint(self, which: str) -> None:
        self.checkpoint_path(which).unlink(missing_ok=True)

    def save_activity(self, when: str, activity: dict[str, Any]) -> None:
        """Replace activity_<when>.pt: what the neurons did, for figures; tensors and plain data only."""
        _save_tensors(self.activity_path(when), activity)

    def activity_path(self, when: str) -> Path:
        return self.folder / f"activity_{when}.pt"

    def load_activity(self, when: str) -> dict[str, Any] | None:
        """What `save_activity` wrote; None where this run has no such record."""
        path = self.activity_path(when)
        return torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None

    def load_checkpoint(self, which: str, device: torch.device) -> dict[str, Any]:
        path = self.checkpoint_path(which)
        if not path.is_file():
            raise UserError(f"{path} is missing: this seed has not finished an epoch, or its search has removed it")
        try:
            state = torch.load(path, map_location=device, weights_only=True)
        except (EOFError, RuntimeError, pickle.UnpicklingError) as error:
            reason = str(error).splitlines()[0] if str(error) else "it is empty"
            raise UserError(f"{path} is damaged: {reason}") from error
        if state.get("format") != CHECKPOINT_FORMAT:
            raise UserError(
                f"{path} has checkpoint format {state.get('format')}, this version reads {CHECKPOINT_FORMAT}; "
                f"use the version of snntha that environment.json names"
            )
        return state


def _save_tensors(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """The file holds the old text or the new one, never a part."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def without_passwords(text: str) -> str:
    """A text with *** for the passwords of its URLs, `driver://user:PASSWORD@host` and `...?password=PASSWORD`."""
    return re.sub(r"(?<=[?&]password=)[^&\s'\"]*|(?<=://)([^:/@\s]*):\S*(?=@)", _hidden, text)


def _hidden(match: re.Match[str]) -> str:
    return "***" if match[1] is None else f"{match[1]}:***"


def describe_environment(data_fingerprint: str) -> dict[str, Any]:
    """Content of environment.json; null where the system does not tell."""
    return {
        "created": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": without_passwords(shlex.join(sys.argv)),
        "commit": _commit(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _VERSIONS_OF},
        "machine": {
            "platform": platform.platform(),
            "processor": _processor(),
            "processors": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "data_fingerprint": data_fingerprint,
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the checkout that this package runs from, with -dirty where files differ; null when installed."""
    root = Path(__file__).parent.parent
    if not (root / ".git").exists():
        return None
    try:
        git = ["git", "-C", str(root)]
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
        changes = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"{commit}-dirty" if changes.strip() else commit


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
