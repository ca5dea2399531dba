"""What the readers of files share: looking for them, the messages when they are not there, and their state on disk.

Nothing here imports torch, so that `snntha data` starts quickly.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from snntha.config.schema import Dataset
from snntha.errors import UserError

_LISTED_NAMES = 6  # of a folder that lacks the file sought
_SAMPLED_BYTES = 1 << 16  # at each end of a file, for its fingerprint


class DataError(UserError):
    """A data set is missing, damaged or not what the configuration says."""


@dataclass(frozen=True)
class Archive:
    """A packed file, or folder of recordings, as its publisher offers it."""

    name: str
    url: str
    md5: str
    folder: str = ""  # what it unpacks to, if not called as it is

    @property
    def unpacked(self) -> str:
        return self.folder or self.name.removesuffix(".zip").removesuffix(".tar.gz")

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
    archives: Mapping[str, Archive] = field(default_factory=dict)  # by role, where it is packed

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
            f"there instead: {_describe_folder(there)}\n"
            f"to get it: {self.remedy}"
        )

    def fetch_missing(self) -> None:
        """Let tonic download and unpack what is absent into the usual folder, also where an archive has another md5."""
        from tonic.download_utils import download_and_extract_archive

        for archive in map(self.archives.__getitem__, self.problems):
            download_and_extract_archive(archive.url, str(self.looked_in[0]), filename=archive.name, md5=archive.md5)

    def unreadable(self, path: Path, expected: str, error: Exception) -> DataError:
        """The error for a file that could not be read: held by another program, not to be read here, or damaged."""
        if isinstance(error, BlockingIOError):
            remedy = "another program holds it open: close that program, or copy the file and read the copy"
        elif isinstance(error, OSError) and error.errno is not None:
            remedy = "mend its permissions or the disk; nothing says that the file is damaged"
        else:
            return self.damaged(path, expected, str(error))
        return DataError(f"dataset={self.name}: {path} cannot be read ({error}): {remedy}")

    def stray(self, path: Path, expected: str) -> DataError:
        """The error for a file that is none of the data set's."""
        return DataError(f"dataset={self.name}: {path} is none of its files, which are {expected}: move it away")

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
    names: Mapping[str, Sequence[str]],
    shown: str = "{}",
    by_hand: str = "unpack into {folder} {archives}",
    archives: Mapping[str, Archive] | None = None,
    signatures: tuple[bytes, ...] = (),
) -> FoundFiles:
    """Look for the files of a data set without reading them.

    Args:
        below: folders below dataset.root where they may lie, the usual place first; dataset.root itself comes last.
        names: for each role, of its file or its folder of recordings, one of which shall be there.
        shown: how the first of the names stands in a message.
        by_hand: how to get them without `dataset.download=true`, with {folder} for the usual place.
        archives: for each role, what it is unpacked from.
        signatures: of which each file begins with one; empty where a role is a folder.
    """
    archives = archives or {}
    root = Path(dataset.root).expanduser().absolute()
    folders = (*(root / name for name in below), root)
    found = [{role: path for role in names if (path := _locate(folder, names[role])) is not None} for folder in folders]
    paths = max(found, key=len)  # the first folder that holds all, or else most
    problems: dict[str, str] = {}
    for role in names:
        if role not in paths:
            problems[role] = f"no {shown.format(names[role][0])}"
            packed = [folder / archives[role].name for folder in folders if role in archives]
            there = [path for path in packed if path.is_file()]
            problems[role] += "".join(f"; {path} is not unpacked ({path.stat().st_size} bytes)" for path in there)
        elif signatures and (problem := _file_problem(paths[role], signatures)) is not None:
            problems[role] = problem
    by_hand = by_hand.format(folder=folders[0], archives=" and ".join(map(str, archives.values())))
    remedy = f"snntha train dataset={dataset.name} dataset.download=true, or {by_hand}"
    return FoundFiles(dataset.name, folders, paths, problems, remedy, archives)


def _locate(folder: Path, names: Iterable[str]) -> Path | None:
    """The first of the names that is there with something in it; an empty file only if there is no other."""
    paths = [path for name in names if (path := folder / name).is_file() or recordings(path)]
    return max(paths, key=lambda path: path.stat().st_size > 0, default=None)


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


def _describe_folder(folder: Path) -> str:
    """The first names in a folder, or that it does not exist."""
    if not folder.is_dir():
        return f"nothing, there is no folder {folder}"
    names = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir() if not entry.name.startswith("."))
    if not names:
        return "nothing, the folder is empty"
    more = f" and {len(names) - _LISTED_NAMES} more" if len(names) > _LISTED_NAMES else ""
    return ", ".join(names[:_LISTED_NAMES]) + more


def recordings(path: Path, suffixes: tuple[str, ...] | str = (".npy", ".bin")) -> list[Path]:
    """A file that holds them all, or those in a folder, sorted by path: the same order on every machine.

    Hidden files, which some systems write beside others (`._0.npy`), and hidden folders are none.
    """
    if path.is_file():
        return [path]
    found = [file for file in path.glob("*/*") if file.name.endswith(suffixes)]
    shown = [file for file in found if not file.name.startswith(".") and file.parent.name[0] != "."]
    return sorted(shown, key=lambda path: path.as_posix())


def file_state(path: Path) -> str:
    """A digest that changes when a recording is added, removed, renamed or edited, without reading all of each.

    Covers each path relative to the folder around `path`, size, time of modification, and the first and last 64 KiB.
    """
    digest = hashlib.blake2b(digest_size=16)
    for source in recordings(path):
        status = source.stat()
        name = source.relative_to(path.parent).as_posix()
        digest.update(f"{name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
        with source.open("rb") as file:
            digest.update(file.read(_SAMPLED_BYTES))
            file.seek(max(0, status.st_size - _SAMPLED_BYTES))
            digest.update(file.read(_SAMPLED_BYTES))
    return digest.hexdigest()
