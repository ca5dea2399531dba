"""Data that describe themselves: samples with labels from a folder, a library or a user's class, and what they are.

`folder` and `library` make an `Offer` of them. What a configuration leaves open follows from it (`describe`), and its
samples are read as `snntha predict` reads the same files.
"""

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from snntha.binning import Recording
from snntha.config.schema import Dataset
from snntha.data.encoding import encoding
from snntha.data.files import DataError
from snntha.data.idx import Images
from snntha.data.stratified import Strata, complement, stratified_sample
from snntha.errors import UserError
from snntha.runtime.inputs import grey, to_events, to_images
from snntha.runtime.network import Encoding

_TEST_SHARE, _SPLIT_SEED = 0.2, 0  # where no test set is offered; the same in every run so that runs compare
_SIDE = 48  # of a sensor; pixels of a larger one are summed
_LOOKED_AT = 200  # recordings whose duration says how long a time step shall be
_INPUTS = 2**16


class Samples(Protocol):
    """One set: (sample, label) by position, as a data set of PyTorch."""

    def __len__(self) -> int: ...

    def __getitem__(self, position: int, /) -> tuple[Any, Any]: ...


@dataclass(frozen=True)
class Offer:
    """Both sets, and what their owner says of them."""

    train: Samples
    test: Samples | None  # None: a fifth of the training set, by class
    classes: tuple[str, ...]  # names in the order of the labels; empty: labels are numbers from 0
    sensor: tuple[int, ...] | None = None  # columns, rows and polarities of an event sensor, or channels; None: unknown
    unit_us: int = 1  # of the times in plain arrays of events
    state: str | None = None  # digest of the files; None: unknown, so nothing read is kept


@dataclass(frozen=True)
class Part:
    """One set after the split: positions in an offer's samples, and their labels as numbers."""

    samples: Samples
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]


def split(offer: Offer, dataset: Dataset) -> tuple[Part, Part]:
    """Training and test set; labels by their names where those are texts."""
    names = {name: number for number, name in enumerate(offer.classes)}
    train_B = _labels(offer.train, names, dataset)
    if offer.test is not None:
        test_B = _labels(offer.test, names, dataset)
        return Part(offer.train, np.arange(len(train_B)), train_B), Part(offer.test, np.arange(len(test_B)), test_B)
    rng = np.random.default_rng(_SPLIT_SEED)
    test = stratified_sample(Strata(train_B), round(_TEST_SHARE * len(train_B)), rng)
    kept = complement(test, len(train_B))
    return Part(offer.train, kept, train_B[kept]), Part(offer.train, test, train_B[test])


def _labels(samples: Samples, names: dict[str, int], dataset: Dataset) -> NDArray[np.int64]:
    given = getattr(samples, "targets", None)  # of most of PyTorch's data sets, which spares reading every sample
    if given is None or len(given) != len(samples):
        given = [samples[position][1] for position in range(len(samples))]
    if not len(given):
        raise DataError(f"dataset={dataset.name}: no samples")
    return np.array([_number(label, names, dataset) for label in given], np.int64)


def _number(label: Any, names: dict[str, int], dataset: Dataset) -> int:
    text = label.decode() if isinstance(label, bytes) else label
    try:
        return names[text] if isinstance(text, str) and text in names else int(text)
    except (TypeError, ValueError):
        known = ", ".join(list(names)[:8]) or "whole numbers from 0"
        raise DataError(f"dataset={dataset.name}: the label {label!r}; expected {known}") from None


def describe(offer: Offer, dataset: Dataset) -> dict[str, Any]:
    """What the configuration leaves open, as changes of `dataset`: kind, shape, classes, time step."""
    train, test = split(offer, dataset)
    first = offer.train[0][0]
    found: dict[str, Any] = {"kind": dataset.kind or ("events" if _is_events(first, offer) else "images")}
    if not dataset.classes:
        found["classes"] = len(offer.classes) or int(max(train.labels.max(), test.labels.max())) + 1
    if not dataset.class_names:
        found["class_names"] = list(offer.classes)
    if found["kind"] == "images":
        return found if dataset.input_shape else {**found, "input_shape": list(_picture_shape(first))}
    return {**found, **_describe_events(offer, dataset)}


def _is_events(value: Any, offer: Offer) -> bool:
    """Of pixels or channels, or structured, or rows of (time, channel) or (x, y, polarity, time); else a picture."""
    shape = np.shape(value)
    named = getattr(getattr(value, "dtype", None), "names", None)
    return offer.sensor is not None or named is not None or (len(shape) == 2 and shape[1] in (2, 4))


def _picture_shape(value: Any) -> tuple[int, ...]:
    if hasattr(value, "getbands"):  # Pillow's
        return (1 if value.mode in ("1", "L", "I", "I;16", "F") else 3, value.height, value.width)
    return channels_first(np.asarray(value)).shape


