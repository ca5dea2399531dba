"""N-MNIST in its own layout, which is tonic's: Train/3/00017.bin, five bytes an event."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snntha.binning import Recording
from snntha.config.schema import Dataset
from snntha.data.files import Archive, DataError, FoundFiles, look_for, recordings

SIDE = 34
_OVERFLOW_ROW, _OVERFLOW_US = 240, 2**13  # an event in this row says that the clock, of 23 bits, went on by so much
_MENDELEY = "https://data.mendeley.com/public-files/datasets/468j46mzdv/files"
_ARCHIVES = {
    "train": Archive(
        "train.zip",
        f"{_MENDELEY}/39c25547-014b-4137-a934-9d29fa53c7a0/file_downloaded",
        "20959b8e626244a1b502305a9e6e2031",
        "Train",
    ),
    "test": Archive(
        "test.zip",
        f"{_MENDELEY}/05a4d654-7e03-4c15-bdfa-9bb2bcbea494/file_downloaded",
        "69ca8762b2fe404d9b9bad1103e97832",
        "Test",
    ),
}
TIME_UNIT = "microseconds"


def find(dataset: Dataset) -> FoundFiles:
    """Look for the two folders of recordings without reading them."""
    names = {part: [archive.unpacked] for part, archive in _ARCHIVES.items()}
    by_hand = "unpack into {folder} {archives}"
    return look_for(dataset, ["NMNIST"], names, "recordings in {}/", by_hand, _ARCHIVES)


def read(files: FoundFiles, split: Literal["train", "test"], dataset: Dataset) -> Iterator[Recording]:
    """All recordings of a set, in the order of `recordings`, checked.

    Raises:
        DataError: a file is cut, empty, in no folder of a digit, or has events outside the sensor.
    """
    shape = list(dataset.input_shape)
    if shape != [2, SIDE, SIDE]:
        raise DataError(f"dataset.input_shape={shape}; N-MNIST has [2, {SIDE}, {SIDE}]")
    for path in recordings(files.paths[split], ".bin"):
        if not (path.parent.name.isdecimal() and len(path.parent.name) == 1):
            raise files.stray(path, "like 3/00017.bin (digit, number)")
        try:
            content = np.fromfile(path, np.uint8)
        except OSError as error:
            raise files.unreadable(path, "a file of events", error) from None
        if len(content) % 5 or not len(content):
            raise files.damaged(path, "events of five bytes", f"{len(content)} bytes")
        x, y, polarity, times_us = unpack(content)
        if max(x.max(initial=0), y.max(initial=0)) >= SIDE:
            found = f"up to ({x.max(initial=0)}, {y.max(initial=0)})"
            raise files.damaged(path, f"pixels below ({SIDE}, {SIDE})", found)
        yield Recording(times_us, (y * SIDE + x) * 2 + polarity, int(path.parent.name), 0)


def unpack(content: NDArray[np.uint8]) -> tuple[NDArray[np.int64], ...]:
    """Columns, rows, polarities and microseconds of the events: x, y, then the polarity's bit and 23 of time."""
    x, y, first, second, third = content.reshape(-1, 5).astype(np.int64).T
    times_us = ((first & 0x7F) << 16) | (second << 8) | third
    overflow = y == _OVERFLOW_ROW
    times_us += _OVERFLOW_US * np.cumsum(overflow)
    return x[~overflow], y[~overflow], first[~overflow] >> 7, times_us[~overflow]
