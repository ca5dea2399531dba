"""What does not depend on a device, without a GPU: PyTorch's meta device stands for one; nothing can be read there."""

import zipfile
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch

from snntha import optimizer as optimizers
from snntha import run as runs
from snntha.config import compose
from snntha.data.batch import Data, DeviceEventSplit, EventSplit
from snntha.data.cache import Binned
from snntha.errors import UserError
from snntha.kernels.backend import fastest_for
from snntha.network import SpikingNetwork
from snntha.plausible import Usage
from snntha.progress import Progress, Totals
from snntha.records import SeedRecord
from snntha.run import evaluate_run
from snntha.train import train_step

META = torch.device("meta")
TINY = ["debug=smoke", "backend=reference", "model.topology=4Conv3-AP2-36Dense10", "dataset.time_steps=6"]


def event_split(time_steps: int = 5) -> EventSplit:
    """Four of seven recordings, of which the first steps are used; one recording is empty."""
    generator = np.random.default_rng(0)
    counts = generator.integers(0, 6, 7 * 8) * np.repeat([1, 1, 0, 1, 1, 1, 1], 8)
    index = np.concatenate([np.sort(generator.integers(0, 20, count)) for count in counts]).astype(np.uint16)
    indptr, labels = np.concatenate([[0], np.cumsum(counts)]), np.arange(7)
    binned = Binned(indptr, index, labels, labels, 8, "", Usage(1.0, 8.0, 1.0, 20))
    return EventSplit(binned, np.array([5, 2, 0, 6]), time_steps, (20,))


def test_minibatches_gathered_on_a_device_are_those_of_the_host() -> None:
    split = event_split()
    uploaded = DeviceEventSplit.upload(split, torch.device("cpu"))
    assert len(uploaded) == len(split) and torch.equal(uploaded.labels_B, split.labels_B)
    for positions in ([0, 1, 2, 3], [3, 1], [1]):
        ours, theirs = (batch.batch(torch.tensor(positions)) for batch in (uploaded, split))
        assert torch.equal(ours.labels_B, theirs.labels_B)
        for name in ("indptr", "index", "time_steps", "batch", "shape"):
            assert np.array_equal(getattr(ours.inputs, name), getattr(theirs.inputs, name)), name


@pytest.mark.parametrize("count", [256, 257])
def test_counts_that_bf16_does_not_hold_are_refused(count: int) -> None:
    indptr, label = np.array([0, 2, 2 + 3 + count]), np.zeros(1, np.int64)
    index = np.array([1, 2, 0, 0, 0, *[4] * count], np.uint16)
    binned = Binned(indptr, index, label, label, 2, "", Usage(1.0, 2.0, 1.0, 4))
    expected = pytest.raises(UserError, match="257 events in one time step") if count > 256 else nullcontext()
    with expected:
        DeviceEventSplit.upload(EventSplit(binned, np.zeros(1, np.int64), 2, (5,)), META)


@pytest.mark.skipif(fastest_for(torch.device("cuda")) != "triton", reason="PyTorch brings Triton where it knows GPUs")
@pytest.mark.parametrize("layers", ["dense", "conv"])
def test_nothing_in_a_training_step_is_read_by_the_host(layers: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, network and step on a device whose numbers cannot be had: reading one raises. Kernels are left out."""
    from snntha.kernels import triton_scan

    class Kernel:
        def __getitem__(self, grid: object) -> object:
            return lambda *args, **kwargs: None

    for name in ("_forward", "_backward"):
        monkeypatch.setattr(triton_scan, name, Kernel())
    train, more = event_split(), ["dataset=shd", "model.topology=20Dense9Dense20", "dataset.input_shape=[20]"]
    if layers == "conv":
        more = ["dataset.limit=40", "hparams.batch_norm=true", "hparams.dropout=[0.3]", *TINY[2:]]
    common = ["backend=triton", "optimizer=sgd", "hparams.grad_clip=1.0", "hparams.weight_clip=1.0"]
    config = compose([*more, *common])
    if layers == "conv":
        train = runs.datasets.load(config.dataset, selection="validation", seed=0).train
    data = Data(train, None, None, "").to(META)
    network = SpikingNetwork(config, seed=0).to(META).train()
    start = config.hparams.threshold.start
    progress = Progress(thresholds=start, previous_thresholds=start)
    optimizer = optimizers.build(config.optimizer, network.parameters())
    for positions in torch.arange(4).split(3):
        train_step(network, optimizer, data.train.batch(positions), progress, half_period=10.0)
    assert progress.iteration == 2 and progress.totals.samples == 0
    with pytest.raises((NotImplementedError, RuntimeError), match="meta"):
        progress.totals.read()


def test_the_first_minibatch_that_was_not_finite_is_found_when_the_totals_are_read() -> None:
    totals = Totals()
    for iteration, loss in enumerate([2.0, float("nan"), 1.0, float("inf")], start=7):
        totals.add(torch.tensor([loss, 1.0, 3.0]), 4, iteration)
    assert totals.bad_iteration == 8 and totals.correct == 12 and totals.samples == 16


def test_a_checkpoint_of_a_gpu_goes_on_and_is_evaluated_on_the_cpu(tmp_path: Path) -> None:
    """A run recorded with device=cuda backend=triton precision=bf16, its tensors marked as of a GPU."""
    folder = tmp_path / "run"
    runs.run(compose([*TINY, f"output_dir={folder}"]))
    for which in ("best", "last"):
        path = SeedRecord(folder / "trial_0").checkpoint_path(which)
        with zipfile.ZipFile(path) as file:
            content = {name: file.read(name) for name in file.namelist()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
            for name, data in content.items():
                on_gpu = data.replace(b"X\x03\0\0\0cpu", b"X\x06\0\0\0cuda:0") if name.endswith("data.pkl") else data
                assert on_gpu != data or not name.endswith("data.pkl")
                file.writestr(name, on_gpu)
    evaluate_run(folder, 0, "best")
    runs.run(compose([*TINY, f"output_dir={folder}", "epochs=2"]), resume=folder)
    config = folder / "config.yaml"
    text = config.read_text().replace("device: auto", "device: cuda").replace("backend: reference", "backend: triton")
    config.write_text(text.replace("precision: float32", "precision: bf16"))
    evaluate_run(folder, 0, "last")


def test_cuda_where_there_is_none_is_one_message() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(UserError, match="device=cuda: torch sees no CUDA device; pass device=cpu"):
        runs.resolve_device("cuda")
