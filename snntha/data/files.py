"""What the readers of files share: looking for them, the messages when they are not there, and their state on disk.

Nothing here imports torch, so that `snntha data` starts quickly.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from snntha.config.schema import Dataset
from snntha.errors import UserError

_LISTED_NAMES = 6  # of a folder that lacks the file sought
_SAMPLED_BYTES = 1 << 16  # at each end of a file, for its fingerprint


class DataError(UserError):
    """A data set is missing, damaged or not what the configuration says."""


@dataclass(frozen=True)
class Archive:
    """A packed file as its publisher offers it."""

    name: str
    url: str
    md5: str

    def fetch(self, folder: Path) -> None:
        """Let tonic download and unpack it into `folder`; a file of this name with another md5 counts as absent."""
        from tonic.download_utils import download_and_extract_archive

        download_and_extract_archive(self.url, str(folder), filename=self.name, md5=self.md5)

    def __str__(self) -> str:
        return f"{self.name} from {self.url} (md5 {self.md5})"


@dataclass(frozen=True)
class FoundFiles:
    """The files of a data set: where they were looked for, and what was there."""

    name: str
    looked_in: tuple[Path, ...]  # absolute, best first; empty for data that are generated or installed
    paths: dict[str, Path]  # by role, such as "train"; only those that look right
    problems: dict[str, str]  # by role, of each file that is absent or not what it should be
    remedy: str  # how to get what is missing

    @property
    def present(self) -> bool:
        return not self.problems

    @property
    def report(self) -> str:
        """What is missing, where it was looked for, what is there instead and how to get it: four lines."""
        there = next((folder for folder in self.looked_in if folder.is_dir()), self.looked_in[-1])
        return (
            f"missing: {'; '.join(self.problems.values())}\n"
            f"looked in: {', '.join(map(str, self.looked_in))}\n"
            f"there instead: {describe_folder(there)}\n"
            f"to get it: {self.remedy}"
        )

    def require(self) -> None:
        """Raise DataError with the whole report unless all files are there."""
        if not self.present:
            raise DataError(f"dataset={self.name} is incomplete in dataset.root\n{self.report}")

    def fetch_missing(self, archives: Mapping[str, Archive]) -> None:
        """Download and unpack, by role, what is absent or of another kind into the usual folder."""
        for role in self.problems:
            archives[role].fetch(self.looked_in[0])

    def damaged(self, path: Path, expected: str, found: str) -> DataError:
        """The error for a file that is there but cut, of another kind, or holds impossible values."""
        folder = next(folder for folder in self.looked_in if folder in path.parents)
        return DataError(
            f"dataset={self.name}: {path} is damaged or another file\nexpected: {expected}\nfound: {found}\n"
            f"to mend it: replace that file, or move {folder} away and get all files anew: {self.remedy}"
        )


def look_for(
    dataset: Dataset,
    below: Sequence[str],
    absent: Mapping[str, str],
    locate: Callable[[Path, str], Path | None],
    by_hand: str,
    signatures: tuple[bytes, ...] = (),
) -> FoundFiles:
    """Look for the files of a data set without reading them.

    Args:
        below: folders below dataset.root where they may lie, the usual place first; dataset.root itself comes last.
        absent: for each role, what to say is missing where no folder has its file.
        locate: the file of a role in a folder.
        by_hand: how to get them without `dataset.download=true`, with {folder} for the usual place.
        signatures: of which each file begins with one; empty where a role is a folder.
    """
    root = Path(dataset.root).expanduser().absolute()
    folders = (*(root / name for name in below), root)
    paths = _first_complete(folders, tuple(absent), locate)
    problems = {
        role: f"no {name}" if role not in paths else _file_problem(paths[role], signatures) if signatures else None
        for role, name in absent.items()
    }
    return FoundFiles(
        name=dataset.name,
        looked_in=folders,
        paths=paths,
        problems={role: problem for role, problem in problems.items() if problem},
        remedy=f"snntha train dataset={dataset.name} dataset.download=true{by_hand.format(folder=folders[0])}",
    )


def _first_complete(
    folders: Iterable[Path], roles: Sequence[str], locate: Callable[[Path, str], Path | None]
) -> dict[str, Path]:
    """Files by role from the first folder that holds all of them, or else from the one that holds most."""
    best: dict[str, Path] = {}
    for folder in folders:
        files = {role: path for role in roles if (path := locate(folder, role)) is not None}
        if len(files) > len(best):
            best = files
    return best


def _file_problem(path: Path, signatures: tuple[bytes, ...]) -> str | None:
    """What shows at once that a file is none of its kind: no permission, no bytes, or none of the first bytes it needs.

    Interrupted downloads and error pages are so told from data without reading the rest.
    """
    if not os.access(path, os.R_OK):
        return f"{path} may not be read: change its permissions"
    with path.open("rb") as file:
        head = file.read(max(map(len, signatures)))
    if not head:
        return f"{path} is empty (0 bytes), an interrupted download: delete it"
    if not head.startswith(signatures):
        return f"{path} is another kind of file (it begins with {head!r}): delete it"
    return None


def describe_folder(folder: Path) -> str:
    """The first names in a folder, or that it does not exist."""
    if not folder.is_dir():
        return f"nothing, there is no folder {folder}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names:
        return "nothing, the folder is empty"
    more = f" and {len(names) - _LISTED_NAMES} more" if len(names) > _LISTED_NAMES else ""
    return ", ".join(names[:_LISTED_NAMES]) + more


def file_state(paths: Iterable[Path], folder: Path) -> str:
    """A digest that changes when a file is added, removed, renamed or edited, without reading all of each.

    Covers each path relative to `folder`, size, time of modification, and the first and last 64 KiB.
    """
    digest = hashlib.blake2b(digest_size=16)
    for path in paths:
        status = path.stat()
        digest.update(f"{path.relative_to(folder).as_posix()}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        with path.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(0, status.st_size - _SAMPLED_BYTES))
            digest.update(file.read(_SAMPLED_BYTES))
    return digest.hexdigest()
