"""Data in another unit, padded, cut or mixed: refused or told, never trained on without a word."""

import fcntl
import io
import resource
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from recordings import dataset, write_dvs_gesture, write_idx, write_mnist, write_shd
from rich.console import Console

from snntha import hdf5
from snntha import run as runs
from snntha.config import compose
from snntha.data import DataError, load
from snntha.diagnostics import layer_warnings
from snntha.folder import RunFolder
from snntha.layers import resolve
from snntha.runtime.inputs import hdf5_recordings

GOOD_ROWS = [[3, 4, 1, time] for time in range(600)]


def notes(name: str, folder: Path, **changes) -> tuple[str, ...]:
    return load(dataset(name, folder, **changes), selection="test", seed=0).notes


def refusal(name: str, folder: Path, **changes) -> str:
    with pytest.raises(DataError) as caught:
        load(dataset(name, folder, **changes), selection="test", seed=0)
    return str(caught.value)


def rescale_dvs(folder: Path, factor: float) -> None:
    for path in (folder / "DVSGesture").rglob("*.npy"):
        events = np.load(path).astype(np.float64)
        events[:, 3] *= factor
        np.save(path, events)


def rescale_shd(folder: Path, change) -> None:
    for path in (folder / "SHD").glob("*.h5"):
        with h5py.File(path, "r+") as file:
            rows = [change(times.astype(np.float64)) for times in np.asarray(file["spikes/times"])]
            del file["spikes/times"]
            data = file.create_dataset("spikes/times", (len(rows),), dtype=h5py.vlen_dtype(np.float64))
            for number, row in enumerate(rows):
                data[number] = row


def test_right_units_give_no_note(tmp_path: Path):
    assert notes("dvs_gesture", write_dvs_gesture(tmp_path)) == ()
    assert notes("shd", write_shd(tmp_path)) == ()


@pytest.mark.parametrize(
    ("factor", "unit", "words"),
    [
        (1000.0, "microseconds", "times, which look like microseconds: convert them to milliseconds"),
        (0.001, "seconds", "times, which look like seconds: convert them to milliseconds"),
        (10_000.0, "microseconds", "t in ms of 0 to 600000\nfound: 0.0 to"),
    ],
)
def test_gestures_in_another_unit_are_refused(tmp_path: Path, factor: float, unit: str, words: str):
    write_dvs_gesture(tmp_path)
    rescale_dvs(tmp_path, factor)
    for _ in ("binned", "from the cache"):
        message = refusal("dvs_gesture", tmp_path)
        assert words in message and unit in message


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda times: times * 1000, "found: 0.0488281 to"),  # milliseconds
        (lambda times: np.floor(times / 0.01), "which look like milliseconds: convert them to seconds"),  # steps
        (lambda times: times / 1000, "make the window as long as the recordings"),
    ],
)
def test_spoken_digits_in_another_unit_are_refused(tmp_path: Path, change, words: str):
    write_shd(tmp_path)
    rescale_shd(tmp_path, change)
    message = refusal("shd", tmp_path)
    assert words in message or ("times of 0 to 100 seconds" in message and "which look like milliseconds" in message)


def test_an_odd_window_is_told_and_a_lost_one_refused(tmp_path: Path):
    write_shd(tmp_path)
    (train, test) = notes("shd", tmp_path, time_steps=20)
    assert "of its events lie in the window" in train and "dataset.bin_ms and dataset.time_steps" in test
    assert "fill 1 of dataset.time_steps=100" in refusal("shd", tmp_path, time_steps=100, bin_ms=3000.0)


def test_silence_is_first_put_down_to_odd_data():
    specs = resolve(compose(["dataset=digits"]))
    plain, odd = (layer_warnings(specs, [0.0, 0.1], told) for told in ((), ("times look like seconds",)))
    assert "no neuron fired; lower hparams.threshold.start.0" in plain[0]
    assert "no neuron fired; mend the data first (times look like seconds), then lower" in odd[0]


def test_a_run_prints_the_note_and_its_record_warns(tmp_path: Path):
    write_shd(tmp_path)
    overrides = ["dataset=shd", "mode=bsnn", "backend=reference", "epochs=1", "dataset.limit=8", "plots=false"]
    overrides += ["model.topology=700Dense8Dense20", "dataset.time_steps=20", "hparams.threshold.start=[900,900]"]
    overrides += [f"dataset.root={tmp_path}", f"dataset.cache={tmp_path / 'cache'}", f"output_dir={tmp_path / 'run'}"]
    console = Console(file=io.StringIO(), width=500)
    runs.run(compose(overrides), console=console)
    assert "note: dataset=shd: the median recording of the train set" in console.file.getvalue()
    assert "mend the data first" in RunFolder(tmp_path / "run").seed(0).metrics[0]["warnings"][0]


