"""Binning, cache and minibatches of events, against loops that do the obvious thing."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from recordings import dataset, write_dvs_gesture, write_shd

from snntha.binning import Binning, Recording, bin_events, microseconds
from snntha.data import DataError, load
from snntha.data.cache import Binned, load_or_build
from snntha.kernels import reference
from snntha.kernels.spec import Events


def slow_counts(times_ms: list[float], index: list[int], bin_ms: float, time_steps: int, inputs: int) -> np.ndarray:
    """counts_TN by the definition, in whole microseconds."""
    counts_TN = np.zeros((time_steps, inputs), dtype=np.int64)
    first_us = round(min(times_ms) * 1000)
    for time_ms, which in zip(times_ms, index, strict=True):
        step = (round(time_ms * 1000) - first_us) // round(bin_ms * 1000)
        if step < time_steps:
            counts_TN[step, which] += 1
    return counts_TN


def dense_counts(count_T: np.ndarray, index: np.ndarray, inputs: int) -> np.ndarray:
    counts_TN = np.zeros((len(count_T), inputs), dtype=np.int64)
    np.add.at(counts_TN, (np.repeat(np.arange(len(count_T)), count_T), index), 1)
    return counts_TN


@given(
    events=st.lists(st.tuples(st.floats(0, 40, width=32), st.integers(0, 4)), min_size=1, max_size=60),
    bin_ms=st.sampled_from([0.5, 1.0, 3.0, 5.0]),
    time_steps=st.integers(1, 12),
)
def test_counts_equal_the_slow_loop(events: list[tuple[float, int]], bin_ms: float, time_steps: int):
    times_ms, index = [time for time, _ in events], [which for _, which in events]
    recording = Recording(microseconds(np.array(times_ms), 1000), np.array(index), label=0, group=0)
    binning = Binning(time_steps, round(bin_ms * 1000), round(bin_ms * 1000) * time_steps)
    count_T, sorted_index = bin_events(recording, binning, inputs=5)
    assert np.array_equal(dense_counts(count_T, sorted_index, 5), slow_counts(times_ms, index, bin_ms, time_steps, 5))
    for step in np.split(sorted_index, np.cumsum(count_T)[:-1]):
        assert np.all(np.diff(step) >= 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_time_on_the_edge_falls_into_the_later_bin(dtype: type):
    seconds = (0.003 * np.arange(300)).astype(dtype)  # many of them are a little below k * 3 ms as floats
    recording = Recording(microseconds(seconds, 1_000_000), np.zeros(300, np.int64), 0, 0)
    count_T, _ = bin_events(recording, Binning(333, 3000, 999_000), inputs=1)
    assert count_T.tolist() == [1] * 300 + [0] * 33


def test_float16_times_are_widened_before_they_are_scaled():
    assert microseconds(np.array([0.5, 1.25], dtype=np.float16), 1_000_000).tolist() == [500_000, 1_250_000]


def test_window_of_the_reference_code_fills_only_the_first_T_milliseconds(tmp_path: Path):
    binning = Binning.of(dataset("shd", tmp_path, window="first_T_ms"), 333)
    recording = Recording(1000 * np.arange(900), np.zeros(900, np.int64), 0, 0)
    count_T, _ = bin_events(recording, binning, inputs=1)
    assert count_T.tolist() == [3] * 111 + [0] * 222


def test_a_recording_without_events_has_empty_steps():
    nothing = np.zeros(0, np.int64)
    count_T, index = bin_events(Recording(nothing, nothing, 0, 0), Binning(4, 1000, 4000), inputs=3)
    assert count_T.tolist() == [0] * 4 and len(index) == 0


def recordings(samples: int = 12, seed: int = 0) -> Iterator[Recording]:
    rng = np.random.default_rng(seed)
    for sample in range(samples):
        yield Recording(rng.integers(0, 30_000, 50), rng.integers(0, 7, 50), label=sample % 3, group=sample % 2)


TOY_BINNING = Binning(10, 3000, 30_000)


def build(cache: Path, binning: Binning = TOY_BINNING) -> Binned:
    return load_or_build(cache, {"dataset": "toy", "split": "train"}, binning, 7, recordings)


def refuse() -> Iterator[Recording]:
    raise AssertionError("the cache was not used")


def same(one: Binned, other: Binned) -> bool:
    return one.fingerprint == other.fingerprint and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in ("indptr", "index", "labels", "groups")
    )


def test_cache_is_read_the_second_time(tmp_path: Path):
    first = build(tmp_path)
    second = load_or_build(tmp_path, {"dataset": "toy", "split": "train"}, TOY_BINNING, 7, refuse)
    assert same(first, second)
    assert [path.name.startswith("toy-train-") for path in tmp_path.iterdir()] == [True]


def test_each_setting_has_its_own_cache(tmp_path: Path):
    for binning in (
        Binning(10, 3000, 30_000),
        Binning(9, 3000, 27_000),
        Binning(10, 2000, 20_000),
        Binning(10, 3000, 9),
    ):
        build(tmp_path, binning)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize("damage", ["cut", "flip", "missing", "meta", "empty"])
def test_damaged_cache_is_rebuilt(tmp_path: Path, damage: str):
    cache = tmp_path / "damaged"
    build(cache)
    (folder,) = cache.iterdir()
    index = folder / "index.npy"
    content = index.read_bytes()
    if damage == "cut":
        index.write_bytes(content[:-10])
    elif damage == "flip":
        index.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "missing":
        index.unlink()
    elif damage == "meta":
        (folder / "meta.json").write_text("{")
    else:
        index.write_bytes(b"")
    assert same(build(cache), build(tmp_path / "whole"))
    assert list(cache.iterdir()) == [folder]


def test_failing_reader_leaves_nothing_behind(tmp_path: Path):
    with pytest.raises(AssertionError, match="not used"):
        load_or_build(tmp_path, {"dataset": "toy", "split": "train"}, TOY_BINNING, 7, refuse)
    assert list(tmp_path.iterdir()) == []


def test_unwritable_cache_says_which_folder(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"dataset\.cache=.*file/cache: cannot write there .*writable folder"):
        build(tmp_path / "file" / "cache")


def test_no_event_in_the_window_is_refused(tmp_path: Path):
    nothing = np.zeros(0, np.int64)
    with pytest.raises(DataError, match="no recording has an event in its first 30 ms"):
        load_or_build(
            tmp_path,
            {"dataset": "toy", "split": "train"},
            TOY_BINNING,
            7,
            lambda: [Recording(nothing, nothing, 0, 0)],
        )


BUILDER = """
import sys, time
from pathlib import Path
from recordings import dataset
from snntha.data import shd
from snntha.binning import Binning
from snntha.data.cache import load_or_build

