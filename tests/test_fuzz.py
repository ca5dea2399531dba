"""Readers and parsers on anything: they give what they promise, or one error that a user can act on."""

import gzip
import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from recordings import dataset, write_dvs_gesture, write_mnist, write_shd
from report_folders import write_run

from snntha.arguments import COMMANDS, parse
from snntha.config import as_texts, compose
from snntha.data import load
from snntha.errors import UserError
from snntha.folder import RunFolder, read_epochs
from snntha.report import build_tables, collect
from snntha.topology import parse as parse_topology

FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
TOKENS = st.sampled_from(["Conv", "Dense", "AP", "-", "0", "1", "2", "3", "16", "64", "576", "9" * 9, "9" * 5000, "x"])


@given(tokens=st.lists(TOKENS, max_size=9), shape=st.sampled_from([(700,), (1, 8, 8), (2, 32, 32), (0,), ()]))
@example(tokens=["16Conv3-AP2-144Dense10"], shape=(1, 8, 8))
@settings(deadline=None, max_examples=300)
def test_a_topology_is_parsed_or_refused_with_its_name(tokens: list[str], shape: tuple[int, ...]):
    topology = "".join(tokens)
    try:
        layers = parse_topology(topology, shape)
    except UserError as error:
        assert str(error).startswith(f"model.topology={topology!r}")
    else:
        assert layers[-1].kind == "dense" and all(layer.neurons > 0 for layer in layers)


@given(
    command=st.sampled_from(sorted(set(COMMANDS) - {"train"})),
    words=st.lists(
        st.one_of(
            st.text(max_size=9),
            st.builds("{}={}".format, st.sampled_from(["run", "trial", "--html", "storage", "x"]), st.text(max_size=9)),
        ),
        max_size=3,
    ),
)
@settings(deadline=None, max_examples=200)
def test_arguments_are_read_or_refused(command: str, words: list[str]):
    try:
        values = parse(command, words)
    except UserError:
        return
    assert set(values) == {argument.key for argument in COMMANDS[command].arguments}


PRINTED = st.text(st.characters(exclude_categories=["C"], exclude_characters="$'\"\\~?"), min_size=1, max_size=12)


@given(key=st.sampled_from(["output_dir", "dataset.root", "dataset.cache"]), text=PRINTED)
@example(key="output_dir", text="2026_11_24")
@example(key="output_dir", text="1e3")
@example(key="output_dir", text="a(b) [c] {d}, #&=:é !null")
@example(key="dataset.root", text="true")
@settings(deadline=None, max_examples=12)
def test_a_text_key_is_the_text_that_was_typed(key: str, text: str):
    config = compose([f"{key}={text}"])
    assert {"output_dir": config.output_dir, "dataset.root": config.dataset.root}.get(key, config.dataset.cache) == text


def test_home_is_expanded_and_what_the_user_quoted_stays():
    home = os.path.expanduser("~")
    assert as_texts(["output_dir=~/a(b", "dataset.root='~/x'"]) == [f"output_dir='{home}/a(b'", "dataset.root='~/x'"]
    assert as_texts(["output_dir=a,2_6"], several=True) == ["output_dir=a,'2_6'"]
    assert as_texts(["model.topology=64Dense10", "output_dir=a b/c"]) == [
        "model.topology=64Dense10",
        "output_dir=a b/c",
    ]
    assert as_texts(["output_dir=a,b", "seed=1,2", "resume=null"]) == ["output_dir='a,b'", "seed=1,2", "resume=null"]


def damaged(content: bytes, place: float, length: int, filling: bytes) -> bytes:
    """With a part cut out, or overwritten."""
    start = int(place * len(content))
    return content[:start] + filling[:length] + content[start + length :]


DAMAGE = st.builds(
    dict,
    place=st.floats(0, 1),
    length=st.sampled_from([0, 1, 2, 4, 64, 10**9]),
    filling=st.binary(max_size=64),
)


