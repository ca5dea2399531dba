"""Frozen networks: the same spikes as training's evaluation, the packed file, and what reading it refuses."""

import json
import struct
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import random_events
from frozen_runs import BETAS, DELAYS, DIGITS, DVS, RECURRENT, SHD, write_run
from hypothesis import given, settings
from hypothesis import strategies as st

import snntha
from snntha.data import load as load_data
from snntha.data.batch import Batch
from snntha.errors import UserError
from snntha.export import golden
from snntha.export.freeze import freeze, load_network
from snntha.runtime import packed, plain
from snntha.runtime.compiled import Compiled
from snntha.runtime.model import Model
from snntha.runtime.network import FrozenNetwork, Images, Spikes
from snntha.train import evaluate

EVENTS = {"shd": ((700,), 0.03), "dvs_gesture": ((2, 32, 32), 0.02)}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    cases = {"digits": DIGITS, "shd": SHD, "dvs": DVS, "code": (*DIGITS, "fidelity=code"), "delays": DELAYS}
    cases |= {"recurrent": RECURRENT, "betas": BETAS}
    cases["betas of channels"] = (*DVS[:-1], *BETAS[-2:], DVS[-1])
    cases["delays of pixels"] = (*DVS[:-1], "hparams.delays=[9]", DVS[-1])
    return {name: write_run(folder / name, *overrides) for name, overrides in cases.items()}


def some_batch(frozen: FrozenNetwork, samples: int = 7) -> Batch:
    """A batch as training has them: digits, or random events."""
    dataset = frozen.trained["dataset"]
    if dataset == "digits":
        generator = torch.Generator().manual_seed(0)
        grey_BX = torch.randint(0, 17, (samples, *frozen.encoding.shape), generator=generator)
        return Batch(golden.Static(grey_BX.float() / 16, frozen.encoding.time_steps), torch.zeros(samples).long())
    shape, density = EVENTS[dataset]
    events = random_events(frozen.encoding.time_steps, samples, shape, density, seed=2)
    return Batch(events, torch.zeros(samples).long())


def trained_spikes(run: Path, batch: Batch) -> tuple[golden.Golden, FrozenNetwork]:
    frozen = freeze(run)
    network, thresholds = load_network(run, 0, "best")
    return golden.record(network, thresholds, batch, frozen.encoding), frozen


@pytest.mark.parametrize(
    "name", ["digits", "shd", "dvs", "code", "delays", "delays of pixels", "recurrent", "betas", "betas of channels"]
)
def test_spikes_are_those_of_trainings_evaluation(runs, name):
    found, frozen = trained_spikes(runs[name], some_batch(freeze(runs[name])))
    by_hand = plain.run([plain.FloatLayer(layer) for layer in frozen.layers], found.inputs)
    by_kernels = Compiled(frozen.layers).spikes(found.inputs)
    for trained, own, compiled in zip(found.spikes, by_hand, by_kernels, strict=True):
        assert 0.005 < trained.mean() < 0.9
        assert np.array_equal(trained, own)
        assert np.array_equal(trained, compiled)
    model = Model(frozen)
    for inputs in (found.inputs, golden.to_numpy(some_batch(frozen, 2), frozen.encoding)):  # kernels, then numpy
        assert np.array_equal(model.counts(inputs), model.spikes(inputs)[-1].sum(0))


