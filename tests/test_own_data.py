"""Data that describe themselves: folders, archives, classes of libraries and of users, from files to predictions."""

import json
import struct
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tonic
import torch
import torchvision
from PIL import Image
from recordings import write_idx, write_shd
from report_folders import write_run

import snntha
from snntha import data as datasets
from snntha.cli import main
from snntha.config import Config, compose
from snntha.data.files import DataError
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.follow import follow
from snntha.published import PUBLISHED_SAMPLES, published
from snntha.report.figures import overview
from snntha.report.tables import build_tables

SMALL = ("epochs=1", "plots=false", "backend=reference", "dataset.time_steps=8")
SIZES = {"cat": (0, 90), "dog": (120, 255)}  # grey values


def pictures(folder: Path, *, each: int = 6, suffix: str = "png", mode: str = "L", side: int = 8) -> Path:
    """Class folders: dark cats, bright dogs."""
    rng = np.random.default_rng(0)
    for name, (low, high) in SIZES.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            grey = rng.integers(low, high, (side, side, 3) if mode == "RGB" else (side, side), dtype=np.uint8)
            Image.fromarray(grey).save(folder / name / f"{number}.{suffix}")
    return folder


def opened(*overrides: str) -> Config:
    return follow(compose([*SMALL, *overrides]))


def call(*arguments: str) -> int:
    before, sys.argv = sys.argv, ["snntha", *map(str, arguments)]
    try:
        return main()
    finally:
        sys.argv = before


@pytest.mark.parametrize(
    ("suffix", "mode", "shape"), [("png", "L", [1, 8, 8]), ("jpg", "L", [1, 8, 8]), ("png", "RGB", [3, 8, 8])]
)
def test_a_folder_of_pictures_says_shape_and_classes(tmp_path, suffix, mode, shape):
    config = opened("dataset=folder", f"dataset.root={pictures(tmp_path, suffix=suffix, mode=mode)}")
    dataset = config.dataset
    assert (dataset.kind, dataset.input_shape, dataset.classes) == ("images", shape, 2)
    assert (dataset.class_names, config.model.topology) == (["cat", "dog"], "64Conv3-AP2-Dense2")
    data = datasets.load(dataset, selection="validation", seed=0)
    assert data.samples == (10, 2) and data.validation is not None and data.test is not None
    batch = data.train.batch(torch.arange(len(data.train)))
    means = batch.inputs.image_BX.flatten(1).mean(1)
    assert (batch.labels_B == (means > 0.4)).all()


def test_from_a_folder_to_the_name_of_a_class(tmp_path, capsys):
    pictures(tmp_path / "data" / "train")
    pictures(tmp_path / "data" / "test", each=3)
    run, model = tmp_path / "run", tmp_path / "pets.safetensors"
    own = ("dataset=folder", f"dataset.root={tmp_path / 'data'}", "dataset.title=pets")
    assert call("train", *own, *SMALL, "epochs=6", f"output_dir={run}") == 0
    assert "pets annealed" in capsys.readouterr().out
    assert call("eval", f"run={run}") == 0
    assert call("export", f"run={run}", f"output={model}") == 0
    assert call("verify", f"model={model}", f"run={run}") == 0
    assert call("plot", f"run={run}", "figure=confusion,samples") == 0
    capsys.readouterr()
    files = sorted((tmp_path / "data" / "test").rglob("*.png"))
    assert call("predict", f"model={model}", *files, "--json") == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    loaded = snntha.load(run)
    assert loaded.classes == ("cat", "dog")
    right = 100 * np.mean([answer["class"] == file.parent.name for answer, file in zip(answers, files, strict=True)])
    assert right == pytest.approx(RunFolder(run).entries[0]["test_accuracy"])


def test_pictures_of_many_sizes_are_scaled_where_it_is_said(tmp_path):
    pictures(tmp_path, side=8)
    Image.new("L", (20, 11)).save(tmp_path / "cat" / "odd.png")
    with pytest.raises(DataError, match=r"dataset\.resize=true"):
        config = opened("dataset=folder", f"dataset.root={tmp_path}")
        datasets.load(config.dataset, selection="test", seed=0)
    scaled = opened(
        "dataset=folder", f"dataset.root={tmp_path}", "dataset.resize=true", "dataset.input_shape=[1,12,12]"
    )
    assert datasets.load(scaled.dataset, selection="test", seed=0).samples == (10, 3)