def survives(name: str, root: Path, path: Path, content: bytes) -> None:
    """Load a data set with a damaged file: samples, or one error of ours."""
    path.write_bytes(content)
    with TemporaryDirectory() as cache:
        try:
            load(dataset(name, root, cache=cache), selection="test", seed=0)
        except UserError as error:
            assert f"dataset={name}" in str(error) or "dataset." in str(error)


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("small")
    write_mnist(root, train=20, test=10, packed=False)
    write_shd(root, classes=2, spikes=40, train_each=1, test_each=1)
    write_dvs_gesture(root, train_users=(1,), test_users=(2,), lightings=("lab",), classes=2, duration_ms=700)
    return root


@FEW
@given(damage=DAMAGE, packed=st.booleans(), part=st.sampled_from(["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"]))
def test_idx_files(small: Path, damage: dict, packed: bool, part: str):
    path = small / part
    before = path.read_bytes()
    content = damaged(gzip.compress(before, mtime=0) if packed else before, **damage)
    try:
        survives("mnist", small, path, content)
    finally:
        path.write_bytes(before)


@FEW
@given(damage=DAMAGE)
def test_hdf5_files(small: Path, damage: dict):
    path = small / "SHD" / "shd_train.h5"
    before = path.read_bytes()
    try:
        survives("shd", small, path, damaged(before, **damage))
    finally:
        path.write_bytes(before)


VALUES = st.one_of(
    st.lists(st.floats(width=32), max_size=3).map(np.array),
    st.lists(st.integers(-(2**40), 2**40), min_size=2, max_size=2).map(np.array),
    st.just(np.array([b"x", b"y"])),
    st.just(np.zeros((2, 3, 4))),
    st.floats().map(np.float64),
)


@FEW
@given(name=st.sampled_from(["spikes/times", "spikes/units", "labels", "extra/speaker"]), values=VALUES)
def test_hdf5_contents(small: Path, name: str, values: np.ndarray):
    path = small / "SHD" / "shd_train.h5"
    before = path.read_bytes()
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = values
    changed = path.read_bytes()
    try:
        survives("shd", small, path, changed)
    finally:
        path.write_bytes(before)


@FEW
@given(damage=DAMAGE)
def test_npy_files(small: Path, damage: dict):
    path = small / "DVSGesture" / "ibmGestureTrain" / "user01_lab" / "1.npy"
    before = path.read_bytes()
    try:
        survives("dvs_gesture", small, path, damaged(before, **damage))
    finally:
        path.write_bytes(before)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["trials", "seed", "epoch", "x"]), inner)
    ),
    max_leaves=6,
)


@given(text=st.one_of(st.text(max_size=80), st.lists(JSON.map(json.dumps)).map("\n".join), st.just("\0" * 50)))
@settings(deadline=None, max_examples=200)
def test_lines_of_metrics(text: str):
    epochs, lines = read_epochs(text)
    assert len(epochs) + len(lines) == len(text.splitlines())


RECORD = st.sampled_from(["config.yaml", "environment.json", "summary.json", "trial_0/metrics.jsonl"])


@FEW
@given(name=RECORD, damage=st.one_of(DAMAGE, JSON), state=st.just(None))
def test_run_folders(tmp_path_factory, name: str, damage, state: None):
    """Reports of a run with a damaged record have rows or say what is wrong."""
    folder = tmp_path_factory.mktemp("run") / "run"
    write_run(folder, [50.0], activity=False)
    path = folder / name
    is_damage = isinstance(damage, dict) and "filling" in damage
    path.write_bytes(damaged(path.read_bytes(), **damage) if is_damage else json.dumps(damage).encode())
    run = RunFolder(folder)
    for ask in (run.read, lambda: run.seed(0).column("train_loss"), run.load_config, lambda: run.state):
        try:
            ask()
        except UserError as error:
            assert str(folder) in str(error)
    assert [table.name for table in build_tables(collect([folder]))][-1] == "problems"
