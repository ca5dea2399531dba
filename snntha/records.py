"""Write the record of a run, a folder that a stranger can read. Lines are flushed, files are replaced atomically.

docs/records.md describes the files, `folder.RunFolder` reads them.
"""

import fcntl
import json
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snntha import checkpoints
from snntha import config as configuration
from snntha.config import Config
from snntha.errors import Damaged, UserError
from snntha.folder import RunFolder, SeedPaths, read_epochs, read_json
from snntha.logger import Log

_VERSIONS_OF = ("snntha", "torch", "torchvision", "numpy", "numba", "tonic", "snntorch", "hydra-core", "omegaconf")
_LOOK_S = 0.05  # longer than a reader holds the lock to see whether somebody trains


_NAMES = ("environment.json", "summary.json", "trial_[0-9]*", "plots")  # what a run writes beside config.yaml


def _is_beginning(path: Path) -> bool:
    """Whether this is all that a run wrote which was killed before its config.yaml was there."""
    try:
        return path.name == "environment.json" and "data_fingerprint" in read_json(path)
    except Damaged:
        return False


class FolderInUse(UserError):
    """Another process trains in this folder."""


@dataclass(frozen=True)
class Run:
    """Writes a run's folder: config.yaml, environment.json, summary.json and one folder a seed."""

    folder: Path

    @classmethod
    def create(cls, config: Config, data_fingerprint: str) -> "Run":
        """Make the folder and write what is known before training starts."""
        folder = Path(config.output_dir)
        if (folder / "config.yaml").exists():
            go_on = shlex.quote(f"resume={folder}")
            raise UserError(f"output_dir={folder} already holds a run; continue it with {go_on} or choose another")
        if others := sorted(path.name for name in _NAMES for path in folder.glob(name) if not _is_beginning(path)):
            raise UserError(
                f"output_dir={folder} holds {', '.join(others)}, which would be overwritten, and no run wrote: "
                f"choose another"
            )
        run = cls(folder)
        try:
            write_json(folder / "environment.json", describe_environment(data_fingerprint))
            run.write_config(config)  # last: with it the folder is a run's
        except OSError as error:
            raise UserError(f"output_dir={folder} cannot be written: {error.strerror}; choose another") from error
        return run

    @classmethod
    def open(cls, folder: Path, data_fingerprint: str) -> "Run":
        """An existing run's folder; raises UserError where it is none, or was trained with other data."""
        record = RunFolder(folder)
        record.load_config()
        record.check_data(data_fingerprint)
        return cls(folder)

    def write_config(self, config: Config) -> None:
        write_atomically(self.folder / "config.yaml", without_passwords(configuration.to_yaml(config)))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder meanwhile; raises FolderInUse if another one does."""
        with (self.folder / ".lock").open("w") as file:
            for look in (1, 2):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if look == 2:
                        sentence = f"{self.folder}: another process trains in it: wait for it or stop it"
                        raise FolderInUse(sentence) from error
                    time.sleep(_LOOK_S)
                except OSError:  # a file system without locks
                    break
            yield

    def add_environment(self, data_fingerprint: str) -> None:
        """Note with what the run goes on, in the list `resumed` of environment.json."""
        before = read_json(self.folder / "environment.json")
        resumed = [*before.get("resumed", []), describe_environment(data_fingerprint)]
        write_json(self.folder / "environment.json", {**before, "resumed": resumed})

    def write_summary(self, summary: dict[str, Any]) -> None:
        write_json(self.folder / "summary.json", summary)

    def seed(self, number: int) -> "SeedRecord":
        """The record of one seed, numbered from 0."""
        return SeedRecord(self.folder / f"trial_{number}")


class SeedRecord(SeedPaths):
    """Writes one seed's folder: metrics.jsonl, checkpoints and what the neurons did."""

    log: Log | None = None  # also receives each epoch's metrics

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """One line for one epoch, on disk when this returns."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.metrics_path.open("a") as file:
            file.write(json.dumps(metrics) + "\n")
            file.flush()
            os.fsync(file.fileno())
        if self.log is not None:
            self.log(metrics)

    def forget_after(self, epoch: int) -> None:
        """Drop the lines of later epochs and one that a crash cut short; raises Damaged for another unreadable one."""
        if not self.metrics_path.exists():
            return
        text = self.metrics_path.read_text()
        epochs, damaged = read_epochs(text[: text.rfind("\n") + 1])
        if damaged:
            raise Damaged(self.metrics_path, f"line {damaged[0]} is no epoch; mend or remove it")
        kept = [json.dumps(metrics) + "\n" for metrics in epochs if metrics["epoch"] <= epoch]
        write_atomically(self.metrics_path, "".join(kept))

    def save_checkpoint(self, which: str, state: dict[str, Any]) -> None:
        """Replace checkpoints/<which>.pt; tensors and plain data only."""
        checkpoints.save_tensors(self.checkpoint_path(which), {"format": checkpoints.CHECKPOINT_FORMAT, **state})

    def load_checkpoint(self, which: str, device: torch.device) -> dict[str, Any]:
        return checkpoints.load_checkpoint(self.checkpoint_path(which), device)

    def remove_checkpoint(self, which: str) -> None:
        self.checkpoint_path(which).unlink(missing_ok=True)

    def save_activity(self, when: str, activity: dict[str, Any]) -> None:
        """Replace activity_<when>.pt: what the neurons did, for figures; tensors and plain data only."""
        checkpoints.save_tensors(self.activity_path(when), activity)


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def write_atomically(path: Path, text: str) -> None:
    """The file holds the old text or the new one, never a part."""
    with checkpoints.replacing(path) as file:
        file.write(text.encode())


def without_passwords(text: str) -> str:
    """A text with *** for the passwords of its URLs, `driver://user:PASSWORD@host` and `...?password=PASSWORD`."""
    return re.sub(r"(?<=[?&]password=)[^&\s'\"]*|(?<=://)([^:/@\s]*:)\S*(?=@)", r"\1***", text)


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
    git = ["git", "-C", str(root), "status", "--porcelain=v2", "--branch"]
    try:
        first, *lines = subprocess.run(git, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return None
    dirty = any(not line.startswith("#") for line in lines)
    return first.removeprefix("# branch.oid ") + "-dirty" * dirty


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    named = re.search(r"^model name\s*:(.*)", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    return named[1].strip() if named else platform.processor()