@pytest.mark.parametrize(
    "names", ["x_train y_train x_test y_test", "train_images train_labels test_images test_labels", "x y"]
)
def test_an_archive_of_arrays(tmp_path, names):
    rng = np.random.default_rng(0)
    labels = np.arange(20) % 4
    images = rng.random((20, 6, 6)) / 4 + labels[:, None, None] / 8
    values = [images, labels[:, None], images[:8], labels[:8, None]]
    np.savez(tmp_path / "mine.npz", **dict(zip(names.split(), values, strict=False)))
    config = opened("dataset=folder", f"dataset.root={tmp_path / 'mine.npz'}")
    assert (config.dataset.input_shape, config.dataset.classes) == ([1, 6, 6], 4)
    data = datasets.load(config.dataset, selection="test", seed=0)
    assert data.samples == ((16, 4) if names == "x y" else (20, 8))


@pytest.mark.parametrize("suffix", ["npy", "h5"])
def test_folders_of_recordings(tmp_path, suffix):
    rng, root = np.random.default_rng(0), tmp_path / "data"
    for label, name in enumerate(("left", "right")):
        (root / name).mkdir(parents=True)
        for number in range(5):
            times, channels = np.sort(rng.uniform(0, 0.2, 40)), rng.integers(10 * label, 10 * label + 10, 40)
            if suffix == "npy":
                np.save(root / name / f"{number}.npy", np.stack([np.rint(times * 1e6), channels], 1))
            else:
                with h5py.File(root / name / f"{number}.h5", "w") as file:
                    file["spikes/times"], file["spikes/units"] = times, channels
    config = opened("dataset=folder", f"dataset.root={root}", f"dataset.cache={tmp_path / 'cache'}")
    dataset = config.dataset
    assert (dataset.kind, dataset.input_shape, dataset.sensor) == ("events", [20], 0)
    assert dataset.bin_ms == pytest.approx(200 / 8, rel=0.1)
    data = datasets.load(dataset, selection="test", seed=0)
    assert data.samples == (8, 2) and not data.notes
    inputs = data.train.batch(torch.arange(8)).inputs
    assert len(inputs.index) == 8 * 40 and int(inputs.index.max()) >= 10


def test_a_class_of_torchvision_reads_its_files(tmp_path):
    rng = np.random.default_rng(0)
    for part, samples in (("train", 30), ("t10k", 20)):
        labels = (np.arange(samples) % 10).astype(np.uint8)
        raw = tmp_path / "KMNIST" / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", rng.integers(0, 255, (samples, 28, 28), np.uint8), packed=False)
        write_idx(raw / f"{part}-labels-idx1-ubyte", labels, packed=False)
    config = opened("dataset=torchvision", "dataset.class=KMNIST", f"dataset.root={tmp_path}")
    assert config.dataset.class_names == torchvision.datasets.KMNIST.classes
    assert config.model.topology == "16Conv5-AP2-32Conv5-AP2-Dense10"
    data = datasets.load(config.dataset, selection="test", seed=0)
    assert data.samples == (30, 20) and data.test is not None
    assert data.test.batch(torch.arange(20)).labels_B.tolist() == [*range(10)] * 2


def test_a_class_of_torchvision_with_one_set_alone():
    config = opened(
        "dataset=torchvision",
        "dataset.class=FakeData",
        "dataset.arguments={size: 20, image_size: [3, 8, 8], num_classes: 3}",
    )
    assert (config.dataset.input_shape, config.dataset.classes) == ([3, 8, 8], 3)
    assert datasets.load(config.dataset, selection="test", seed=0).samples == (16, 4)


