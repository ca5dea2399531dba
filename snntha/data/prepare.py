"""From a configuration to the splits of a data set: find, read, hold out, limit, check."""

import hashlib
import http.client
import math
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from snntha.binning import Binning, Recording
from snntha.config import OPEN, is_images
from snntha.config.schema import Dataset
from snntha.data import FILE_SETS, digits, idx, offer, offers, status, temporal_coding
from snntha.data.batch import Data, EventSplit, ImageSplit, Split
from snntha.data.cache import Binned, load_or_build
from snntha.data.encoding import encoding
from snntha.data.files import DataError, FoundFiles, file_state
from snntha.data.idx import Images
from snntha.data.stratified import Strata, hold_out_and_limit
from snntha.plausible import UNITS_US, Usage, suspicion

_FEW_INPUTS = 0.05  # share of the inputs that ever fire
_DOWNLOAD_ERRORS = (OSError, RuntimeError, EOFError, tarfile.TarError, zipfile.BadZipFile, http.client.HTTPException)


Part = Literal["train", "test"]
_PARTS: tuple[Part, Part] = ("train", "test")


@dataclass(frozen=True)
class _Source:
    """One set of recordings."""

    read: Callable[[], Iterable[Recording]]
    state: str | None  # digest of the files; None: unknown, so nothing is kept
    time_unit: str  # of its times, as messages say it


def prepare(dataset: Dataset, selection: str, seed: int) -> Data:
    """As `snntha.data.load`."""
    if selection not in ("validation", "test"):
        raise DataError(f"selection={selection!r}; expected 'validation' or 'test'")
    if dataset.name == "temporal_coding":
        return temporal_coding.generate(dataset, seed)
    fraction = dataset.validation_fraction if selection == "validation" else None
    if fraction is not None and not 0 < fraction < 1:
        raise DataError(f"dataset.validation_fraction={fraction}; expected more than 0, less than 1")
    test_steps = dataset.test_time_steps or dataset.time_steps
    reading = _read_images if is_images(dataset) else _read_events
    train, test, fingerprint, notes = reading(dataset, test_steps)
    _check_samples(dataset, train.labels, test.labels)
    strata = Strata(train.labels, train.groups), Strata(test.labels, test.groups)
    chosen = hold_out_and_limit(*strata, fraction, dataset.limit, seed)

    def split(source: Images | Binned, samples: NDArray[np.int64], time_steps: int) -> Split:
        if isinstance(source, Binned):
            return EventSplit(source, samples, time_steps, tuple(dataset.input_shape))
        images_BX = source.images_BHW[samples].reshape(-1, *dataset.input_shape)
        return ImageSplit(
            torch.from_numpy(images_BX), torch.from_numpy(source.labels[samples]), source.white, time_steps
        )

    return Data(
        train=split(train, chosen.train, dataset.time_steps),
        validation=None if chosen.validation is None else split(train, chosen.validation, test_steps),
        test=split(test, chosen.test, test_steps),
        fingerprint=fingerprint,
        samples=(len(train.labels), len(test.labels)),
        notes=tuple(notes),
    )


def _read_images(dataset: Dataset, _: int) -> tuple[Images, Images, str, list[str]]:
    """Training and test set, their fingerprint, and what is odd about them."""
    if dataset.name in OPEN:
        train, test = offers.read_images(offer(dataset), dataset)
    else:
        train, test = digits.read() if dataset.name == "digits" else idx.read(_find_or_download(dataset))
    shape = [1, *train.images_BHW.shape[1:]][-3:]
    if list(dataset.input_shape) != shape:
        raise DataError(f"dataset.input_shape={list(dataset.input_shape)}; {dataset.name} has {shape}")
    fingerprint = hashlib.blake2b(digest_size=16)
    for values in (train.images_BHW, train.labels, test.images_BHW, test.labels):
        fingerprint.update(values.tobytes())
    return train, test, fingerprint.hexdigest(), [*train.notes, *test.notes]


