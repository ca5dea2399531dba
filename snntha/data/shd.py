"""Spiking Heidelberg Digits: two HDF5 files of spike times in float16 seconds and channels 0..699."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snntha.config.schema import Dataset
from snntha.data.binning import Recording, microseconds
from snntha.data.source import Archive, DataError, Search, candidate_folders, file_problem, first_complete

_ARCHIVES = {
    "train": Archive(
        "shd_train.h5.zip", "https://zenkelab.org/datasets/shd_train.h5.zip", "f3252aeb598ac776c1b526422d90eecb"
    ),
    "test": Archive(
        "shd_test.h5.zip", "https://zenkelab.org/datasets/shd_test.h5.zip", "1503a5064faa34311c398fb0a1ed0a6f"
    ),
}
_SIGNATURES = (b"\x89HDF\r\n\x1a\n",)
_CHANNELS = 700
_LONGEST_S = 100.0  # beyond it, times are not seconds


def find(dataset: Dataset) -> Search:
    """Look for shd_train.h5 and shd_test.h5 without reading them."""
    folders = candidate_folders(dataset.root, "SHD")
    files = first_complete(folders, tuple(_ARCHIVES), _locate)
    problems = [file_problem(files[role], _SIGNATURES) if role in files else f"no shd_{role}.h5" for role in _ARCHIVES]
    return Search(
        name=dataset.name,
        looked_in=folders,
        files=files,
        problems=tuple(filter(None, problems)),
        remedy=f"snntha train dataset={dataset.name} dataset.download=true, "
        f"or unpack into {folders[0]} {' and '.join(map(str, _ARCHIVES.values()))}",
    )


def download(search: Search) -> None:
    """Fetch and unpack what is absent into `dataset.root`/SHD."""
    for role, archive in _ARCHIVES.items():
        if role not in search.files or file_problem(search.files[role], _SIGNATURES):
            archive.fetch(search.looked_in[0])


def sources(search: Search, split: Literal["train", "test"]) -> list[Path]:
    """The files of a split."""
    return [search.files[split]]


def read(search: Search, split: Literal["train", "test"], dataset: Dataset) -> Iterator[Recording]:
    """All recordings of a split in one pass, checked.

    Raises:
        DataError: not HDF5, cut, without the data sets of SHD, or with impossible times or channels.
    """
    if list(dataset.input_shape) != [_CHANNELS]:
        raise DataError(f"dataset.input_shape={list(dataset.input_shape)}; SHD has [{_CHANNELS}]")
    path = search.files[split]
    times, units, labels, speakers = _read_arrays(path, search)
    if not len(times) == len(units) == len(labels) == len(speakers):
        found = f"{len(times)} times, {len(units)} units, {len(labels)} labels, {len(speakers)} speakers"
        raise search.damaged(path, "one entry for each recording in every data set", found)
    for number, (times_s, channel) in enumerate(zip(times, units, strict=True)):
        problem = _problem(times_s.astype(np.float64), channel)
        if problem is not None:
            raise search.damaged(path, problem[0], f"{problem[1]} in recording {number}")
        yield Recording(
            times_us=microseconds(times_s, 1_000_000),
            index=channel.astype(np.int64),
            label=int(labels[number]),
            group=int(speakers[number]),
        )


def _locate(folder: Path, role: str) -> Path | None:
    path = folder / f"shd_{role}.h5"
    return path if path.is_file() else None


def _read_arrays(path: Path, search: Search) -> tuple[Any, Any, Any, Any]:
    """times and units (an array of arrays each), labels, and speakers or zeros where the file names none."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            missing = [name for name in ("spikes/times", "spikes/units", "labels") if name not in file]
            if missing:
                raise search.damaged(path, f"data sets {', '.join(missing)}", f"only {', '.join(file) or 'nothing'}")
            times, units, labels = (_values(file, name) for name in ("spikes/times", "spikes/units", "labels"))
            speakers = _values(file, "extra/speaker") if "extra/speaker" in file else np.zeros(len(labels), np.int64)
    except (OSError, RuntimeError, KeyError, TypeError) as error:
        raise search.damaged(path, "a complete HDF5 file", str(error)) from None
    return times, units, labels, speakers


def _values(file: Any, name: str) -> NDArray[Any]:
    return file[name][()]


def _problem(times_s: NDArray[np.float64], channel: NDArray[np.integer]) -> tuple[str, str] | None:
    """What was expected of a recording and what was found instead, or None."""
    if len(times_s) != len(channel):
        return "a channel for each time", f"{len(times_s)} times, {len(channel)} channels"
    if not np.isfinite(times_s).all():
        return "finite times", f"{np.count_nonzero(~np.isfinite(times_s))} that are not"
    if times_s.min(initial=0) < 0 or times_s.max(initial=0) > _LONGEST_S:
        return f"times of 0 to {_LONGEST_S:g} seconds", f"{times_s.min():g} to {times_s.max():g}"
    if channel.min(initial=0) < 0 or channel.max(initial=0) >= _CHANNELS:
        return f"channels 0 to {_CHANNELS - 1}", f"{channel.min()} to {channel.max()}"
    return None