def test_grey_values_that_no_float_holds_exactly(tmp_path):
    """1/255 is rounded, so that the order of additions matters: it must be PyTorch's."""
    topology = "model.topology=16Conv5-AP2-8Conv5-AP2-128Dense10"
    run = write_run(tmp_path / "run", "dataset=fashion_mnist", topology, "dataset.time_steps=20")
    grey_BX = torch.randint(0, 256, (16, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    batch = Batch(golden.Static(grey_BX.float() / 255, 20), torch.zeros(16).long())
    found, frozen = trained_spikes(run, batch)
    by_hand = plain.run([plain.FloatLayer(layer) for layer in frozen.layers], found.inputs)
    assert all(map(np.array_equal, found.spikes, by_hand))


def test_float_weights_in_the_kernels_order(tmp_path):
    run = write_run(tmp_path / "run", *SHD[:1], *SHD[2:3], "dataset.time_steps=20", "mode=flt32")
    frozen = freeze(run)
    found, _ = trained_spikes(run, some_batch(frozen))
    model = Model(packed_again(frozen, tmp_path))
    assert all(map(np.array_equal, found.spikes, model.spikes(found.inputs)))


def packed_again(frozen: FrozenNetwork, folder: Path) -> FrozenNetwork:
    path = folder / "packed.safetensors"
    path.write_bytes(packed.to_bytes(frozen))
    return packed.read(path)


def test_the_whole_test_set_of_digits(tmp_path):
    config_folder = write_run(tmp_path / "run", *DIGITS)
    network, thresholds = load_network(config_folder, 0, "best")
    data = load_data(network.config.dataset, selection="validation", seed=0)
    assert data.test is not None
    evaluation = evaluate(network, data.test, thresholds)
    model = Model(packed_again(freeze(config_folder), tmp_path))
    batch = data.test.batch(torch.arange(len(data.test)))
    assert batch.labels_B is not None
    count_BN = model.counts(golden.to_numpy(batch, model.network.encoding))
    assert 100 * (count_BN.argmax(1) == batch.labels_B.numpy()).mean() == pytest.approx(evaluation.accuracy)
    assert np.allclose(count_BN.mean(0), evaluation.spike_count_N[-1])


def test_a_packed_file_holds_the_network(runs, tmp_path):
    for run in runs.values():
        frozen = freeze(run)
        again = packed_again(frozen, tmp_path)
        assert packed.to_bytes(again) == packed.to_bytes(frozen)
        assert (again.classes, again.encoding, again.trained) == (frozen.classes, frozen.encoding, frozen.trained)
    assert freeze(runs["digits"]).trained["test_accuracy"] == 40.0
    assert freeze(runs["shd"]).classes[11] == "eins"
    assert all(layer.strict for layer in freeze(runs["code"]).layers)
    late = freeze(runs["delays"])
    for layer, again in zip(late.layers, packed_again(late, tmp_path).layers, strict=True):
        assert layer.delay_I is not None and layer.delay_I.max() > 3 and np.array_equal(layer.delay_I, again.delay_I)


def test_a_packed_file_byte_by_byte(runs, tmp_path):
    """What docs/export.md says, read with struct and json alone."""
    frozen = freeze(runs["digits"])
    content = packed.to_bytes(frozen)
    (length,) = struct.unpack("<Q", content[:8])
    header, body = json.loads(content[8 : 8 + length]), content[8 + length :]
    about = json.loads(header.pop("__metadata__")["snntha"])
    assert about["format"] == 1 and about["topology"] == "6Conv3-AP2-54Dense10" and about["fires"] == "at_threshold"
    assert about["input"]["kind"] == "image" and about["input"]["white"] == 16 and len(about["classes"]) == 10
    first, last = header["1.weight"]["data_offsets"]
    assert last - first == -(-540 // 8) and header["1.weight"]["dtype"] == "U8"
    bits = [body[first + i // 8] >> i % 8 & 1 for i in range(540)]
    assert [2 * bit - 1 for bit in bits] == frozen.layers[1].weight.ravel().tolist()
    first, last = header["1.neuron"]["data_offsets"]
    assert struct.unpack("<ff", body[first:last]) == (frozen.layers[1].beta, frozen.layers[1].threshold)


@pytest.fixture(scope="module")
def content(runs) -> bytes:
    return packed.to_bytes(freeze(runs["digits"]))


def changed(content: bytes, **about: object) -> bytes:
    """The file with other metadata."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    values = json.loads(header["__metadata__"]["snntha"])
    header["__metadata__"]["snntha"] = json.dumps({**values, **about})
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


IMAGE = {"kind": "image", "shape": [1, 8, 8], "white": 16, "bin_us": 0, "duration_us": 0, "unit_us": 0, "sensor": 0}


@pytest.mark.parametrize(
    ("about", "problem"),
    [
        ({"format": 2}, "format 2, this version of snntha reads 1"),
        ({"topology": "6Conv3-AP2-54Dense11"}, "expected"),
        ({"topology": "9" * 5000 + "Conv3"}, "5005 characters"),
        ({"topology": "999999999Conv3-AP2-8999999991Dense10"}, "weights"),
        ({"topology": 5}, "topology is '5', expected str"),
        ({"classes": ["a"]}, "expected a name each"),
        ({"classes": [1] * 10}, "expected a name each"),
        ({"fires": "sometimes"}, "fires is 'sometimes'"),
        ({"quantize": "int3"}, "quantize is 'int3'"),
        ({"quantize": []}, "quantize is"),
        ({"trained": None}, "trained is"),
        ({"input": None}, "input has no kind"),
        ({"input": {**IMAGE, "time_steps": 10**9}}, "time_steps is 1000000000"),
        ({"input": {**IMAGE, "time_steps": True}}, "time_steps is 'True'"),
        ({"input": {**IMAGE, "time_steps": 5, "white": 0}}, "white is 0"),
        ({"input": {**IMAGE, "time_steps": 5, "shape": [1, 8]}}, "input shape"),
        ({"input": {**IMAGE, "time_steps": 5, "shape": [1, 8, 10**12]}}, "input shape"),
        ({"input": {**IMAGE, "time_steps": 5, "kind": "events"}}, "bin_us is 0"),
    ],
)
def test_metadata_that_cannot_be_is_refused(content, tmp_path, about, problem):
    path = tmp_path / "bad.safetensors"
    path.write_bytes(changed(content, **about))
    with pytest.raises(UserError, match="bad.safetensors is not a packed network that can be used: .*" + problem):
        packed.read(path)


def test_numbers_that_cannot_be_are_refused(runs, tmp_path):
    frozen = freeze(runs["digits"])
    first, last = frozen.layers
    for layer in (
        replace(first, threshold=np.float32("nan")),
        replace(first, beta=np.float32(1.5)),
        replace(first, scale_C=first.scale_C * np.float32("inf")),
    ):
        with pytest.raises(UserError, match="layer 0"):
            packed_again(replace(frozen, layers=(layer, last)), tmp_path)


def test_no_file_and_other_files(tmp_path):
    with pytest.raises(UserError, match="nothing.safetensors cannot be read: No such file"):
        snntha.load(tmp_path / "nothing.safetensors")
    for name, bad in (("empty", b""), ("long", b"\xff" * 100), ("text", b"hello, this is text"), ("folder", None)):
        path = tmp_path / name
        path.mkdir() if bad is None else path.write_bytes(bad)
        with pytest.raises(UserError, match=name):
            snntha.load(path)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_a_damaged_file_gives_one_error_or_a_network(content, tmp_path_factory, data):
    """Bytes changed, cut or added anywhere, most of them in the header."""
    place = st.one_of(st.integers(0, len(content) - 1), st.integers(0, 1200))
    damaged = bytearray(content)
    for position, value in data.draw(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=4)):
        damaged[position] = value
    end = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))))
    path = tmp_path_factory.getbasetemp() / "damaged.safetensors"
    path.write_bytes(bytes(damaged[:end]) + data.draw(st.binary(max_size=8)))
    try:
        assert isinstance(packed.read(path), FrozenNetwork)
    except UserError as error:
        assert str(path) in str(error) and len(str(error)) < 600


WITHOUT_TORCH = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchvision", "snntorch", "hydra", "omegaconf", "yaml", "rich"):
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
from snntha.__main__ import main
status = main()
print("numba" in sys.modules)
sys.exit(status)
"""


@pytest.mark.parametrize(("name", "samples", "kernels"), [("digits", 9, True), ("shd", 1, False)])
def test_prediction_needs_neither_torch_nor_hydra(runs, tmp_path, name, samples, kernels):
    """The first samples in numpy, which starts at once, and the rest in the kernels."""
    model, data = tmp_path / "model.safetensors", tmp_path / "data.npy"
    model.write_bytes(packed.to_bytes(freeze(runs[name])))
    np.save(data, np.full((samples, 8, 8), 7, np.uint8) if name == "digits" else np.array([[0.0, 3], [0.01, 5]]))
    command = [sys.executable, "-c", WITHOUT_TORCH, "predict", f"model={model}", str(data), "--json"]
    *answers, imported = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    assert len({tuple(json.loads(line)["counts"]) for line in answers}) == 1
    assert (len(answers), imported) == (samples, str(kernels))


def test_a_stream_ends_where_the_whole_recording_does(runs):
    for name in ("shd", "dvs", "delays", "delays of pixels", "recurrent"):
        frozen = freeze(runs[name])
        model = Model(frozen)
        encoding = frozen.encoding
        inputs = golden.to_numpy(some_batch(frozen, 1), encoding)
        assert isinstance(inputs, Spikes)
        first = int(np.flatnonzero(np.diff(inputs.indptr))[0])
        assert first == 0  # the recording begins with its first event
        stream = model.stream()
        for step in range(encoding.time_steps):
            for index in inputs.index[inputs.indptr[step] : inputs.indptr[step + 1]]:
                stream.feed(step * encoding.bin_us, int(index))
        answer = stream.finish()
        assert [answer] == model.answers(inputs)
        assert stream.finished and stream.step == encoding.time_steps
    with pytest.raises(UserError, match="sort events by time"):
        late = model.stream()
        late.feed(10_000_000, 0)
        late.feed(10_000_000 + 3 * encoding.bin_us, 0)
        late.feed(10_000_000, 0)


def test_equal_counts_give_the_first_class(runs):
    frozen = freeze(runs["digits"])
    silent = replace(frozen.layers[-1], threshold=np.float32(1e9))
    answer = Model(replace(frozen, layers=(frozen.layers[0], silent)))(np.zeros((8, 8)))[0]
    assert (answer.label, answer.confidence, set(answer.counts)) == (0, 0.0, {0})


def test_images_have_no_stream(content, tmp_path):
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(UserError, match="nothing to stream"):
        snntha.load(tmp_path / "m").stream()


def test_images_are_a_batch_of_grey_values():
    images = Images(np.array([[[[0, 8], [16, 4]]]], np.uint8), white=16, time_steps=3)
    assert images.values_BX.tolist() == [[[[0, 0.5], [1, 0.25]]]]
