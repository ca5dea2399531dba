"""Small data sets in the published file formats, with classes that can be learned."""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from snntha.config.schema import Dataset

SENSOR_SIDE = 128
SHD_CHANNELS = 700


def dataset(name: str, folder: Path, **changes: Any) -> Dataset:
    """The configuration of a data set whose files and cache lie in `folder`."""
    values = {
        "digits": {"time_steps": 50, "input_shape": [1, 8, 8], "classes": 10},
        "mnist": {"time_steps": 100, "input_shape": [1, 28, 28], "classes": 10},
        "fashion_mnist": {"time_steps": 100, "input_shape": [1, 28, 28], "classes": 10},
        "shd": {"time_steps": 333, "bin_ms": 3.0, "input_shape": [SHD_CHANNELS], "classes": 20},
        "ssc": {"time_steps": 333, "bin_ms": 3.0, "input_shape": [SHD_CHANNELS], "classes": 35},
        "nmnist": {"time_steps": 60, "bin_ms": 5.0, "input_shape": [2, 34, 34], "classes": 10},
        "dvs_gesture": {
            "time_steps": 100, "test_time_steps": 360, "bin_ms": 5.0, "input_shape": [2, 32, 32], "classes": 11,
        },
        "temporal_coding": {
            "time_steps": 100, "input_shape": [100], "classes": 1, "target_peak": 55.0, "target_step": 75,
        },
    }[name]  # fmt: skip
    common = {"root": str(folder), "cache": str(folder / "cache"), "validation_fraction": 0.1}
    return Dataset(name=name, **{**common, **values, **changes})


def write_idx(path: Path, values: NDArray[np.uint8], *, packed: bool) -> Path:
    """One IDX file of bytes; gzip-compressed, and named so, if `packed`."""
    header = np.array([0x800 + values.ndim, *values.shape], dtype=">u4").tobytes()
    content = header + values.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_name(path.name + ".gz") if packed else path
    path.write_bytes(gzip.compress(content, compresslevel=1) if packed else content)
    return path


def write_mnist(folder: Path, *, train: int = 100, test: int = 40, packed: bool = True, seed: int = 0) -> Path:
    """The four files of MNIST straight in `folder`: class c is a bright bar at rows 2c + 2 to 2c + 5, in noise."""
    rng = np.random.default_rng(seed)
    for part, samples in (("train", train), ("t10k", test)):
        labels = rng.permutation(np.arange(samples) % 10).astype(np.uint8)
        images = rng.integers(0, 60, (samples, 28, 28), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 2 : 2 * label + 6, 4:24] += 190
        write_idx(folder / f"{part}-images-idx3-ubyte", images, packed=packed)
        write_idx(folder / f"{part}-labels-idx1-ubyte", labels, packed=packed)
    return folder


def write_shd(
    folder: Path,
    *,
    classes: int = 4,
    speakers: Sequence[int] = (0, 1),
    train_each: int = 4,
    test_each: int = 2,
    spikes: int = 300,
    duration_s: float = 0.8,
    seed: int = 0,
) -> Path:
    """shd_train.h5 and shd_test.h5 in `folder`/SHD: each class is a band of channels that sweeps up or down.

    Args:
        train_each: recordings of each class and speaker; test_each likewise.
        spikes: in each recording.
    """
    rng = np.random.default_rng(seed)
    (folder / "SHD").mkdir(parents=True, exist_ok=True)
    for split, each in (("train", train_each), ("test", test_each)):
        labels, groups = (axis.ravel() for axis in np.meshgrid(range(classes), list(speakers) * each))
        order = rng.permutation(len(labels))
        labels, groups = labels[order], groups[order]
        recordings = [
            _sweep(label, classes, speaker, spikes, duration_s, rng)
            for label, speaker in zip(labels, groups, strict=True)
        ]
        write_shd_file(
            folder / "SHD" / f"shd_{split}.h5",
            times=[times for times, _ in recordings],
            units=[units for _, units in recordings],
            labels=labels,
            speakers=groups,
        )
    return folder


