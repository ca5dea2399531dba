"""DVS128 Gesture in tonic's layout: ibmGestureTrain/user01_fluorescent/3.npy, events in rows of x, y, p, t."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snntha.config.schema import Dataset
from snntha.data.binning import Recording, microseconds
from snntha.data.files import Archive, DataError, FoundFiles, look_for

_SENSOR_SIDE = 128
_FOLDERS = {"train": "ibmGestureTrain", "test": "ibmGestureTest"}
_ARCHIVES = {  # of the recordings already cut into one gesture each
    "train": Archive(
        "ibmGestureTrain.tar.gz", "https://figshare.com/ndownloader/files/38022171", "3a8f0d4120a166bac7591f77409cb105"
    ),
    "test": Archive(
        "ibmGestureTest.tar.gz", "https://figshare.com/ndownloader/files/38020584", "56070e45dadaa85fff82e0fbfbc06de5"
    ),
}
_LONGEST_MS = 600_000  # beyond it, times are not milliseconds
_PATH = re.compile(r"user(?P<user>\d+)_\w+/(?P<label>\d+)\.npy")


def find(dataset: Dataset) -> FoundFiles:
    """Look for the two folders of recordings without reading them; an archive beside an absent folder is named."""
    absent = {role: f"recordings in {folder}/" for role, folder in _FOLDERS.items()}
    by_hand = (
        f"; if the host insists on a browser, unpack into {{folder}} {' and '.join(map(str, _ARCHIVES.values()))} "
        f"(cut from the recordings of https://research.ibm.com/interactive/dvsgesture/)"
    )
    files = look_for(dataset, ["DVSGesture"], absent, _locate, by_hand)
    problems = dict(files.problems)
    for role in problems:
        packed = [path for folder in files.looked_in if (path := folder / _ARCHIVES[role].name).is_file()]
        problems[role] += "".join(f"; {path} is not unpacked ({path.stat().st_size} bytes)" for path in packed)
    return replace(files, problems=problems)


def download(files: FoundFiles) -> None:
    """Fetch and unpack what is absent into `dataset.root`/DVSGesture."""
    files.fetch_missing(_ARCHIVES)


def sources(files: FoundFiles, split: Literal["train", "test"]) -> list[Path]:
    """The recordings of a split, sorted by path, so that their order is the same on every machine."""
    return sorted(files.paths[split].glob("*/*.npy"), key=lambda path: path.as_posix())


def read(files: FoundFiles, split: Literal["train", "test"], dataset: Dataset) -> Iterator[Recording]:
    """All recordings of a split in the order of `sources`, checked, summed down to dataset.input_shape.

    Raises:
        DataError: a file is cut, no array of events, out of the sensor's range, or not named by user and class.
    """
    pixel = _pixel_side(dataset)
    width = _SENSOR_SIDE // pixel
    for path in sources(files, split):
        match = _PATH.fullmatch(path.relative_to(files.paths[split]).as_posix())
        if match is None:
            raise files.damaged(path, "a path like user01_fluorescent/3.npy (user, lighting, class)", path.name)
        try:
            with path.open("rb") as file:
                events = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, OSError) as error:
            raise files.damaged(path, "a complete .npy file of numbers", str(error)) from None
        problem = _problem(events)
        if problem is not None:
            raise files.damaged(path, *problem)
        x, y, polarity = (events[:, column].astype(np.int64) for column in range(3))
        yield Recording(
            times_us=microseconds(events[:, 3], 1000),
            index=(y // pixel * width + x // pixel) * 2 + polarity,
            label=int(match["label"]),
            group=int(match["user"]),
        )


def _locate(folder: Path, role: str) -> Path | None:
    recordings = folder / _FOLDERS[role]
    return recordings if any(recordings.glob("*/*.npy")) else None


def _pixel_side(dataset: Dataset) -> int:
    """How many sensor pixels, along each axis, one input sums."""
    shape = list(dataset.input_shape)
    side = _SENSOR_SIDE // shape[-1] if shape[-1] else 0
    if shape != [2, shape[-1], shape[-1]] or shape[-1] * side != _SENSOR_SIDE:
        raise DataError(f"dataset.input_shape={shape}; expected [2, S, S] with S a divisor of {_SENSOR_SIDE}")
    return side


def _problem(events: NDArray[np.number]) -> tuple[str, str] | None:
    """What was expected of a recording and what was found instead, or None."""
    if events.ndim != 2 or events.shape[1] != 4 or len(events) == 0 or events.dtype.kind not in "iuf":
        return "numbers of shape (events, 4): x, y, p, t", f"{events.dtype} of shape {events.shape}"
    low, high = events.min(0), events.max(0)
    limits = (("x", _SENSOR_SIDE - 1), ("y", _SENSOR_SIDE - 1), ("p", 1), ("t in ms", _LONGEST_MS))
    for column, (name, limit) in enumerate(limits):
        if not (low[column] >= 0 and high[column] <= limit):  # also where a value is NaN
            return f"{name} of 0 to {limit}", f"{low[column]} to {high[column]}"
    return None
