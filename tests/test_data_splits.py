"""Who gets into which split, and the data sets that need no files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recordings import dataset, write_mnist, write_shd

from snntha.data import DataError, digits, load
from snntha.data.batch import EventSplit, ImageSplit
from snntha.data.stratified import Strata, complement, hold_out_and_limit, stratified_sample
from snntha.kernels import reference
from snntha.kernels.spec import Events, Static


@given(
    labels=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), min_size=1, max_size=80),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_each_class_and_group_gives_its_share(labels: list[tuple[int, int]], share: float, seed: int):
    strata = Strata(np.array([label for label, _ in labels]), np.array([group for _, group in labels]))
    size = round(share * len(labels))
    chosen = stratified_sample(strata, size, np.random.default_rng(seed))
    assert len(set(chosen.tolist())) == size and np.all(np.diff(chosen) > 0)
    for label in set(strata.labels_B.tolist()):
        expected = np.count_nonzero(strata.labels_B == label) * size / len(labels)
        assert abs(np.count_nonzero(strata.labels_B[chosen] == label) - expected) < 1 + 1e-9
    for cell in set(labels):
        expected = labels.count(cell) * size / len(labels)
        assert abs(sum(labels[position] == cell for position in chosen) - expected) < 1 + 1e-9


def test_seed_decides_and_splits_are_disjoint():
    train, test = Strata(np.arange(200) % 10), Strata(np.arange(50) % 10)
    one, again, other = (hold_out_and_limit(train, test, 0.1, None, seed) for seed in (0, 0, 1))
    assert one.validation is not None and again.validation is not None and other.validation is not None
    assert np.array_equal(one.validation, again.validation) and not np.array_equal(one.validation, other.validation)
    assert np.array_equal(complement(one.validation, 200), one.train)
    assert np.bincount(train.labels_B[one.validation]).tolist() == [2] * 10


def test_limit_is_stratified_and_leaves_the_validation_split_disjoint():
    train, test = Strata(np.repeat(np.arange(10), 30)), Strata(np.repeat(np.arange(10), 10))
    chosen = hold_out_and_limit(train, test, 0.1, 20, seed=3)
    assert chosen.validation is not None
    assert [len(part) for part in (chosen.train, chosen.validation, chosen.test)] == [20, 20, 20]
    assert not set(chosen.train.tolist()) & set(chosen.validation.tolist())
    assert np.bincount(train.labels_B[chosen.train]).tolist() == [2] * 10
    assert np.bincount(test.labels_B[chosen.test]).tolist() == [2] * 10


def test_without_a_fraction_nothing_is_held_out():
    chosen = hold_out_and_limit(Strata(np.zeros(30, np.int64)), Strata(np.zeros(10, np.int64)), None, None, seed=0)
    assert chosen.validation is None and len(chosen.train) == 30


def test_digits_are_those_of_scikit_learn():
    pixels, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    training, test = digits.read()
    ours = np.concatenate([training.images_BHW, test.images_BHW]).reshape(-1, 64)
    ours = np.column_stack([ours, np.concatenate([training.labels, test.labels])])
    theirs = np.column_stack([pixels, labels]).astype(np.uint8)
    assert sorted(map(bytes, ours.astype(np.uint8))) == sorted(map(bytes, theirs))


def test_digits_have_one_test_set_whatever_the_seed(tmp_path: Path):
    one, other = (load(dataset("digits", tmp_path), selection="validation", seed=seed) for seed in (0, 1))
    assert [len(split) for split in (one.train, one.validation, one.test) if split] == [1294, 144, 359]
    assert isinstance(one.test, ImageSplit) and isinstance(other.test, ImageSplit)
    assert torch.equal(one.test.images_BX, other.test.images_BX)
    assert torch.bincount(one.test.labels_B).min() >= 34
    assert isinstance(one.train, ImageSplit) and isinstance(other.train, ImageSplit)
    assert not torch.equal(one.train.images_BX, other.train.images_BX)
    batch = one.train.batch(torch.tensor([3, 1]))
    assert isinstance(batch.inputs, Static) and batch.inputs.time_steps == 50
    assert batch.inputs.image_BX.shape == (2, 1, 8, 8) and batch.inputs.image_BX.dtype == torch.float32
    assert torch.equal(batch.inputs.image_BX * 16, one.train.images_BX[[3, 1]].float())
    assert batch.labels_B is not None and batch.labels_B.dtype == torch.int64


def test_temporal_coding_is_the_same_for_the_same_seed(tmp_path: Path):
    one, again, other = (
        load(dataset("temporal_coding", tmp_path), selection="validation", seed=seed) for seed in (0, 0, 1)
    )
    assert len(one.train) == 1 and one.validation is None and one.test is None
    batches = [data.train.batch(torch.tensor([0])) for data in (one, again, other)]
    spikes_TBN = []
    for batch in batches:
        assert isinstance(batch.inputs, Events) and batch.labels_B is None
        spikes_TBN.append(reference.dense(batch.inputs))
    assert spikes_TBN[0].shape == (100, 1, 100)
    assert torch.equal(spikes_TBN[0], spikes_TBN[1]) and not torch.equal(spikes_TBN[0], spikes_TBN[2])
    assert set(spikes_TBN[0].unique().tolist()) == {0.0, 1.0} and abs(spikes_TBN[0].mean() - 0.5) < 0.02
    assert len({one.fingerprint, again.fingerprint, other.fingerprint}) == 2


def test_temporal_coding_target_is_a_ramp_then_silence(tmp_path: Path):
    data = load(dataset("temporal_coding", tmp_path), selection="test", seed=0)
    target_TBN = data.train.batch(torch.tensor([0])).target_TBN
    assert target_TBN is not None and target_TBN.shape == (100, 1, 1)
    assert torch.allclose(target_TBN[:76, 0, 0], 55.0 * torch.arange(76) / 75) and target_TBN[75].item() == 55.0
    assert target_TBN[76:].count_nonzero() == 0


def test_temporal_coding_names_the_key_it_needs(tmp_path: Path):
    with pytest.raises(DataError, match=r"dataset\.target_peak=None"):
        load(dataset("temporal_coding", tmp_path, target_peak=None), selection="test", seed=0)


def test_validation_of_shd_represents_every_speaker(tmp_path: Path):
    write_shd(tmp_path, classes=5, speakers=(0, 3, 7), train_each=10, spikes=20)
    data = load(dataset("shd", tmp_path), selection="validation", seed=0)
    assert isinstance(data.train, EventSplit) and isinstance(data.validation, EventSplit)
    cells = list(zip(data.validation.labels_B.tolist(), data.train.binned.groups[data.validation.samples], strict=True))
    assert sorted(cells) == [(label, speaker) for label in range(5) for speaker in (0, 3, 7)]
    assert not set(data.train.samples) & set(data.validation.samples)


def test_limit_keeps_some_samples_of_each_split(tmp_path: Path):
    write_mnist(tmp_path, train=200, test=50)
    data = load(dataset("mnist", tmp_path, limit=10), selection="validation", seed=0)
    assert data.validation is not None and data.test is not None
    for split in (data.train, data.validation, data.test):
        assert isinstance(split, ImageSplit) and sorted(split.labels_B.tolist()) == list(range(10))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 9}, r"the training set has classes 0 to 9, dataset\.classes=9 admits 0 to 8"),
        ({"input_shape": [1, 32, 32]}, r"dataset\.input_shape=\[1, 32, 32\]; mnist has \[1, 28, 28\]"),
        ({"validation_fraction": 0.0}, r"dataset\.validation_fraction=0\.0; expected more than 0"),
    ],
)
def test_configuration_that_does_not_fit_the_data_is_refused(tmp_path: Path, changes: dict, message: str):
    write_mnist(tmp_path)
    with pytest.raises(DataError, match=message):
        load(dataset("mnist", tmp_path, **changes), selection="validation", seed=0)


def test_shd_has_700_channels(tmp_path: Path):
    write_shd(tmp_path)
    with pytest.raises(DataError, match=r"dataset\.input_shape=\[350\]; SHD has \[700\]"):
        load(dataset("shd", tmp_path, input_shape=[350]), selection="test", seed=0)


def test_unknown_selection_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="selection='best'; expected 'validation' or 'test'"):
        load(dataset("digits", tmp_path), selection="best", seed=0)