folder = Path(sys.argv[1])
config = dataset("shd", folder)
files = shd.find(config)

def read():
    print("reading", flush=True)
    sys.stdin.readline()
    yield from shd.read(files, "train", config)

settings = {"dataset": "shd", "split": "train"}
binned = load_or_build(folder / "cache", settings, Binning.of(config, 333), 700, read)
print(binned.fingerprint, len(binned.labels), int(binned.index.sum()))
"""


def test_several_processes_build_one_cache_at_once(tmp_path: Path):
    """All begin to build before any has finished: one cache is left and all have the same events."""
    write_shd(tmp_path, train_each=8)
    command = [sys.executable, "-c", BUILDER, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    builders = [subprocess.Popen(command, **pipes) for _ in range(4)]
    for builder in builders:
        assert builder.stdout is not None and builder.stdout.readline() == "reading\n"
    results = [builder.communicate("go\n")[0] for builder in builders]
    assert len(set(results)) == 1 and results[0].split()[1] == "64"
    assert [path.name[:9] for path in (tmp_path / "cache").iterdir()] == ["shd-train"]


@pytest.mark.parametrize("positions", [[4, 0, 9], [2], [3, 3]])
def test_batch_is_time_first_and_counts_repeat(tmp_path: Path, positions: list[int]):
    """Rows r = t * B + b of chosen recordings, against counts taken straight from the file."""
    write_shd(tmp_path, spikes=3000)
    batch = load(dataset("shd", tmp_path), selection="test", seed=0).train.batch(torch.tensor(positions))
    assert isinstance(batch.inputs, Events) and batch.inputs.index.dtype == torch.int32
    counts_TBN = reference.dense(batch.inputs)
    assert counts_TBN.shape == (333, len(positions), 700)
    with h5py.File(tmp_path / "SHD" / "shd_train.h5") as file:
        times_s, units, labels = (np.asarray(file[name]) for name in ("spikes/times", "spikes/units", "labels"))
    assert batch.labels_B is not None and batch.labels_B.tolist() == labels[positions].tolist()
    for column, position in enumerate(positions):
        times_ms = (1000 * times_s[position].astype(np.float64)).tolist()
        expected_TN = slow_counts(times_ms, units[position].tolist(), 3.0, 333, 700)
        assert expected_TN.max() > 1
        assert np.array_equal(counts_TBN[:, column].numpy(), expected_TN)


def test_dvs_pixels_are_summed_and_the_test_set_runs_longer(tmp_path: Path):
    write_dvs_gesture(tmp_path, duration_ms=700)
    data = load(dataset("dvs_gesture", tmp_path), selection="validation", seed=0)
    assert data.validation is not None and data.test is not None
    splits = data.train, data.validation, data.test
    assert [split.batch(torch.tensor([0])).inputs.time_steps for split in splits] == [100, 360, 360]
    batch = data.test.batch(torch.tensor([5]))
    events_xypt = np.load(sorted((tmp_path / "DVSGesture/ibmGestureTest").glob("*/*.npy"))[5])
    expected = np.zeros((360, 2, 32, 32))
    first = events_xypt[:, 3].min()
    for x, y, polarity, time in events_xypt:
        expected[(time - first) // 5, polarity, y // 4, x // 4] += 1
    assert isinstance(batch.inputs, Events)
    assert np.array_equal(reference.dense(batch.inputs)[:, 0].numpy(), expected)
    assert batch.labels_B is not None and batch.labels_B.tolist() == [1]


def test_training_reads_the_head_of_the_longer_cache(tmp_path: Path):
    write_dvs_gesture(tmp_path, duration_ms=700)
    long = load(dataset("dvs_gesture", tmp_path), selection="test", seed=0).train.batch(torch.arange(5)).inputs
    short_config = dataset("dvs_gesture", tmp_path, test_time_steps=None)
    short = load(short_config, selection="test", seed=0).train.batch(torch.arange(5)).inputs
    assert isinstance(long, Events) and isinstance(short, Events)
    assert torch.equal(long.indptr, short.indptr) and torch.equal(long.index, short.index)


def test_changed_source_is_binned_anew(tmp_path: Path):
    write_dvs_gesture(tmp_path)
    before = load(dataset("dvs_gesture", tmp_path), selection="test", seed=0)
    path = sorted((tmp_path / "DVSGesture/ibmGestureTrain").glob("*/*.npy"))[0]
    events = np.load(path)
    events[len(events) // 2, 0] ^= 64
    np.save(path, events)
    after = load(dataset("dvs_gesture", tmp_path), selection="test", seed=0)
    first = torch.tensor([0])
    assert before.fingerprint != after.fingerprint
    one, other = before.train.batch(first).inputs, after.train.batch(first).inputs
    assert isinstance(one, Events) and isinstance(other, Events) and not torch.equal(one.index, other.index)


def test_two_windows_do_not_share_a_training_cache(tmp_path: Path):
    write_dvs_gesture(tmp_path)
    with pytest.raises(DataError, match="set dataset.test_time_steps=null"):
        load(dataset("dvs_gesture", tmp_path, window="first_T_ms"), selection="test", seed=0)