def _read_events(dataset: Dataset, test_steps: int) -> tuple[Binned, Binned, str, list[str]]:
    """Training and test set, their fingerprint, and what is odd about them."""
    if dataset.window == "first_T_ms" and test_steps != dataset.time_steps:
        raise DataError(
            f"dataset.window=first_T_ms with dataset.test_time_steps={test_steps}; this window follows from "
            f"dataset.time_steps={dataset.time_steps}: set dataset.test_time_steps=null"
        )
    sources = _offered_events(dataset) if dataset.name in OPEN else _filed_events(dataset)
    shape, notes = list(dataset.input_shape), []

    def binned(part: Part, time_steps: int) -> Binned:
        source = sources[part]
        settings = {"dataset": dataset.name, "split": part, "input_shape": shape, "source": source.state}
        binning, inputs = Binning.of(dataset, time_steps), math.prod(shape)
        cache = Path(dataset.cache).expanduser() if source.state else None
        found = load_or_build(cache, settings, binning, inputs, source.read)
        notes.extend(_suspicions(dataset, part, source.time_unit, found.usage, binning, inputs))
        return found

    # The validation samples come from the training files and may run for longer.
    train, test = binned("train", max(dataset.time_steps, test_steps)), binned("test", test_steps)
    return train, test, f"{train.fingerprint}-{test.fingerprint}", notes


def _filed_events(dataset: Dataset) -> dict[Part, _Source]:
    files, reader = _find_or_download(dataset), FILE_SETS[dataset.name]
    return {
        part: _Source(partial(reader.read, files, part, dataset), file_state(files.paths[part]), reader.TIME_UNIT)
        for part in _PARTS
    }


def _offered_events(dataset: Dataset) -> dict[Part, _Source]:
    found = offer(dataset)
    unit = next((name for name, us in UNITS_US.items() if us == dataset.unit_us), "microseconds")
    state = found.state and f"{found.state} {encoding(dataset)}"
    parts = zip(_PARTS, offers.split(found, dataset), strict=True)
    return {name: _Source(partial(offers.recordings, part, dataset), state, unit) for name, part in parts}


def _find_or_download(dataset: Dataset) -> FoundFiles:
    files = status(dataset)
    if not files.present and dataset.download:
        try:
            files.fetch_missing() if files.archives else idx.download(files)
        except _DOWNLOAD_ERRORS as error:
            raise DataError(
                f"dataset.download=true: fetching {dataset.name} failed: {error}\n{files.report}"
            ) from error
        files = status(dataset)
    if not files.present:
        raise DataError(f"dataset={dataset.name} is incomplete in dataset.root\n{files.report}")
    return files


def _check_samples(dataset: Dataset, train_B: NDArray[np.int64], test_B: NDArray[np.int64]) -> None:
    """Both sets hold samples, with classes that the network has and that training shows it."""
    for part, labels_B in (("training", train_B), ("test", test_B)):
        subject = f"dataset={dataset.name}: the {part} set"
        if len(labels_B) < 2:
            raise DataError(f"{subject} holds {len(labels_B)} samples; at least 2 are needed")
        if labels_B.min() < 0 or labels_B.max() >= dataset.classes:
            raise DataError(
                f"{subject} has classes {labels_B.min()} to {labels_B.max()}, "
                f"dataset.classes={dataset.classes} admits 0 to {dataset.classes - 1}"
            )
    if len(unseen := np.setdiff1d(test_B, train_B)):
        missing = f"classes {unseen.tolist()} of the test set are not in the training set"
        raise DataError(f"dataset={dataset.name}: {missing}")


def _suspicions(dataset: Dataset, part: str, unit: str, usage: Usage, binning: Binning, inputs: int) -> Iterator[str]:
    """What is odd about a split; `unit` is that of the file's times.

    Raises:
        DataError: the median recording is nearly lost: outside the window, or in one or a few steps.
    """
    subject = f"dataset={dataset.name}: the median recording of the {part} set"
    window = f"dataset.time_steps={binning.time_steps} of dataset.bin_ms={binning.bin_us / 1000:g}"
    remedy = "make the window as long as the recordings by dataset.bin_ms and dataset.time_steps"
    if found := suspicion(subject, unit, usage, binning, window, remedy):
        sentence, is_lost = found
        if is_lost:
            raise DataError(sentence)
        yield sentence
    if usage.inputs < _FEW_INPUTS * inputs:
        yield (
            f"dataset={dataset.name}: {usage.inputs} of {inputs} inputs ever fire in the {part} set; "
            f"are channels or pixels numbered from 0 and unscaled?"
        )
