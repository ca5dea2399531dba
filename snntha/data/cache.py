"""Binned events on disk, in memory-mapped arrays: written once, never stale.

The folder's name is a digest of every setting that shaped the events and of the state of the source files.
"""

import fcntl
import hashlib
import json
import logging
import shutil
import zlib
from array import array
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snntha.binning import Binning, Recording, bin_events
from snntha.data.files import DataError
from snntha.plausible import Usage

log = logging.getLogger(__name__)

_FORMAT = 2  # raise it when the arrays or the binning change
_ARRAYS = ("indptr", "index", "labels", "groups")


@dataclass(frozen=True)
class Binned:
    """Events of all samples of a split, sample after sample and step after step.

    Row `sample * time_steps + t` holds `index[indptr[row] : indptr[row + 1]]`, as a row of `Events` does.
    """

    indptr: NDArray[np.int64]  # (samples * time_steps + 1,)
    index: NDArray[np.uint16]  # (events,)
    labels: NDArray[np.int64]  # (samples,)
    groups: NDArray[np.int64]  # (samples,) speaker or subject
    time_steps: int
    fingerprint: str  # of the recordings before binning, wherever and however they are stored
    usage: Usage


def load_or_build(
    cache: Path | None, settings: dict[str, Any], binning: Binning, inputs: int, read: Callable[[], Iterable[Recording]]
) -> Binned:
    """The binned events of one split, from the cache or else from `read`, which is kept for the next time.

    Args:
        cache: folder of all cached splits; None: nothing is kept.
        settings: what shaped the events and is plain data; goes into the key with `binning` and `inputs`.
        read: gives the recordings one by one.
    """
    if cache is None:
        return _bin_all(read(), binning, inputs)
    settings = {**settings, "binning": vars(binning), "inputs": inputs, "format": _FORMAT}
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=8).hexdigest()
    folder = cache / f"{settings['dataset']}-{settings['split']}-{digest}"
    damaged = False
    try:
        if folder.exists():
            try:
                return _open(folder)
            except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
                log.warning("rebuilding the damaged cache %s: %s", folder, error)
                damaged = True
        cache.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(cache, folder.name)
        with TemporaryDirectory(prefix=f".{folder.name}-", dir=cache) as temporary, _held(Path(temporary, "lock")):
            if damaged:
                folder.rename(Path(temporary, "damaged"))
            log.info("binning %s %s into %s", settings["dataset"], settings["split"], folder)
            return _publish(_bin_all(read(), binning, inputs), settings, Path(temporary, "whole"), folder)
    except OSError as error:  # a reader has its own error for what it cannot read
        reason = error.strerror or error
        raise DataError(
            f"dataset.cache={cache}: cannot write there ({reason}); set dataset.cache to a writable folder"
        ) from None


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Says to other processes that this one lives, where the file system has locks."""
    with lock.open("w") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_SH)
        yield


def _remove_abandoned(cache: Path, name: str) -> None:
    """Remove what builders of this split left half made: those that were killed hold no lock any more."""
    for lock in cache.glob(f".{name}-*/lock"):
        with suppress(OSError), lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent)


def _bin_all(recordings: Iterable[Recording], binning: Binning, inputs: int) -> Binned:
    assert inputs <= 2**16  # an input's index is a uint16
    counts, index, labels, groups = [np.zeros(1, np.int64)], [np.zeros(0, np.uint16)], array("q"), array("q")
    kept, steps, span_us, fires_N = array("d"), array("d"), array("d"), np.zeros(inputs, np.bool_)
    fingerprint = hashlib.blake2b(digest_size=16)
    for recording in recordings:
        count_T, index_sorted = bin_events(recording, binning, inputs)
        fires_N[index_sorted] = True
        kept.append(len(index_sorted) / max(1, len(recording.index)))
        steps.append(len(np.trim_zeros(count_T, "b")))
        span_us.append(float(np.ptp(recording.times_us)) if len(recording.times_us) else 0.0)
        counts.append(count_T)
        index.append(index_sorted.astype(np.uint16))
        labels.append(recording.label)
        groups.append(recording.group)
        for values in (recording.times_us, recording.index, np.array([recording.label, recording.group])):
            fingerprint.update(values.tobytes())
    if sum(map(len, index)) == 0:
        raise DataError(f"no recording has an event in its first {binning.duration_us / 1000:g} ms")
    usage = Usage(median(kept), median(steps), median(span_us), int(fires_N.sum()))
    return Binned(
        indptr=np.cumsum(np.concatenate(counts)),
        index=np.concatenate(index),
        labels=np.array(labels, dtype=np.int64),
        groups=np.array(groups, dtype=np.int64),
        time_steps=binning.time_steps,
        fingerprint=fingerprint.hexdigest(),
        usage=usage,
    )


def _publish(binned: Binned, settings: dict[str, Any], own: Path, folder: Path) -> Binned:
    """Write to a folder of our own, then rename it: a reader never sees half a cache, and of several builders one wins.

    The arrays stay mapped although their folder moves, or goes because another builder was first.
    """
    own.mkdir()
    for name in _ARRAYS:
        np.save(own / f"{name}.npy", getattr(binned, name))
    meta = {
        "settings": settings,
        "time_steps": binned.time_steps,
        "fingerprint": binned.fingerprint,
        "usage": asdict(binned.usage),
        "checksums": {name: zlib.crc32(getattr(binned, name).data) for name in _ARRAYS},
    }
    (own / "meta.json").write_text(json.dumps(meta, indent=2) + "\n")
    opened = _open(own)
    try:
        own.rename(folder)
    except OSError:
        if not folder.exists():
            raise
    return opened


def _open(folder: Path) -> Binned:
    """Map a cached split; raises one of several errors if it is damaged."""
    meta = json.loads((folder / "meta.json").read_text())
    arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
    for name, values in arrays.items():
        if zlib.crc32(values.data) != meta["checksums"][name]:
            raise ValueError(f"wrong checksum of {name}.npy")
    return Binned(
        **arrays, time_steps=meta["time_steps"], fingerprint=meta["fingerprint"], usage=Usage(**meta["usage"])
    )
