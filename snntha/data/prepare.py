"""From a configuration to the splits of a data set: find, read, hold out, limit, check."""

import hashlib
import http.client
import math
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from snntha.config.schema import Dataset
from snntha.data import cache, digits, idx, temporal_coding
from snntha.data.batch import Data
from snntha.data.binning import Binning
from snntha.data.files import DataError, FoundFiles, file_state
from snntha.data.idx import Images
from snntha.data.minibatches import EventSplit, ImageSplit
from snntha.data.status import FILE_SETS, status
from snntha.data.stratified import Strata, hold_out_and_limit

_DOWNLOAD_ERRORS = (OSError, RuntimeError, EOFError, tarfile.TarError, zipfile.BadZipFile, http.client.HTTPException)


def prepare(dataset: Dataset, selection: str, seed: int) -> Data:
    """As `snntha.data.load`."""
    if selection not in ("validation", "test"):
        raise DataError(f"selection={selection!r}; expected 'validation' or 'test'")
    if dataset.name == "temporal_coding":
        return temporal_coding.generate(dataset, seed)
    if selection == "validation" and not 0 < dataset.validation_fraction < 1:
        raise DataError(f"dataset.validation_fraction={dataset.validation_fraction}; expected more than 0, less than 1")
    fraction = dataset.validation_fraction if selection == "validation" else None
    if dataset.name == "digits":
        return _prepare_images(dataset, *digits.read(), digits.WHITE, fraction, seed)
    files = _find_or_download(dataset)
    if FILE_SETS[dataset.name] is idx:
        return _prepare_images(dataset, idx.read(files, "train"), idx.read(files, "test"), 255, fraction, seed)
    return _prepare_events(dataset, files, FILE_SETS[dataset.name], fraction, seed)


def _find_or_download(dataset: Dataset) -> FoundFiles:
    files = status(dataset)
    if not files.present and dataset.download:
        try:
            FILE_SETS[dataset.name].download(files)
        except _DOWNLOAD_ERRORS as error:
            raise DataError(
                f"dataset.download=true: fetching {dataset.name} failed: {error}\n{files.report}"
            ) from error
        files = status(dataset)
    files.require()
    return files


def _prepare_images(
    dataset: Dataset, train: Images, test: Images, white: int, fraction: float | None, seed: int
) -> Data:
    shape = [1, *train.images_BHW.shape[1:]]
    if list(dataset.input_shape) != shape:
        raise DataError(f"dataset.input_shape={list(dataset.input_shape)}; {dataset.name} has {shape}")
    _check_samples(dataset, train.labels_B, test.labels_B)
    chosen = hold_out_and_limit(Strata(train.labels_B), Strata(test.labels_B), fraction, dataset.limit, seed)
    fingerprint = hashlib.blake2b(digest_size=16)
    for values in (train.images_BHW, train.labels_B, test.images_BHW, test.labels_B):
        fingerprint.update(values.tobytes())

    def split(images: Images, samples: NDArray[np.int64], time_steps: int) -> ImageSplit:
        images_BX = torch.from_numpy(images.images_BHW[samples]).unsqueeze(1)
        return ImageSplit(images_BX, torch.from_numpy(images.labels_B[samples]), white, time_steps)

    test_steps = dataset.test_time_steps or dataset.time_steps
    return Data(
        train=split(train, chosen.train, dataset.time_steps),
        validation=None if chosen.validation is None else split(train, chosen.validation, test_steps),
        test=split(test, chosen.test, test_steps),
        fingerprint=fingerprint.hexdigest(),
    )


def _prepare_events(dataset: Dataset, files: FoundFiles, reader: ModuleType, fraction: float | None, seed: int) -> Data:
    test_steps = dataset.test_time_steps or dataset.time_steps
    if dataset.window == "first_T_ms" and test_steps != dataset.time_steps:
        raise DataError(
            f"dataset.window=first_T_ms with dataset.test_time_steps={test_steps}; this window follows from "
            f"dataset.time_steps={dataset.time_steps}: set dataset.test_time_steps=null"
        )
    shape = tuple(dataset.input_shape)
    inputs = math.prod(shape)
    if not 1 <= inputs <= cache.MAX_INPUTS:
        raise DataError(f"dataset.input_shape={list(shape)}; expected 1 to {cache.MAX_INPUTS} inputs")

    def binned(part: Literal["train", "test"], time_steps: int) -> cache.Binned:
        settings = {
            "dataset": dataset.name,
            "split": part,
            "input_shape": list(shape),
            "source": file_state(reader.sources(files, part), files.paths[part].parent),
        }
        binning = Binning.of(dataset, time_steps)
        folder = Path(dataset.cache).expanduser()
        return cache.load_or_build(folder, settings, binning, inputs, lambda: reader.read(files, part, dataset))

    # The validation samples come from the training files and may run for longer.
    train, test = binned("train", max(dataset.time_steps, test_steps)), binned("test", test_steps)
    _check_samples(dataset, train.labels, test.labels)
    strata = Strata(train.labels, train.groups), Strata(test.labels, test.groups)
    chosen = hold_out_and_limit(*strata, fraction, dataset.limit, seed)
    return Data(
        train=EventSplit(train, chosen.train, dataset.time_steps, shape),
        validation=None if chosen.validation is None else EventSplit(train, chosen.validation, test_steps, shape),
        test=EventSplit(test, chosen.test, test_steps, shape),
        fingerprint=f"{train.fingerprint}-{test.fingerprint}",
    )


def _check_samples(dataset: Dataset, train_B: NDArray[np.int64], test_B: NDArray[np.int64]) -> None:
    """Both sets hold samples, with classes that the network has and that training shows it."""
    for name, labels_B in (("training", train_B), ("test", test_B)):
        if len(labels_B) < 2:
            raise DataError(
                f"dataset={dataset.name}: the {name} set holds {len(labels_B)} samples; at least 2 are needed"
            )
        if labels_B.min() < 0 or labels_B.max() >= dataset.classes:
            raise DataError(
                f"dataset={dataset.name}: the {name} set has classes {labels_B.min()} to {labels_B.max()}, "
                f"dataset.classes={dataset.classes} admits 0 to {dataset.classes - 1}"
            )
    unseen = np.setdiff1d(test_B, train_B)
    if len(unseen):
        raise DataError(
            f"dataset={dataset.name}: classes {unseen.tolist()} of the test set are not in the training set"
        )
