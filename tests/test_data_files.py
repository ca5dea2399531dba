"""Files in every layout; and files that are absent or not what they should be, each with one clear message."""

import dataclasses
import gzip
import hashlib
import io
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tonic
import torch
from recordings import (
    dataset,
    moving_edge,
    write_dvs_gesture,
    write_idx,
    write_mnist,
    write_shd,
    write_shd_file,
)
from rich.console import Console
from torchvision.datasets import MNIST

from snntha.config.schema import Dataset
from snntha.data import DataError, dvs_gesture, idx, load, shd, status, status_table
from snntha.data.batch import ImageSplit
from snntha.kernels.spec import Static

FILE_SETS = ("mnist", "fashion_mnist", "shd", "dvs_gesture")


def load_error(name: str, folder: Path, **changes) -> str:
    with pytest.raises(DataError) as caught:
        load(dataset(name, folder, **changes), selection="test", seed=0)
    return str(caught.value)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("layout", ["MNIST/raw", "MNIST", "raw", ""])
def test_idx_files_are_found_in_every_layout(tmp_path: Path, layout: str, packed: bool):
    write_mnist(tmp_path / layout, packed=packed)
    assert status(dataset("mnist", tmp_path)).present
    data = load(dataset("mnist", tmp_path), selection="test", seed=0)
    assert data.test is not None and (len(data.train), len(data.test)) == (100, 40)


def test_packed_and_unpacked_files_have_one_fingerprint(tmp_path: Path):
    fingerprints = {
        load(dataset("mnist", write_mnist(tmp_path / str(packed), packed=packed)), selection="test", seed=0).fingerprint
        for packed in (True, False)
    }
    other = load(dataset("mnist", write_mnist(tmp_path / "other", seed=1)), selection="test", seed=0).fingerprint
    assert len(fingerprints) == 1 and other not in fingerprints


def test_torchvision_reads_the_same_images(tmp_path: Path):
    write_mnist(tmp_path / "MNIST" / "raw", packed=False)
    data = load(dataset("mnist", tmp_path), selection="test", seed=0)
    theirs = MNIST(tmp_path, train=True)
    assert isinstance(data.train, ImageSplit)
    assert torch.equal(data.train.images_BX[:, 0], theirs.data) and torch.equal(data.train.labels_B, theirs.targets)
    batch = data.train.batch(torch.tensor([2]))
    expected = torch.from_numpy(np.array(theirs[2][0])).float() / 255
    assert isinstance(batch.inputs, Static) and torch.equal(batch.inputs.image_BX[0, 0], expected)


def test_an_empty_unpacked_file_beside_a_packed_one_is_passed_over(tmp_path: Path):
    write_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(b"")
    assert len(load(dataset("mnist", tmp_path), selection="test", seed=0).train) == 100


@pytest.mark.parametrize("name", FILE_SETS)
def test_missing_files_name_folder_remedy_and_what_is_there(tmp_path: Path, name: str):
    (tmp_path / "notes.txt").write_text("")
    message = load_error(name, tmp_path)
    assert str(tmp_path) in message and "there instead: notes.txt" in message
    assert f"snntha train dataset={name} dataset.download=true" in message and "https://" in message


def test_missing_root_is_named(tmp_path: Path):
    assert f"there is no folder {tmp_path / 'nowhere'}" in load_error("shd", tmp_path / "nowhere")


