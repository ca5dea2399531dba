"""Readers and parsers on anything: they give what they promise, or one error that a user can act on."""

import json
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from readers import READERS, Reader

from snntha.arguments import COMMANDS
from snntha.config import as_texts, compose

FEW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def reader(tmp_path_factory) -> Callable[[str], Reader]:
    """Readers by name, each with its files in a folder of its own."""
    return cache(lambda name: READERS[name](tmp_path_factory.mktemp("files")))


TOKENS = st.sampled_from(["Conv", "Dense", "AP", "-", "0", "1", "2", "3", "16", "64", "576", "9" * 9, "9" * 5000, "x"])


@given(tokens=st.lists(TOKENS, max_size=9), shape=st.integers(0, 4))
@example(tokens=["16Conv3-AP2-144Dense10"], shape=1)
@settings(deadline=None, max_examples=300)
def test_a_topology_is_parsed_or_refused_with_its_name(reader, tokens: list[str], shape: int):
    reader("topology").read(bytes([shape]) + "".join(tokens).encode())


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
def test_arguments_are_read_or_refused(reader, command: str, words: list[str]):
    reader("arguments").read("\0".join([command, *words]).encode())


PRINTED = st.text(st.characters(exclude_categories=["C"], exclude_characters="$'\"\\~?"), min_size=1, max_size=12)


@given(key=st.sampled_from(["output_dir", "dataset.root", "dataset.cache"]), text=PRINTED)
@example(key="output_dir", text="2026_11_24")
@example(key="output_dir", text="1e3")
@example(key="output_dir", text="a(b) [c] {d}, #&=:é !null")
@example(key="dataset.root", text="true")
@example(key="output_dir", text="=")
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


FILES = (
    *("idx images", "idx labels", "hdf5", "npy", "configuration", "run folder", "checkpoint"),
    *("packed file", "packed header", "golden inputs", "inputs of predict"),
)


@pytest.mark.parametrize("name", FILES)
@FEW
@given(
    data=st.data(),
    place=st.floats(0, 1),
    length=st.sampled_from([0, 1, 2, 4, 64, 10**9]),
    filling=st.binary(max_size=64),
)
def test_a_file_of_which_a_part_is_cut_out_or_overwritten(reader, name: str, data, place, length, filling):
    content = data.draw(st.sampled_from(reader(name).sound))
    start = int(place * len(content))
    reader(name).read(content[:start] + filling[:length] + content[start + length :])


VALUES = st.one_of(
    st.lists(st.floats(width=32), max_size=3).map(np.array),
    st.lists(st.integers(-(2**40), 2**40), min_size=2, max_size=2).map(np.array),
    st.just(np.array([b"x", b"y"])),
    st.just(np.zeros((2, 3, 4))),
    st.floats().map(np.float64),
)


@FEW
@given(name=st.sampled_from(["spikes/times", "spikes/units", "labels", "extra/speaker"]), values=VALUES)
def test_hdf5_contents(reader, tmp_path: Path, name: str, values: np.ndarray):
    path = tmp_path / "changed.h5"
    path.write_bytes(reader("hdf5").sound[0])
    with h5py.File(path, "r+") as file:
        del file[name]
        file[name] = values
    reader("hdf5").read(path.read_bytes())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["trials", "seed", "epoch", "x"]), inner)
    ),
    max_leaves=6,
).map(json.dumps)


@given(text=st.one_of(st.text(max_size=80), st.lists(JSON).map("\n".join), st.just("\0" * 50)))
@settings(deadline=None, max_examples=200)
def test_lines_of_metrics(reader, text: str):
    reader("metrics").read(text.encode())


@FEW
@given(which=st.integers(0, 4), text=JSON)
def test_json_of_another_shape_in_a_run(reader, which: int, text: str):
    reader("run folder").read(bytes([which]) + text.encode())
