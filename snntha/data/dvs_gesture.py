"""DVS128 Gesture in tonic's layout: ibmGestureTrain/user01_fluorescent/3.npy, events in rows of x, y, p, t."""

import re
from collections.abc import Iterator
from tokenize import TokenError
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snntha.binning import Recording, microseconds
from snntha.config.schema import Dataset
from snntha.data.files import Archive, DataError, FoundFiles, look_for, recordings
from snntha.plausible import UNITS_US, are_whole, is_padded, other_unit

_SENSOR_SIDE = 128
_FIGSHARE = "https://api.figshare.com/v2/file/download"  # its pages, figshare.com/ndownloader, answer a browser alone
_ARCHIVES = {  # of the recordings already cut into one gesture each
    "train": Archive("ibmGestureTrain.tar.gz", f"{_FIGSHARE}/38022171", "3a8f0d4120a166bac7591f77409cb105"),
    "test": Archive("ibmGestureTest.tar.gz", f"{_FIGSHARE}/38020584", "56070e45dadaa85fff82e0fbfbc06de5"),
}
TIME_UNIT = "milliseconds"
_LONGEST_MS = 600_000  # beyond it, times are not milliseconds
_PATH = re.compile(r"user(?P<user>\d{1,9})_\w+/(?P<label>\d{1,9})\.npy")


def find(dataset: Dataset) -> FoundFiles:
    """Look for the two folders of recordings without reading them."""
    names = {split: [archive.unpacked] for split, archive in _ARCHIVES.items()}
    by_hand = (
        "if the host insists on a browser, unpack into {folder} {archives} "
        "(cut from the recordings of https://research.ibm.com/interactive/dvsgesture/)"
    )
    return look_for(dataset, ["DVSGesture"], names, "recordings in {}/", by_hand, _ARCHIVES)


def read(files: FoundFiles, split: Literal["train", "test"], dataset: Dataset) -> Iterator[Recording]:
    """All recordings of a split in the order of `recordings`, checked, summed down to dataset.input_shape.

    Raises:
        DataError: a file is cut, no array of events, out of the sensor's range, or not named by user and class.
    """
    pixel = _pixel_side(dataset)
    width = _SENSOR_SIDE // pixel
    for path in recordings(files.paths[split], ".npy"):
        match = _PATH.fullmatch(path.relative_to(files.paths[split]).as_posix())
        if match is None:
            raise files.stray(path, "like user01_fluorescent/3.npy (user, lighting, class)")
        try:
            with path.open("rb") as file:
                events = np.lib.format.read_array(file, allow_pickle=False)
        except (ValueError, EOFError, OSError, MemoryError, TokenError) as error:
            raise files.unreadable(path, "a complete .npy file of numbers", error) from None
        problem = _problem(events)
        if problem is not None:
            raise files.damaged(path, *problem)
        x, y, polarity = (events[:, column].astype(np.int64) for column in range(3))
        index = (y // pixel * width + x // pixel) * 2 + polarity
        yield Recording(microseconds(events[:, 3], UNITS_US[TIME_UNIT]), index, int(match["label"]), int(match["user"]))


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
            hint = other_unit(float(high[3]) - float(low[3]), TIME_UNIT) if column == 3 else ""
            return f"{name} of 0 to {limit}", f"{low[column]} to {high[column]}{hint}"
    if not are_whole(events[:, :3]):
        return "x, y and p that are whole numbers", f"{events.dtype} with fractions"
    if is_padded(events[:, 3], (events[:, :3] == 0).all(1)):
        return "no padding, which would be spikes of pixel 0", "rows of zeros at the end or the beginning"
    return None