def test_few_inputs_that_fire_are_told(tmp_path: Path):
    write_dvs_gesture(tmp_path)
    for path in (tmp_path / "DVSGesture").rglob("*.npy"):
        events = np.load(path)
        events[:, :2] //= 8  # as of a sensor of 16 x 16
        np.save(path, events)
    assert "inputs ever fire in the train set" in notes("dvs_gesture", tmp_path)[0]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([*GOOD_ROWS, [3.7, 4, 1, 9]], "x, y and p that are whole numbers"),
        ([*GOOD_ROWS, [3, 4, 0.5, 9]], "x, y and p that are whole numbers"),
        ([*GOOD_ROWS, [np.nan, 4, 1, 9]], "x of 0 to 127"),
        ([*GOOD_ROWS, [3, 4, 1, np.inf]], "t in ms of 0 to 600000"),
        ([*GOOD_ROWS, *[[0, 0, 0, 0]] * 50], "no padding, which would be spikes of pixel 0"),
        ([*GOOD_ROWS, *[[-1, -1, -1, -1]] * 50], "x of 0 to 127\nfound: -1"),
        ([], "numbers of shape (events, 4)"),
        ([["a", "b", "c", "d"]], "numbers of shape (events, 4)"),
        ([[True] * 4], "numbers of shape (events, 4)"),
    ],
)
def test_gestures_that_would_be_cast_are_refused(tmp_path: Path, rows: list, words: str):
    write_dvs_gesture(tmp_path)
    np.save(tmp_path / "DVSGesture" / "ibmGestureTrain" / "user02_natural" / "1.npy", np.array(rows))
    assert words in refusal("dvs_gesture", tmp_path)


def write_arrays(path: Path, **changes) -> None:
    """An SHD file of two recordings, with arrays as they are given, of whatever kind and shape."""
    arrays = {
        "spikes/times": np.linspace(0.1, 0.9, 40).reshape(2, 20),
        "spikes/units": np.arange(40).reshape(2, 20),
        "labels": np.array([0, 1]),
        "extra/speaker": np.array([0, 0]),
    }
    with h5py.File(path, "w") as file:
        for name, values in {**arrays, **changes}.items():
            file[name] = values


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": np.array([0.5, 1.0])}, "labels that are whole numbers"),
        ({"labels": np.array([np.nan, 1.0])}, "labels that are whole numbers"),
        ({"labels": np.array([[0], [1]])}, "labels that are whole numbers"),
        ({"labels": np.array([b"one", b"two"])}, "labels that are whole numbers"),
        ({"labels": 3}, "one entry for each recording"),
        ({"labels": np.array([0, 77])}, "classes 0 to 77"),
        ({"extra/speaker": np.array([0.5, 1.0])}, "speakers that are whole numbers"),
        ({"extra/speaker": np.array([0, 1, 2])}, "one entry for each recording"),
        ({"spikes/units": np.full((2, 20), 3.7)}, "channels that are whole numbers"),
        ({"spikes/units": np.full((2, 20), np.nan)}, "channels that are whole numbers"),
        ({"spikes/units": np.arange(2)}, "a row of times and one of channels"),
        ({"spikes/times": np.array([0.1, 0.2])}, "a row of times and one of channels"),
        ({"spikes/times": np.full((2, 20), b"x")}, "a row of times and one of channels"),
        ({"spikes/times": np.full((2, 20), np.nan)}, "finite times"),
        ({"spikes/times": np.full((2, 20), 1e30)}, "times of 0 to 100 seconds"),
        ({"spikes/times": np.full((2, 20, 2), 0.1)}, "a row of times and one of channels"),
        ({"spikes/times": np.float64(1.0)}, "one entry for each recording"),
        ({"spikes/times": np.eye(2, 20), "spikes/units": np.zeros((2, 20), np.int64)}, "no padding"),
    ],
)
def test_spoken_digits_that_would_be_cast_are_refused(tmp_path: Path, changes: dict, words: str):
    write_shd(tmp_path)
    write_arrays(tmp_path / "SHD" / "shd_train.h5", **changes)
    assert words in refusal("shd", tmp_path)


