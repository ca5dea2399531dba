"""Write the record of a run, a folder that a stranger can read. Lines are flushed, files are replaced atomically.

docs/records.md describes the files; `folder.RunFolder` reads all but tensors, which are written and read here.
"""

import fcntl
import io
import json
import logging
import math
import os
import platform
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from snntha import config as configuration
from snntha import parallel
from snntha.atomic import append_line, replacing, write_atomically
from snntha.config import Config
from snntha.errors import Damaged, UserError
from snntha.folder import RunFolder, SeedPaths, read_epochs, read_json, read_mapping
from snntha.logger import Log
from snntha.network import SpikingNetwork, load_weights
from snntha.progress import Progress

log = logging.getLogger(__name__)

_VERSIONS_OF = "snntha torch torchvision triton numpy numba tonic snntorch hydra-core omegaconf".split()
_CHECKPOINT_FORMAT = 1
_CPU = torch.device("cpu")
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
    def create(cls, config: Config, data_fingerprint: str, samples: tuple[int, int] | None = None) -> "Run":
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
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "environment.json", {**describe_environment(data_fingerprint), "samples": samples})
            run.write_config(config)  # last: with it the folder is a run's
        except OSError as error:
            raise UserError(f"output_dir={folder} cannot be written: {error.strerror}; choose another") from error
        return run

    @classmethod
    def open(cls, folder: Path, data_fingerprint: str) -> "Run":
        """An existing run's folder; raises UserError where it is none, is damaged, or was trained with other data."""
        record = RunFolder(folder)
        record.load_config()
        record.check_data(data_fingerprint)
        if not isinstance(read_json(folder / "environment.json").get("resumed", []), list):
            raise Damaged(folder / "environment.json", "resumed is no list")
        return cls(folder)

    def write_config(self, config: Config) -> None:
        write_atomically(self.folder / "config.yaml", without_passwords(configuration.to_yaml(config)))

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training in this folder meanwhile; raises FolderInUse if another one does."""
        with (self.folder / ".lock").open("w") as file:
            for last_look in (False, True):
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    if last_look:
                        message = f"{self.folder}: another process trains in it: wait for it or stop it"
                        raise FolderInUse(message) from error
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
        kind = SeedRecord if parallel.rank() == 0 else _SeedReader
        return kind(self.folder / f"trial_{number}")


class SeedRecord(SeedPaths):
    """Writes one seed's folder: metrics.jsonl, checkpoints and what the neurons did.

    It makes that folder, but not the run's around it: where that has vanished, a run ends instead of writing a torso.
    """

    log: Log | None = None  # also receives each epoch's metrics

    def append_metrics(self, metrics: dict[str, Any]) -> None:
        """One line for one epoch, on disk when this returns."""
        self.folder.mkdir(exist_ok=True)
        append_line(self.metrics_path, json.dumps(metrics))
        if self.log is not None:
            self.log.epoch(metrics)

    def forget_after(self, epoch: int) -> None:
        """Drop the lines of later epochs and what `readable_epochs` leaves out."""
        if self.metrics_path.exists():
            kept = [json.dumps(metrics) + "\n" for metrics in self.readable_epochs() if metrics["epoch"] <= epoch]
            write_atomically(self.metrics_path, "".join(kept))

    def readable_epochs(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl without those at its end that a crash or a power cut damaged.

        Raises Damaged where another line cannot be read.
        """
        lines = self.metrics_path.read_text(errors="replace").splitlines() if self.metrics_path.exists() else []
        while lines and read_epochs(lines[-1])[1]:
            log.warning("%s: line %d, the last, is damaged and left out", self.metrics_path, len(lines))
            lines.pop()
        epochs, damaged = read_epochs("\n".join(lines))
        if damaged:
            raise Damaged(self.metrics_path, f"line {damaged[0]} is no epoch; mend or remove it")
        return epochs

    def check(self, network: SpikingNetwork, optimizer: torch.optim.Optimizer) -> None:
        """Read all that going on needs, before anything is written; raises UserError where it cannot be read."""
        self.readable_epochs()
        with torch.random.fork_rng(devices=[]):
            for which, own in (("best", None), ("last", optimizer)):
                if self.checkpoint_path(which).exists():
                    self.load_checkpoint(which, network, own)

    def save_checkpoint(
        self, which: str, network: SpikingNetwork, progress: Progress, optimizer: torch.optim.Optimizer | None = None
    ) -> None:
        """Replace checkpoints/<which>.pt: weights, thresholds, early stopping and position.

        To go on from it, also optimizer and random state; the schedule follows from these.
        """
        state = {"format": _CHECKPOINT_FORMAT, "network": network.state_dict(), "progress": asdict(progress)}
        if optimizer is not None:
            state |= {"optimizer": optimizer.state_dict(), "random_state": torch.get_rng_state()}
        self._save(self.checkpoint_path(which), state)

    def load_checkpoint(
        self, which: str, network: SpikingNetwork, optimizer: torch.optim.Optimizer | None = None
    ) -> Progress:
        """Fill network (and optimizer with random state, to go on training) and return the position."""
        state, path = self.read_checkpoint(which, network.device), self.checkpoint_path(which)
        try:
            load_weights(network, state["network"], path)
            progress = Progress.restore(state["progress"])
            if optimizer is not None:
                optimizer.load_state_dict(state["optimizer"])
                torch.set_rng_state(state["random_state"].cpu())
            for thresholds in (progress.thresholds, progress.previous_thresholds):
                if len(thresholds) != len(network.specs) or not all(map(math.isfinite, thresholds)):
                    raise Damaged(path, f"its thresholds {thresholds} are not one number for each layer")
        except UserError:
            raise
        except (LookupError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise Damaged(path, f"a part is missing or of another kind ({error})") from error
        return progress

    def read_checkpoint(self, which: str, device: torch.device = _CPU) -> dict[str, Any]:
        """What `save_checkpoint` wrote; raises Missing, Damaged, or UserError if another version did."""
        path = self.checkpoint_path(which)
        state = load_tensors(path, device, ": this seed has not finished an epoch, or its search has removed it")
        if state.get("format") != _CHECKPOINT_FORMAT:
            raise UserError(
                f"{path} has checkpoint format {state.get('format')}, this version reads {_CHECKPOINT_FORMAT}; "
                f"use the version of snntha that environment.json names"
            )
        return state

    def remove_checkpoint(self, which: str) -> None:
        self.checkpoint_path(which).unlink(missing_ok=True)

    def save_activity(self, when: str, activity: dict[str, Any]) -> None:
        """Replace activity_<when>.pt: what the neurons did, for figures; tensors and plain data only."""
        self._save(self.activity_path(when), activity)

    def _save(self, path: Path, content: dict[str, Any]) -> None:
        self.folder.mkdir(exist_ok=True)
        buffer = io.BytesIO()  # torch would hide why a file cannot be written
        torch.save(content, buffer)
        with replacing(path) as file:
            file.write(buffer.getbuffer())


class _SeedReader(SeedRecord):
    """The record for another process than the first: it reads, and leaves writing to that one."""

    def append_metrics(self, metrics: dict[str, Any]) -> None: ...

    def forget_after(self, epoch: int) -> None: ...

    def _save(self, path: Path, content: dict[str, Any]) -> None: ...


def load_tensors(path: Path, device: torch.device = _CPU, why_missing: str = "") -> dict[str, Any]:
    """A file of tensors and plain data; raises Missing or Damaged."""

    def read(path: Path) -> Any:
        content = io.BytesIO(path.read_bytes())  # torch raises OSErrors also where it is damaged
        return torch.load(content, map_location=device, weights_only=True)

    return read_mapping(path, read, why_missing)


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_atomically(path, json.dumps(content, indent=2) + "\n")


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
            "processes": parallel.processes(),
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
