"""The real data beside the checkout, where present: figures that their descriptions state."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import tonic
import torch
from recordings import dataset

from snntha.data import load
from snntha.data.batch import EventSplit, ImageSplit
from snntha.kernels.spec import Events

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist


def split_events(split: EventSplit) -> Events:
    events = split.batch(torch.arange(len(split))).inputs
    assert isinstance(events, Events)
    return events


def cells(events: Events) -> tuple[torch.Tensor, torch.Tensor]:
    """Cells (t, b, n) that hold events, as flat numbers, and how many each holds."""
    rows = torch.repeat_interleave(torch.diff(events.indptr))
    size = int(np.prod(events.shape))
    return torch.unique_consecutive(rows * size + events.index, return_counts=True)


def test_spoken_digits(shared_data: Path, tmp_path: Path):
    folder = shared_data / "fsdd_spikes"
    config = dataset("shd", folder, cache=str(tmp_path))
    data = load(config, selection="test", seed=0)
    assert isinstance(data.train, EventSplit) and isinstance(data.test, EventSplit)
    assert (len(data.train), len(data.test), data.validation) == (1750, 500, None)
    assert torch.bincount(data.train.labels_B).tolist() == [175] * 10
    assert sorted(set(data.train.binned.groups.tolist())) == [0, 1, 2, 3, 4]

    events = split_events(data.train)
    cell, counts = cells(events)
    assert round(100 * len(cell) / (1750 * 333 * 700), 2) == 1.76
    assert int(counts.max()) == 3
    with h5py.File(folder / "SHD" / "shd_train.h5") as file:
        times_s = [times.astype(np.float64) for times in np.asarray(file["spikes/times"])]
    assert sum(map(len, times_s)) == 7_263_587
    assert sum(np.count_nonzero(times > 0.999) for times in times_s) == 2566
    late = sum(np.count_nonzero(times - times[0] > 0.999) for times in times_s)  # fewer: the first spike is at 0
    assert len(events.index) == 7_263_587 - late

    theirs = tonic.datasets.SHD(str(folder), train=True)
    for sample in (0, 700, 1749):
        spikes, label = theirs[sample]
        batch = data.train.batch(torch.tensor([sample]))
        assert batch.labels_B is not None and batch.labels_B.tolist() == [label]
        assert isinstance(batch.inputs, Events)
        steps = torch.diff(batch.inputs.indptr).numpy()
        elapsed_us = spikes["t"] - spikes["t"][0]
        # tonic cuts times to whole microseconds where we round them: hardly an edge of two bins notices.
        same_T = steps.cumsum() == np.searchsorted(elapsed_us, 3000 * np.arange(1, 334))
        assert same_T.mean() > 0.97


def test_spoken_digits_in_the_window_of_the_reference_code(shared_data: Path, tmp_path: Path):
    config = dataset("shd", shared_data / "fsdd_spikes", cache=str(tmp_path), window="first_T_ms")
    data = load(config, selection="test", seed=0)
    assert isinstance(data.test, EventSplit)
    steps_TB = torch.diff(split_events(data.test).indptr).view(333, 500)
    assert steps_TB[110].sum() > 0 and steps_TB[111:].sum() == 0


def test_event_camera(shared_data: Path, tmp_path: Path):
    config = dataset("dvs_gesture", shared_data / "nmnist_as_dvs", cache=str(tmp_path))
    data = load(config, selection="test", seed=0)
    assert isinstance(data.train, EventSplit) and isinstance(data.test, EventSplit)
    assert (len(data.train), len(data.test)) == (500, 100)
    assert torch.bincount(data.train.labels_B).tolist() == [50] * 10
    assert torch.bincount(data.test.labels_B).tolist() == [8, 14, 8, 11, 14, 7, 10, 15, 2, 11]
    assert sorted(set(data.train.binned.groups.tolist())) == list(range(1, 11))

    events = split_events(data.train)
    steps_TB = torch.diff(events.indptr).view(100, 500)
    assert 60 < (steps_TB > 0).sum(0).double().mean() < 62
    cell, counts = cells(events)
    assert int(counts.max()) == 7  # the median over recordings of the largest count is 3
    assert round(100 * len(cell) / (100 * 500 * 2 * 32 * 32), 2) == 1.72


def test_handwritten_digits(shared_data: Path, tmp_path: Path):
    data = load(dataset("mnist", shared_data / "mnist"), selection="test", seed=0)
    assert isinstance(data.train, ImageSplit) and isinstance(data.test, ImageSplit)
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert torch.bincount(data.train.labels_B).tolist() == train
    assert torch.bincount(data.test.labels_B).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


def test_handwritten_digits_are_not_taken_for_fashion(shared_data: Path, tmp_path: Path):
    config = dataset("fashion_mnist", shared_data / "mnist" / "MNIST" / "raw")
    with pytest.raises(ValueError, match="belongs to mnist"):
        load(config, selection="test", seed=0)


@pytest.mark.skipif(not DEBIAN_FASHION_MNIST.is_dir(), reason="needs the Debian package dataset-fashion-mnist")
def test_fashion_mnist_of_debian(tmp_path: Path):
    data = load(dataset("fashion_mnist", DEBIAN_FASHION_MNIST), selection="validation", seed=0)
    assert isinstance(data.validation, ImageSplit) and isinstance(data.test, ImageSplit)
    assert torch.bincount(data.validation.labels_B).tolist() == [600] * 10
    assert torch.bincount(data.test.labels_B).tolist() == [1000] * 10