def write_nmnist(folder: Path, train: int, test: int) -> Path:
    """Train/3/00001.bin and so on: digit k fires around column 3 k."""
    rng = np.random.default_rng(0)
    for part, each in (("Train", train), ("Test", test)):
        for digit in range(10):
            (folder / "NMNIST" / part / str(digit)).mkdir(parents=True)
            for number in range(each):
                times = np.sort(rng.integers(0, 300_000, 50))
                events = bytearray()
                for t, y, polarity in zip(times, rng.integers(0, 34, 50), rng.integers(0, 2, 50), strict=True):
                    events += (
                        bytes([3 * digit + int(t) % 3, int(y)]) + struct.pack(">I", int(polarity) << 23 | int(t))[1:]
                    )
                (folder / "NMNIST" / part / str(digit) / f"{number:05}.bin").write_bytes(events)
    return folder


def test_nmnist_ready_made_and_by_tonic_are_the_same(tmp_path, monkeypatch):
    write_nmnist(tmp_path, 2, 1)
    for part in ("train", "test"):
        (tmp_path / "NMNIST" / f"{part}.zip").touch()  # tonic looks for it, and for 10,000 files
    monkeypatch.setattr(tonic.datasets.NMNIST, "_check_exists", lambda self: True)
    where = (f"dataset.root={tmp_path}", f"dataset.cache={tmp_path / 'cache'}", "dataset.time_steps=60")
    ready = compose(["dataset=nmnist", *where])
    by_tonic = opened("dataset=tonic", "dataset.class=NMNIST", *where, "dataset.bin_ms=5")
    assert by_tonic.dataset.input_shape == ready.dataset.input_shape == [2, 34, 34]
    assert by_tonic.dataset.class_names[3] == "3 - three"
    first, second = (datasets.load(config.dataset, selection="test", seed=0) for config in (ready, by_tonic))
    assert first.samples == second.samples == (20, 10) and first.fingerprint == second.fingerprint


def test_a_damaged_recording_of_nmnist_is_named(tmp_path):
    write_nmnist(tmp_path, 1, 1)
    broken = tmp_path / "NMNIST" / "Train" / "4" / "00000.bin"
    broken.write_bytes(broken.read_bytes()[:-2])
    config = compose(["dataset=nmnist", f"dataset.root={tmp_path}", f"dataset.cache={tmp_path / 'cache'}"])
    with pytest.raises(DataError, match=r"4/00000\.bin is damaged.*\n.*five bytes"):
        datasets.load(config.dataset, selection="test", seed=0)


def test_what_tonic_would_fetch_is_said(tmp_path):
    with pytest.raises(
        DataError, match=r"(?s)no complete NMNIST.*dataset\.class=NMNIST dataset\.download=true.*mendeley"
    ):
        opened("dataset=tonic", "dataset.class=NMNIST", f"dataset.root={tmp_path}")


def test_ssc_is_read_as_shd_with_its_own_class_names(tmp_path):
    write_shd(tmp_path, classes=4)
    (tmp_path / "SHD").rename(tmp_path / "SSC")
    for path in (tmp_path / "SSC").glob("*.h5"):
        path.rename(path.with_name(path.name.replace("shd", "ssc")))
    config = opened("dataset=ssc", f"dataset.root={tmp_path}", f"dataset.cache={tmp_path / 'cache'}", "hparams.slope=1")
    assert config.dataset.class_names == [f"word{number}" for number in range(4)]
    assert config.model.topology == "700Dense3000Dense35"


OWN = ("dataset=own", "dataset._target_=own_data:Mine")


