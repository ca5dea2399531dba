"""What a run saves as tensors: checkpoints, and what the neurons did. All of it loads with `weights_only=True`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch

from snntha.errors import Missing, UserError
from snntha.folder import read_mapping

CHECKPOINT_FORMAT = 1
CPU = torch.device("cpu")


def load_checkpoint(path: Path, device: torch.device = CPU) -> dict[str, Any]:
    """A checkpoint of this version's format; raises Missing, Damaged, or UserError for another version's."""
    if not path.is_file():
        raise Missing(f"{path} is missing: this seed has not finished an epoch, or its search has removed it")
    state = load_tensors(path, device)
    if state.get("format") != CHECKPOINT_FORMAT:
        raise UserError(
            f"{path} has checkpoint format {state.get('format')}, this version reads {CHECKPOINT_FORMAT}; "
            f"use the version of snntha that environment.json names"
        )
    return state


def save_tensors(path: Path, content: dict[str, Any]) -> None:
    """Replace a file atomically; tensors and plain data only."""
    with replacing(path) as file:
        torch.save(content, file)


def load_tensors(path: Path, device: torch.device = CPU) -> dict[str, Any]:
    """What `save_tensors` wrote; raises Missing or Damaged."""
    return read_mapping(path, lambda path: torch.load(path, map_location=device, weights_only=True))


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the old one's place once it is written: there is the old one or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    with partial.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)