def test_one_absent_file_of_four_is_named_alone(tmp_path: Path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte.gz").unlink()
    assert "missing: no t10k-labels-idx1-ubyte[.gz]\n" in load_error("mnist", tmp_path)


def test_mnist_and_fashion_mnist_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Both have files of the same names and sizes: what is in them tells, be it of one of the four."""
    write_mnist(tmp_path)
    mnist_md5 = idx._PUBLICATIONS["mnist"].md5
    for role, name in (("train-images", "train-images-idx3"), ("t10k-labels", "t10k-labels-idx1")):
        content = gzip.decompress((tmp_path / f"{name}-ubyte.gz").read_bytes())
        mnist = dataclasses.replace(
            idx._PUBLICATIONS["mnist"], md5={**mnist_md5, role: hashlib.md5(content).hexdigest()}
        )
        monkeypatch.setitem(idx._PUBLICATIONS, "mnist", mnist)
        assert f"belongs to mnist: it is its {role}; set dataset=mnist" in load_error("fashion_mnist", tmp_path)
        data = load(dataset("mnist", tmp_path), selection="test", seed=0)
        assert "is the published file" in data.notes[0] and "do they belong together?" in data.notes[0]


def cut(path: Path, share: float = 0.5) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


def test_damaged_idx_files(tmp_path: Path):
    images = tmp_path / "train-images-idx3-ubyte"
    labels = tmp_path / "train-labels-idx1-ubyte"

    def error(packed: bool, change) -> str:
        shutil.rmtree(tmp_path)
        write_mnist(tmp_path, packed=packed)
        change()
        return load_error("mnist", tmp_path)

    packed_images = images.with_suffix(".gz")
    message = error(True, lambda: cut(packed_images))
    assert str(packed_images) in message and "a complete gzip file" in message and "to mend it: " in message
    assert "0 bytes" in error(True, lambda: packed_images.write_bytes(b""))
    assert "78400 bytes after the header" in error(False, lambda: cut(images))
    assert "found: 0x" in error(False, lambda: cut(images, 1e-4))
    assert "IDX images (magic 0x00000803)\nfound: 0x00000801" in error(False, lambda: shutil.copy(labels, images))
    assert "another kind of file (it begins with b'<ht'): delete it" in error(
        False, lambda: labels.write_text("<html>no")
    )
    few = np.zeros(99, np.uint8)
    assert "100 labels, one for each image\nfound: 99" in error(False, lambda: write_idx(labels, few, packed=False))
    large = np.zeros((100, 32, 32), np.uint8)
    assert "images of 28 x 28\nfound: 32 x 32" in error(False, lambda: write_idx(images, large, packed=False))


def test_error_page_in_place_of_hdf5_is_seen_before_reading(tmp_path: Path):
    path = write_shd(tmp_path) / "SHD" / "shd_test.h5"
    path.write_text("<html>one moment</html>")
    assert not status(dataset("shd", tmp_path)).present
    assert f"{path} is another kind of file (it begins with b'<html>on'): delete it" in load_error("shd", tmp_path)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_cut_hdf5_file(tmp_path: Path, share: float):
    path = write_shd(tmp_path) / "SHD" / "shd_test.h5"
    cut(path, share)
    message = load_error("shd", tmp_path)
    assert str(path) in message and ("0 bytes" in message if share == 0 else "a complete HDF5 file" in message)


def test_wrong_hdf5_contents(tmp_path: Path):
    write_shd(tmp_path)
    path = tmp_path / "SHD" / "shd_train.h5"
    good = {"times": [np.array([0.1, 0.2])] * 2, "units": [np.array([3, 4])] * 2, "labels": [0, 1], "speakers": [0, 0]}

    def error(**changes) -> str:
        write_shd_file(path, **{**good, **changes})
        return load_error("shd", tmp_path)

    assert "finite times\nfound: 1 that are not in recording 1" in error(times=[[0.1, 0.2], [0.1, np.inf]])
    assert "times of 0 to 100 seconds\nfound: -0.5 to 0.25" in error(times=[[-0.5, 0.25], [0.1, 0.2]])
    assert "times of 0 to 100 seconds" in error(times=[[0.1, 0.2], [100.0, 800.0]])
    assert "channels 0 to 699\nfound: 3 to 700 in recording 0" in error(units=[[3, 700], [3, 4]])
    assert "a channel for each time\nfound: 2 times, 1 channels" in error(units=[[3], [3, 4]])
    assert "one entry for each recording" in error(labels=[0, 1, 2])
    assert "classes 0 to 20, dataset.classes=20 admits 0 to 19" in error(labels=[0, 20])
    with h5py.File(path, "w") as file:
        file["audio"] = np.zeros(3)
    assert "data sets spikes/times, spikes/units, labels\nfound: only audio" in load_error("shd", tmp_path)


def test_shd_without_speakers_is_one_group(tmp_path: Path):
    write_shd(tmp_path)
    for split in ("train", "test"):
        with h5py.File(tmp_path / "SHD" / f"shd_{split}.h5", "a") as file:
            del file["extra/speaker"]
    assert load(dataset("shd", tmp_path / "SHD"), selection="validation", seed=0).validation is not None


def test_damaged_event_recordings(tmp_path: Path):
    write_dvs_gesture(tmp_path)
    recordings = tmp_path / "DVSGesture" / "ibmGestureTrain"
    path = recordings / "user02_natural" / "1.npy"
    good = moving_edge(0.0, 0.3, 200, 4, 1.0, np.random.default_rng(0))

    def error(column: int, value: float) -> str:
        events = good.astype(type(value))
        events[7, column] = value
        np.save(path, events)
        return load_error("dvs_gesture", tmp_path)

    assert "to 128\n" in (message := error(0, 128)) and "x of 0 to 127\n" in message
    assert "y of 0 to 127\nfound: -1 to" in error(1, -1)
    assert "p of 0 to 1\nfound: 0 to 2\n" in error(2, 2)
    assert "t in ms of 0 to 600000" in error(3, 700_000)
    assert "t in ms of 0 to 600000\nfound: nan" in error(3, float("nan"))
    np.save(path, good[:, :3])
    assert f"{path} is damaged" in load_error("dvs_gesture", tmp_path)
    assert "numbers of shape (events, 4)" in load_error("dvs_gesture", tmp_path)
    for share in (0.0, 0.01, 0.7):
        np.save(path, good)
        cut(path, share)
        assert "a complete .npy file of numbers" in load_error("dvs_gesture", tmp_path)
    np.save(path, good)
    path.rename(path.with_name("clap.npy"))
    assert "none of its files, which are like user01_fluorescent/3.npy" in load_error("dvs_gesture", tmp_path)


def test_class_that_training_lacks_is_refused(tmp_path: Path):
    write_dvs_gesture(tmp_path, classes=3)
    for path in (tmp_path / "DVSGesture" / "ibmGestureTrain").glob("*/2.npy"):
        path.unlink()
    assert "classes [2] of the test set are not in the training set" in load_error("dvs_gesture", tmp_path)


def test_archive_that_is_not_unpacked_is_named(tmp_path: Path):
    write_dvs_gesture(tmp_path)
    shutil.rmtree(tmp_path / "DVSGesture" / "ibmGestureTest")
    (tmp_path / "DVSGesture" / "ibmGestureTest.tar.gz").write_bytes(b"")
    message = load_error("dvs_gesture", tmp_path)
    assert (
        "no recordings in ibmGestureTest/" in message and "ibmGestureTest.tar.gz is not unpacked (0 bytes)" in message
    )
    assert "ibmGestureTrain/;" not in message


def test_input_shape_must_divide_the_sensor(tmp_path: Path):
    write_dvs_gesture(tmp_path)
    assert "expected [2, S, S] with S a divisor of 128" in load_error("dvs_gesture", tmp_path, input_shape=[2, 30, 30])


def test_tonic_reads_the_same_spoken_digits(tmp_path: Path):
    write_shd(tmp_path)
    (tmp_path / "SHD" / "shd_train.h5.zip").write_bytes(b"")  # tonic asks for it
    theirs = tonic.datasets.SHD(str(tmp_path), train=True)
    speakers = np.asarray(theirs.speaker)
    config = dataset("shd", tmp_path)
    for number, ours in enumerate(shd.read(shd.find(config), "train", config)):
        events, label = theirs[number]
        assert (ours.label, ours.group) == (label, speakers[number]) and np.array_equal(ours.index, events["x"])
        later_us = ours.times_us - events["t"]  # tonic cuts times to whole microseconds where we round them
        assert later_us.min() >= 0 and later_us.max() <= 1


def test_tonic_reads_the_same_gestures(tmp_path: Path):
    """Except for their order, which tonic takes from the directory."""
    write_dvs_gesture(tmp_path, train_users=range(1, 14), lightings=("lab", "led"), duration_ms=50)
    (tmp_path / "DVSGesture" / "ibmGestureTrain.tar.gz").write_bytes(b"")  # tonic asks for it, and for 100 recordings
    theirs = tonic.datasets.DVSGesture(str(tmp_path), train=True)
    order = np.argsort(theirs.data)
    config = dataset("dvs_gesture", tmp_path)
    for number, ours in enumerate(dvs_gesture.read(dvs_gesture.find(config), "train", config)):
        events, label = theirs[order[number]]
        assert (ours.label, ours.group) == (label, theirs.users[order[number]])
        assert np.array_equal(ours.times_us, events["t"])
        assert np.array_equal(ours.index, (events["y"].astype(int) // 4 * 32 + events["x"] // 4) * 2 + events["p"])


def test_failed_download_says_why_and_how_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fail(*_, **__) -> None:
        raise RuntimeError("File not found or corrupted.")

    monkeypatch.setattr("tonic.download_utils.download_and_extract_archive", fail)
    monkeypatch.setattr("torchvision.datasets.mnist.download_and_extract_archive", fail)
    for name in FILE_SETS:
        message = load_error(name, tmp_path, download=True)
        assert f"fetching {name} failed" in message and "File not found or corrupted." in message
        assert "looked in: " in message and "https://" in message


def test_download_fetches_only_what_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    elsewhere = write_shd(tmp_path / "elsewhere")
    here = tmp_path / "here"
    (here / "SHD").mkdir(parents=True)
    shutil.copy(elsewhere / "SHD" / "shd_train.h5", here / "SHD")
    (here / "SHD" / "shd_test.h5").write_bytes(b"")
    asked = []

    def unpack(url: str, folder: str, filename: str, md5: str) -> None:
        asked.append((filename, len(md5)))
        shutil.copy(elsewhere / "SHD" / filename.removesuffix(".zip"), folder)

    monkeypatch.setattr("tonic.download_utils.download_and_extract_archive", unpack)
    assert len(load(dataset("shd", here, download=True), selection="test", seed=0).train) == 32
    assert asked == [("shd_test.h5.zip", 32)]


@pytest.mark.parametrize("name", ["shd", "ssc", "dvs_gesture", "nmnist"])
def test_addresses_and_sums_are_those_of_tonic(name: str, tmp_path: Path):
    theirs = {"shd": "SHD", "ssc": "SSC", "dvs_gesture": "DVSGesture", "nmnist": "NMNIST"}[name]
    offered = getattr(tonic.datasets, theirs)
    for part, archive in status(dataset(name, tmp_path)).archives.items():
        file_name = getattr(offered, f"{part}_filename", None) or getattr(offered, f"{part}_zip")
        assert (archive.name, archive.md5) == (file_name, getattr(offered, f"{part}_md5"))
        url = getattr(offered, f"{part}_url", None) or offered.base_url + file_name
        # figshare answers a browser alone at the address that tonic has (neuromorphs/tonic#329)
        assert archive.url == url.replace(
            "https://figshare.com/ndownloader/files", "https://api.figshare.com/v2/file/download"
        )


def test_status_table_has_a_tick_or_a_cross_for_each(tmp_path: Path):
    write_mnist(tmp_path)
    names = ("digits", "mnist", "fashion_mnist", "dvs_gesture", "shd", "temporal_coding")
    roots = {"mnist": tmp_path}
    configurations = [dataset(name, roots.get(name, tmp_path / "nowhere")) for name in names]
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(status_table(configurations))
    text = console.export_text()
    assert (text.count("✓"), text.count("✗")) == (3, 3)
    assert str(tmp_path) in text and "no shd_train.h5" in text


def test_status_needs_neither_torch_nor_tonic():
    code = (
        "import sys, snntha.data as data; from snntha.config.schema import Dataset; "
        "data.status_table([Dataset(name=name, root='nowhere') for name in ('mnist', 'shd', 'dvs_gesture')]); "
        "print({'torch', 'tonic', 'torchvision', 'h5py'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_unknown_name_says_what_exists():
    with pytest.raises(DataError, match=r"dataset\.name='cifar'; expected one of digits, temporal_coding, mnist"):
        status(Dataset(name="cifar"))