def test_a_class_of_ones_own_is_run_at_ones_own_word_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(Path(__file__).parent)
    run = tmp_path / "run"
    assert call("train", *OWN, *SMALL, "dataset.arguments={samples: 16}", f"output_dir={run}") == 0
    config = RunFolder(run).load_config()
    assert (config.dataset.input_shape, config.dataset.class_names[0], config.dataset._target_) == ([16], "low", None)
    assert "own_data:Mine" in (run / "config.yaml").read_text()
    sys.modules.pop("own_data")
    capsys.readouterr()
    for command in ("eval", "cost"):
        assert call(command, f"run={run}") == 1
        assert "dataset._target_ is missing: name the class" in capsys.readouterr().err
    assert call("train", f"resume={run}", "epochs=2") == 1
    assert call("report", run) == call("export", f"run={run}", "golden=0") == 0
    assert "own_data" not in sys.modules
    assert call("eval", f"run={run}", "dataset._target_=own_data:Mine") == 0
    assert call("train", f"resume={run}", "epochs=2", "dataset._target_=own_data:Mine") == 0
    assert RunFolder(run).entries[0]["epochs"] == 2


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        (["dataset=folder", "dataset.root=nowhere"], "expected a folder for each class"),
        (["dataset=torchvision"], "dataset.class is missing; torchvision has CIFAR10"),
        (["dataset=tonic", "dataset.class=NMIST"], "did you mean 'NMNIST'"),
        (["dataset=own"], "dataset._target_ is missing"),
        (["dataset=own", "dataset._target_=os.system"], "dataset._target_=os.system: name the class"),
        (["dataset=own", "dataset._target_=no.such:Thing"], "is not there"),
        (["dataset=digits", "dataset.class=KMNIST"], "only dataset=torchvision | tonic reads it"),
        (["dataset=temporal_coding", "hparams=auto"], "hparams=auto is for data with classes"),
    ],
)
def test_a_mistake_says_what_was_expected(overrides, part):
    with pytest.raises(UserError) as raised:
        opened(*overrides)
    assert part in str(raised.value)


@pytest.mark.parametrize("mode", ["annealed", "bsnn", "bsnn_theta1", "flt32"])
def test_auto_makes_every_layer_fire_from_the_first_minibatch(mode):
    from snntha.network import SpikingNetwork

    config = follow(compose(["dataset=digits", f"mode={mode}", "hparams=auto", "dataset.time_steps=20"]))
    data = datasets.load(config.dataset, selection="validation", seed=0)
    network = SpikingNetwork(config, seed=5).train()
    batch = data.train.batch(torch.arange(64))
    layers = network(batch.inputs, config.hparams.threshold.start).layers
    rates = [float(layer.spike_count_N.double().mean()) / (64 * 20) for layer in layers]
    assert all(0.05 < rate < 0.5 for rate in rates) or mode == "bsnn_theta1"
    assert rates[0] == pytest.approx(0.15, abs=0.03) or mode == "bsnn_theta1"
    assert all(config.hparams.threshold.rise) is (mode == "annealed")
    assert follow(config) == config


def test_what_is_given_stands_beside_auto():
    given = ["hparams.slope=3.5", "optimizer.lr=0.02", "hparams.threshold.start=[2,9]"]
    config = follow(compose(["dataset=digits", "hparams=auto", "dataset.time_steps=10", *given]))
    assert (config.hparams.slope, config.optimizer.lr, config.hparams.threshold.start) == (3.5, 0.02, [2, 9])
    assert len(config.hparams.threshold.rise) == 2


@pytest.mark.slow
def test_a_search_on_data_that_nobody_has_tuned(tmp_path):
    data = pictures(tmp_path / "data")
    study = (f"search.dir={tmp_path / 'search'}", "search=tpe", "search.n_trials=2", "search.pruner=none")
    assert call("train", "dataset=folder", f"dataset.root={data}", *study, *SMALL[2:], "epochs=1") == 0
    folder = tmp_path / "search" / "folder_annealed"
    best = folder / "best.yaml"
    assert best.is_file() and len(list(folder.glob("trial_*/config.yaml"))) == 2


def test_other_data_under_a_published_name_stand_alone(tmp_path):
    write_run(tmp_path / "shd", [60.0])
    write_run(tmp_path / "fsdd", [48.0], overrides=("dataset.title=FSDD",))
    environment = tmp_path / "fsdd" / "environment.json"
    environment.write_text(json.dumps({**json.loads(environment.read_text()), "samples": [2700, 300]}))
    real, other = RunFolder(tmp_path / "shd"), RunFolder(tmp_path / "fsdd")
    assert (real.published, other.published) == (published("shd", "annealed"), None)
    assert (real.title, other.title) == ("shd", "FSDD") and real.environment["samples"] == [*PUBLISHED_SAMPLES["shd"]]
    for run, names in ((real, ["ours", "published"]), (other, ["ours"])):
        results = build_tables([run])[0]
        picture = overview(results.rows)
        assert picture is not None and [trace.name for trace in picture.data] == names
        assert ("Paper" in " ".join(results.notes)) == ("published" in names)