def write_shd_file(
    path: Path, times: Sequence[NDArray], units: Sequence[NDArray], labels: NDArray, speakers: NDArray
) -> None:
    """One file in the format of SHD: float16 seconds and uint16 channels of variable length."""
    with h5py.File(path, "w") as file:
        for name, rows, dtype in (("times", times, np.float16), ("units", units, np.uint16)):
            data = file.create_dataset(f"spikes/{name}", (len(rows),), dtype=h5py.vlen_dtype(dtype))
            for number, row in enumerate(rows):
                data[number] = np.asarray(row, dtype=dtype)
        file["labels"] = np.asarray(labels, dtype=np.uint16)
        file["extra/speaker"] = np.asarray(speakers, dtype=np.uint16)
        file["extra/keys"] = np.array([f"word{label}" for label in range(int(np.max(labels, initial=0)) + 1)], "S")


def _sweep(
    label: int, classes: int, speaker: int, spikes: int, duration_s: float, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    times = np.sort(rng.uniform(0.0, duration_s, spikes))
    direction = 1 if label % 2 else -1
    centre = SHD_CHANNELS * (label + 0.5) / classes + 5 * speaker + direction * 60 * (times / duration_s - 0.5)
    units = np.clip(np.rint(rng.normal(centre, 20.0)), 0, SHD_CHANNELS - 1)
    return times, units.astype(np.int64)


def write_dvs_gesture(
    folder: Path,
    *,
    train_users: Sequence[int] = (1, 2, 3),
    test_users: Sequence[int] = (24, 25),
    lightings: Sequence[str] = ("fluorescent", "natural"),
    classes: int = 4,
    duration_ms: int = 600,
    events_per_ms: int = 8,
    seed: int = 0,
) -> Path:
    """Recordings in `folder`/DVSGesture, one for each user, lighting and class: an edge moves over the sensor.

    Class c moves in the direction 2 pi c / classes, odd classes at twice the speed; the leading side gives events of
    polarity 1, the trailing side of polarity 0. Users differ a little in speed, lightings in noise.
    """
    rng = np.random.default_rng(seed)
    for split, users in (("ibmGestureTrain", train_users), ("ibmGestureTest", test_users)):
        for user in users:
            for noise, lighting in enumerate(lightings):
                recordings = folder / "DVSGesture" / split / f"user{user:02}_{lighting}"
                recordings.mkdir(parents=True, exist_ok=True)
                for label in range(classes):
                    pixels_per_ms = (0.2 + 0.2 * (label % 2)) * rng.uniform(0.9, 1.1)
                    events = moving_edge(
                        2 * np.pi * label / classes, pixels_per_ms, duration_ms, events_per_ms, 0.5 + noise, rng
                    )
                    np.save(recordings / f"{label}.npy", events)
    return folder


def moving_edge(
    angle: float,
    pixels_per_ms: float,
    duration_ms: int,
    events_per_ms: int,
    noise_pixels: float,
    rng: np.random.Generator,
) -> NDArray[np.int32]:
    """Events (x, y, p, t in ms) of a bar 12 pixels thick that moves along `angle` and comes in again behind."""
    times = np.repeat(np.arange(duration_ms), events_per_ms)
    polarity = rng.integers(0, 2, len(times))
    start = rng.uniform(0, SENSOR_SIDE / 8)
    along = (start + pixels_per_ms * times) % SENSOR_SIDE - SENSOR_SIDE / 2 - 12 * (1 - polarity)
    along += rng.normal(0, noise_pixels, len(times))
    across = rng.uniform(-SENSOR_SIDE / 2, SENSOR_SIDE / 2, len(times))
    x = SENSOR_SIDE / 2 + along * np.cos(angle) - across * np.sin(angle)
    y = SENSOR_SIDE / 2 + along * np.sin(angle) + across * np.cos(angle)
    events = np.stack([np.floor(x), np.floor(y), polarity, times], axis=1).astype(np.int32)
    inside = ((events[:, :2] >= 0) & (events[:, :2] < SENSOR_SIDE)).all(1)
    return events[inside]
