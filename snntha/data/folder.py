"""One's own files: a folder of class folders with pictures or event recordings, or one .npz.

root/train/cat/1.png  root/test/cat/7.png      or  root/cat/1.png: a fifth becomes the test set, by class
root.npz with x_train, y_train, x_test, y_test (Keras), train_images, train_labels, ... (MedMNIST), or x and y
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snntha.config.schema import Dataset
from snntha.data.files import DataError
from snntha.data.offers import Offer, Samples, digest
from snntha.errors import UserError
from snntha.runtime.inputs import decode, hdf5_recordings

_ARRAYS = (  # of an .npz: training pictures and labels, test pictures and labels
    ("x_train", "y_train", "x_test", "y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x", "y"),
)
_SUFFIXES = (".png", ".jpg", ".jpeg", ".npy", ".h5")
_SECONDS_US = 1_000_000  # .h5 files, in the layout of SHD


@dataclass(frozen=True)
class Files:
    """Files with the class that each one's folder names."""

    paths: list[Path]
    targets: list[int]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, position: int, /) -> tuple[Any, int]:
        return _read(self.paths[position]), self.targets[position]


@dataclass(frozen=True)
class Arrays:
    """Pictures and labels of an .npz."""

    pictures: np.ndarray
    targets: np.ndarray

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, position: int, /) -> tuple[np.ndarray, int]:
        return self.pictures[position], int(self.targets[position])


def look(dataset: Dataset) -> Offer:
    """What lies in `dataset.root`; raises DataError with what was expected there."""
    root = Path(dataset.root).expanduser().absolute()
    archives = [root] if root.is_file() else sorted(root.glob("*.npz"))
    if len(archives) == 1 and archives[0].suffix == ".npz":
        return _archive(archives[0])
    parts = {part: root / part for part in ("train", "test") if (root / part).is_dir()}
    if len(parts) == 1:
        raise DataError(f"dataset.root={root} has {next(iter(parts))}/ alone; expected train/ and test/, or neither")
    sets = [_files(folder) for folder in parts.values() or [root]]
    names = sorted(set().union(*sets))
    if len(names) < 2:
        found = f"the class {names[0]!r} alone" if names else "no class folder with such files"
        raise DataError(
            f"dataset.root={root}: {found}; expected a folder for each class (in train/ and test/, or not) with "
            f"{', '.join(_SUFFIXES)} files, or one .npz with {', '.join(_ARRAYS[0])}"
        )
    numbers = {name: number for number, name in enumerate(names)}
    samples = [
        Files([path for paths in of_set.values() for path in paths], [numbers[n] for n in of_set for _ in of_set[n]])
        for of_set in sets
    ]
    kinds = {path.suffix.lower() for files in samples for path in files.paths}
    if len(kinds & {".npy", ".h5"}) and len(kinds) > 1:
        raise DataError(f"dataset.root={root} holds {', '.join(sorted(kinds))} files: expected one kind")
    unit_us = _SECONDS_US if ".h5" in kinds else 1
    test = samples[1] if len(samples) > 1 else None
    return Offer(samples[0], test, tuple(names), unit_us=unit_us, state=digest(root))


def _files(folder: Path) -> dict[str, list[Path]]:
    """The files of each class folder, sorted; hidden ones are none."""
    found = {}
    for path in sorted(folder.glob("*/**/*")):
        inside = path.relative_to(folder)
        if path.suffix.lower() in _SUFFIXES and not any(name.startswith(".") for name in inside.parts):
            found.setdefault(inside.parts[0], []).append(path)
    return found


def _read(path: Path) -> Any:
    """A picture, or the events of one recording."""
    try:
        if path.suffix.lower() == ".npy":
            return np.load(path, allow_pickle=False)
        if path.suffix.lower() == ".h5":
            return _recording(path)
        return decode(path.read_bytes())
    except (OSError, ValueError, EOFError, KeyError, SyntaxError) as error:
        if isinstance(error, UserError):
            raise
        raise DataError(f"dataset=folder: {path} is damaged, or another kind of file: {error}") from error


def _recording(path: Path) -> np.ndarray:
    """(events, 2), seconds and channel: spikes/times and spikes/units as in SHD, of one recording."""
    recordings = hdf5_recordings(path.read_bytes())
    if len(recordings) != 1:
        raise ValueError(f"{len(recordings)} recordings; expected one")
    return recordings[0]


def _archive(path: Path) -> Offer:
    try:
        with np.load(path, allow_pickle=False) as file:
            names = next((names for names in _ARRAYS if set(names) <= set(file.files)), None)
            if names is None:
                expected = " or ".join(", ".join(names) for names in _ARRAYS)
                raise DataError(f"dataset.root={path} holds {', '.join(file.files)}; expected {expected}")
            arrays = [file[name] for name in names]
            classes = [str(name) for name in file["classes"]] if "classes" in file.files else []
    except (OSError, ValueError, EOFError) as error:
        if isinstance(error, UserError):
            raise
        raise DataError(f"dataset.root={path} is damaged, or no .npz of plain arrays: {error}") from error
    sets: list[Samples] = []
    for pictures, labels in zip(arrays[::2], arrays[1::2], strict=True):
        if pictures.ndim < 2 or labels.size != len(pictures) or not len(pictures):
            raise DataError(f"dataset.root={path}: pictures of shape {pictures.shape}, labels of shape {labels.shape}")
        sets.append(Arrays(pictures, labels.ravel()))
    return Offer(sets[0], sets[1] if len(sets) > 1 else None, tuple(classes), state=digest(path))