def channels_first(values: NDArray) -> NDArray:
    """(C, H, W) of (H, W), (C, H, W) or, where the last axis has one or three values, (H, W, C)."""
    if values.ndim == 1:
        return values[None, None]
    if values.ndim == 3 and values.shape[2] in (1, 3) and values.shape[0] not in (1, 3):
        return values.transpose(2, 0, 1)
    return values[None] if values.ndim == 2 else values


def _describe_events(offer: Offer, dataset: Dataset) -> dict[str, Any]:
    unit_us = dataset.unit_us or offer.unit_us
    found: dict[str, Any] = {"unit_us": unit_us}
    if dataset.bin_ms is None:
        values = (np.asarray(offer.train[position][0]) for position in range(min(len(offer.train), _LOOKED_AT)))
        spans = [float(np.ptp(t)) * us for t, us in map(lambda v: _times(v, unit_us), values) if len(t)]
        if not spans or not (longest := median(spans)):
            raise DataError(f"dataset={dataset.name}: the recordings last no time; give dataset.bin_ms")
        found["bin_ms"] = math.ceil(1.05 * longest / dataset.time_steps) / 1000
    if dataset.input_shape:
        pixels = len(dataset.input_shape) == 3
        columns = offer.sensor[0] if offer.sensor and pixels else 0
        return {**found, "sensor": dataset.sensor or columns or (dataset.input_shape[-1] if pixels else 0)}
    sensor = offer.sensor or _largest(offer)
    if len(sensor) == 1 or sensor[1] == 1:
        return {**found, "input_shape": [sensor[0]], "sensor": 0}
    pixel = -(-max(sensor[:2]) // _SIDE)
    return {**found, "input_shape": [2, -(-sensor[1] // pixel), -(-sensor[0] // pixel)], "sensor": sensor[0]}


def _times(values: NDArray, unit_us: int) -> tuple[NDArray, int]:
    """Times of a recording, and the microseconds of their unit."""
    if values.dtype.names:
        return values["t"], 1
    return values[:, 0 if values.shape[1] == 2 else 3], unit_us


def _largest(offer: Offer) -> tuple[int, ...]:
    """How many channels, or columns and rows, fired in any recording: what a sensor that nobody named has at least."""
    highest: dict[str, int] = {"x": 0}
    for samples in filter(None, (offer.train, offer.test)):
        for position in range(len(samples)):
            values = np.asarray(samples[position][0])
            columns = values.dtype.names or (("t", "x") if values.shape[1] == 2 else ("x", "y", "p", "t"))
            for name in {"x", "y"} & set(columns):
                part = values[name] if values.dtype.names else values[:, columns.index(name)]
                highest[name] = max(highest.get(name, 0), int(part.max(initial=0)))
    return tuple(highest[name] + 1 for name in ("x", "y") if name in highest)


def read_images(offer: Offer, dataset: Dataset) -> tuple[Images, Images]:
    """Training and test pictures, uint8 (B, C, H, W)."""
    wanted = encoding(dataset)

    def read(part: Part) -> Images:
        pictures = np.empty((len(part.positions), *wanted.shape), np.uint8)
        for place, position in enumerate(part.positions):
            pictures[place] = _picture(
                part.samples[int(position)][0], f"dataset={dataset.name}: sample {position}", wanted
            )
        return Images(pictures, part.labels, wanted.white)

    train, test = split(offer, dataset)
    return read(train), read(test)


def _picture(value: Any, where: str, wanted: Encoding) -> NDArray[np.uint8]:
    """Grey values 0 to 255, (C, H, W), of a picture or an array."""
    values = grey(value, wanted) if hasattr(value, "getbands") else channels_first(np.asarray(value))[None]
    if values.shape[1:] != wanted.shape:
        raise DataError(
            f"{where} has shape {values.shape[1:]}, others {wanted.shape}: dataset.resize=true scales picture files to "
            f"dataset.input_shape"
        )
    (sample,) = to_images(where, 255 * values.astype(np.uint8) if values.dtype == bool else values, wanted)
    return sample.values


def recordings(part: Part, dataset: Dataset) -> Iterator[Recording]:
    """The events of one set; raises DataError where one does not fit the shape."""
    wanted = encoding(dataset)
    if wanted.inputs > _INPUTS:
        raise DataError(f"dataset.input_shape={list(wanted.shape)}: more than {_INPUTS} inputs; sum pixels to fewer")
    for position, label in zip(part.positions, part.labels, strict=True):
        values = np.asarray(part.samples[int(position)][0])
        try:
            times_us, index = to_events(f"sample {position}", values, wanted, check_window=False)
        except UserError as error:
            raise DataError(f"dataset={dataset.name}: {error}") from None
        yield Recording(times_us, index, int(label), 0)


def digest(root: Path) -> str:
    """Changes when a file in a folder is added, removed, renamed or edited; file by file as `files.file_state`."""
    state = hashlib.blake2b(digest_size=16)
    for path in sorted([root] if root.is_file() else root.rglob("*")):
        if path.is_file():
            status = path.stat()
            state.update(f"{path.relative_to(root.parent)}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return state.hexdigest()
