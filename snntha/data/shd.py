"""Spiking Heidelberg Digits and Speech Commands: HDF5 files of spike times in float16 seconds and channels 0..699."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snntha.binning import Recording, microseconds
from snntha.config.schema import Dataset
from snntha.data.files import Archive, DataError, FoundFiles, look_for
from snntha.hdf5 import read_twice
from snntha.plausible import UNITS_US, are_whole, is_padded, other_unit

_ZENKELAB = "https://zenkelab.org/datasets"
_MD5 = {
    "shd": {"train": "f3252aeb598ac776c1b526422d90eecb", "test": "1503a5064faa34311c398fb0a1ed0a6f"},
    "ssc": {"train": "d102be95e7144fcc0553d1f45ba94170", "test": "a35ff1e9cffdd02a20eb850c17c37748"},
}
_CHANNELS = 700
TIME_UNIT = "seconds"
_LONGEST_S = 100.0  # beyond it, times are not seconds


def find(dataset: Dataset) -> FoundFiles:
    """Look for shd_train.h5 and shd_test.h5, or those of ssc, without reading them."""
    archives = {}
    for part, md5 in _MD5[dataset.name].items():
        name = f"{dataset.name}_{part}.h5.zip"
        archives[part] = Archive(name, f"{_ZENKELAB}/{name}", md5)
    names = {part: [archive.unpacked] for part, archive in archives.items()}
    return look_for(dataset, [dataset.name.upper()], names, archives=archives, signatures=(b"\x89HDF\r\n\x1a\n",))


def class_names(files: FoundFiles) -> list[str]:
    """What the training file calls its classes; none where it does not."""
    import h5py

    path = files.paths["train"]

    def read() -> list[str]:
        with h5py.File(path, "r") as file:
            keys: Any = file["extra/keys"]
            return [key.decode() for key in keys[()]]

    try:
        return read_twice(read, path.stat().st_size)
    except (OSError, RuntimeError, LookupError, AttributeError, TypeError, ValueError, MemoryError):
        return []  # what else is wrong, `read` says


def read(files: FoundFiles, split: Literal["train", "test"], dataset: Dataset) -> Iterator[Recording]:
    """All recordings of a split in one pass, checked.

    Raises:
        DataError: not HDF5, cut, without the data sets of SHD, or with impossible times or channels.
    """
    if list(dataset.input_shape) != [_CHANNELS]:
        raise DataError(f"dataset.input_shape={list(dataset.input_shape)}; {dataset.name.upper()} has [{_CHANNELS}]")
    path = files.paths[split]
    times, units, labels, speakers = _read_arrays(path, files)
    shapes = {"times": times, "units": units, "labels": labels, "speakers": speakers}
    lengths = {np.shape(values)[:1] for values in shapes.values()}
    if len(lengths) > 1 or () in lengths:
        found = ", ".join(f"{name} of shape {np.shape(values)}" for name, values in shapes.items())
        raise files.damaged(path, "one entry for each recording in every data set", found)
    for name, values in (("labels", labels), ("speakers", speakers)):
        if values.ndim != 1 or not are_whole(values):
            raise files.damaged(path, f"{name} that are whole numbers", f"{values.dtype} of shape {values.shape}")
    for number, (times_s, channel, label, speaker) in enumerate(zip(times, units, labels, speakers, strict=True)):
        problem = _problem(times_s, channel)
        if problem is not None:
            raise files.damaged(path, problem[0], f"{problem[1]} in recording {number}")
        times_us = microseconds(times_s, UNITS_US[TIME_UNIT])
        yield Recording(times_us, channel.astype(np.int64), int(label), int(speaker))


def _read_arrays(path: Path, files: FoundFiles) -> tuple[Any, Any, Any, Any]:
    """times and units (an array of arrays each), labels, and speakers or zeros where the file names none."""
    import h5py

    def read() -> tuple[Any, Any, Any, Any]:
        with h5py.File(path, "r") as file:
            missing = [name for name in ("spikes/times", "spikes/units", "labels") if name not in file]
            if missing:
                raise files.damaged(path, f"data sets {', '.join(missing)}", f"only {', '.join(file) or 'nothing'}")
            arrays: Any = file
            times, units, labels = (arrays[name][()] for name in ("spikes/times", "spikes/units", "labels"))
            speakers = arrays["extra/speaker"][()] if "extra/speaker" in file else np.zeros(len(labels), np.int64)
        return times, units, labels, speakers

    try:
        return read_twice(read, path.stat().st_size)
    except DataError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, MemoryError) as error:
        raise files.unreadable(path, "a complete HDF5 file", error) from None


def _problem(recorded: NDArray, channel: NDArray) -> tuple[str, str] | None:
    """What was expected of a recording and what was found instead, or None."""
    if any(np.ndim(values) != 1 or values.dtype.kind not in "iuf" for values in (recorded, channel)):
        return "a row of times and one of channels", f"{np.shape(recorded)} and {np.shape(channel)}, or no numbers"
    times_s = recorded.astype(np.float64)
    if len(times_s) != len(channel):
        return "a channel for each time", f"{len(times_s)} times, {len(channel)} channels"
    if not np.isfinite(times_s).all():
        return "finite times", f"{np.count_nonzero(~np.isfinite(times_s))} that are not"
    if times_s.min(initial=0) < 0 or times_s.max(initial=0) > _LONGEST_S:
        found = f"{times_s.min():g} to {times_s.max():g}"
        return f"times of 0 to {_LONGEST_S:g} seconds", found + other_unit(
            float(times_s.max()) - float(times_s.min()), TIME_UNIT
        )
    if not are_whole(channel):
        return "channels that are whole numbers", f"{channel.dtype} with fractions or NaN"
    if is_padded(times_s, channel == 0):
        return "no padding, which would be spikes of channel 0", "a row that was filled up with zeros"
    if channel.min(initial=0) < 0 or channel.max(initial=0) >= _CHANNELS:
        return f"channels 0 to {_CHANNELS - 1}", f"{channel.min()} to {channel.max()}"
    return None