def test_a_file_that_the_library_would_read_for_ever_is_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Zeros over the first row: HDF5 looks for its end and hears no signal."""
    monkeypatch.setattr(hdf5, "_LEAST_S", 1)
    path = write_shd(tmp_path) / "SHD" / "shd_train.h5"
    content = path.read_bytes()
    place = content.index(b"GCOL") + 16
    path.write_bytes(content[:place] + bytes(200) + content[place + 200 :])
    message = refusal("shd", tmp_path)
    assert "shd_train.h5 is damaged" in message and "crashes or reads it for ever" in message


def test_a_file_that_says_it_holds_more_than_memory_is_damaged(tmp_path: Path):
    """Rows whose lengths are changed: HDF5 takes memory for what they say before it looks for it."""
    path = write_shd(tmp_path, spikes=777) / "SHD" / "shd_train.h5"
    content, length = path.read_bytes(), struct.pack("<I", 777)
    assert content.count(length) > 1
    path.write_bytes(content.replace(length, struct.pack("<I", 2**30)))
    assert "shd_train.h5 is damaged" in refusal("shd", tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(OSError, match="memory allocation failed"):
        hdf5_recordings(path.read_bytes())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**20  # KiB


def test_hdf5_is_read_below_limits_that_are_lower_already():
    """As clusters set them for a job: a process cannot raise them."""
    read = "from snntha.hdf5 import read_twice; print(read_twice(lambda: 7, 0))"
    limited = ["bash", "-c", 'ulimit -t 5; ulimit -v 900000; exec "$@"', "bash", sys.executable, "-c", read]
    assert subprocess.run(limited, capture_output=True, text=True, check=True).stdout == "7\n"


def test_each_of_the_four_files_is_known_by_its_content(shared_images: Path, tmp_path: Path):
    """One file of FashionMNIST among those of MNIST, and the files of MNIST in each other's places."""
    for role in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1"):
        mixed = tmp_path / role
        shutil.copytree(shared_images / "MNIST" / "raw", mixed)
        other = next((shared_images / "FashionMNIST" / "raw").glob(f"{role}-ubyte"))
        (mixed / other.name).unlink()
        shutil.copy(other, mixed)
        (mixed / f"{other.name}.gz").unlink(missing_ok=True)
        assert "belongs to fashion_mnist: it is its" in refusal("mnist", mixed)
        shutil.rmtree(mixed)


def test_published_images_with_other_labels_are_told(shared_images: Path, tmp_path: Path):
    shutil.copytree(shared_images / "MNIST" / "raw", tmp_path / "raw")
    labels = tmp_path / "raw" / "train-labels-idx1-ubyte"
    for path in (tmp_path / "raw").glob("train-labels*"):
        path.unlink()
    write_idx(labels, np.arange(60_000, dtype=np.uint8) % 10, packed=False)
    (note,) = notes("mnist", tmp_path / "raw")
    assert f"train-images-idx3-ubyte is the published file, {labels} is not" in note


@pytest.mark.parametrize("name", ["._0.npy", ".ipynb_checkpoints/0.npy"])
def test_hidden_files_beside_recordings_are_passed_over(tmp_path: Path, name: str):
    write_dvs_gesture(tmp_path)
    before = load(dataset("dvs_gesture", tmp_path), selection="test", seed=0).fingerprint
    folder = tmp_path / "DVSGesture" / "ibmGestureTrain"
    stray = folder / name if "/" in name else folder / "user02_natural" / name
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"no array")
    assert load(dataset("dvs_gesture", tmp_path), selection="test", seed=0).fingerprint == before


def test_stray_locked_unreadable_and_damaged_are_four_things(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_dvs_gesture(tmp_path)
    copied = tmp_path / "DVSGesture" / "ibmGestureTrain" / "user02_natural" / "3 (1).npy"
    shutil.copy(copied.with_name("3.npy"), copied)
    assert f"{copied} is none of its files" in (message := refusal("dvs_gesture", tmp_path))
    assert "move it away" in message and "download" not in message

    path = write_shd(tmp_path) / "SHD" / "shd_train.h5"
    with path.open("r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert "another program holds it open: close that program" in (message := refusal("shd", tmp_path))
        assert "damaged" not in message

    def forbidden(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(h5py, "File", forbidden)
    message = refusal("shd", tmp_path)
    assert "cannot be read" in message and "Permission denied" in message and "mend its permissions" in message


def test_an_image_file_that_may_not_be_read_is_not_called_damaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    write_mnist(tmp_path)

    def failing(path: Path) -> bytes:
        raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr(Path, "read_bytes", failing)
    assert "Input/output error" in refusal("mnist", tmp_path) and "replace" not in refusal("mnist", tmp_path)
