"""`snntha export` and `snntha predict`: kinds of input, streaming, what is refused."""

import gzip
import io
import json
import os
import re
import struct
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from frozen_runs import DIGITS, DVS, SHD, write_run
from PIL import Image
from recordings import write_idx

import snntha
from snntha.cli import main
from snntha.data import digits
from snntha.runtime import packed


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Packed files of drawn networks, made by the command."""
    folder = tmp_path_factory.mktemp("models")
    found = {}
    for name, overrides in {"digits": DIGITS, "shd": SHD, "dvs": DVS}.items():
        run = write_run(folder / name, *overrides)
        found[name] = folder / f"{name}.safetensors"
        assert call("export", f"run={run}", f"output={found[name]}", "golden=0") == 0
    return found


def call(*arguments: str) -> int:
    before, sys.argv = sys.argv, ["snntha", *arguments]
    try:
        return main()
    finally:
        sys.argv = before


@pytest.fixture
def predict(capsys):
    """The JSON objects that a call prints, or its message."""

    def run(model: Path, *inputs: object):
        capsys.readouterr()
        status = call("predict", f"model={model}", *map(str, inputs), "--json")
        printed = capsys.readouterr()
        return printed.err if status else [json.loads(line) for line in printed.out.splitlines()]

    return run


@pytest.fixture
def pictures() -> np.ndarray:
    return digits.read()[1].images_BHW[:5]


def test_every_kind_of_picture_gives_the_same_answers(models, predict, pictures, tmp_path):
    answers = snntha.load(models["digits"])(pictures)
    folder = tmp_path / "pictures"
    folder.mkdir()
    np.save(folder / "a.npy", pictures)
    np.save(folder / "b.npy", (pictures / 16)[:, None].astype(np.float32))
    write_idx(folder / "c-idx3-ubyte", pictures, packed=True)
    (folder / "d.npy.gz").write_bytes(gzip.compress((folder / "a.npy").read_bytes()))
    found = predict(models["digits"], folder)
    assert [line["counts"] for line in found] == [list(answer.counts) for answer in answers] * 4
    assert found[5]["input"] == f"{folder}/b.npy[0]" and found[0]["class"] == answers[0].name
    Image.fromarray((np.rint(pictures[0] * (255 / 16))).astype(np.uint8)).convert("RGB").save(tmp_path / "colours.png")
    assert predict(models["digits"], tmp_path / "colours.png")[0]["counts"] == list(answers[0].counts)


def test_standard_input(models, predict, pictures, monkeypatch):
    content = io.BytesIO()
    np.save(content, pictures[0])
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content.getvalue())))
    (found,) = predict(models["digits"], "-")
    assert found["input"] == "standard input"


def channel_events() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    times_us = np.sort(rng.integers(0, 80_000, 400)) // 1000 * 1000  # whole ms, which float seconds round to
    return times_us, rng.integers(0, 700, 400)


def test_every_kind_of_channel_recording_gives_the_same_answer(models, predict, tmp_path):
    times_us, channel = channel_events()
    seconds = np.stack([times_us / 1e6, channel], 1)
    np.save(tmp_path / "plain.npy", seconds)
    structured = np.empty(400, [("t", np.int64), ("x", np.int16), ("p", bool)])
    structured["t"], structured["x"] = times_us, channel
    np.save(tmp_path / "structured.npy", structured)
    with h5py.File(tmp_path / "several.h5", "w") as file:
        for name, values in (("times", seconds[:, 0]), ("units", channel.astype(np.uint16))):
            several = file.create_dataset(f"spikes/{name}", (2,), h5py.vlen_dtype(values.dtype))
            several[0] = several[1] = values
    (expected,) = snntha.load(models["shd"])(seconds)
    found = predict(models["shd"], *(tmp_path / name for name in ("plain.npy", "structured.npy", "several.h5")))
    assert [line["counts"] for line in found] == [list(expected.counts)] * 4
    assert sum(expected.counts) > 0


def write_aedat2(path: Path, x: np.ndarray, y: np.ndarray, p: np.ndarray, t: np.ndarray) -> None:
    """jAER's format of a DVS128: big-endian address and time."""
    rows = np.stack([(x << 8) | (y << 1) | p, t], 1).astype(">u4")
    path.write_bytes(b"#!AER-DAT2.0\r\n# a header line\r\n" + rows.tobytes())


def test_every_kind_of_sensor_recording_gives_the_same_answer(models, predict, tmp_path):
    rng = np.random.default_rng(0)
    x, y, p = rng.integers(0, 128, 3000), rng.integers(0, 128, 3000), rng.integers(0, 2, 3000)
    t_ms = np.sort(rng.integers(0, 74, 3000))
    np.save(tmp_path / "plain.npy", np.stack([x, y, p, t_ms], 1))
    write_aedat2(tmp_path / "recording.aedat", x, y, p, t_ms * 1000)
    plain, aedat = predict(models["dvs"], tmp_path / "plain.npy", tmp_path / "recording.aedat")
    assert plain["counts"] == aedat["counts"] and sum(plain["counts"]) > 0
    (tmp_path / "broken.aedat").write_bytes(b"#!AER-DAT9")
    assert "broken.aedat is damaged" in predict(models["dvs"], tmp_path / "broken.aedat")


def test_a_stream_answers_as_events_come(models, predict, monkeypatch, capsys):
    times_us, channel = channel_events()
    (expected,) = snntha.load(models["shd"])(np.stack([times_us / 1e6, channel], 1))
    text = "".join(f"{t / 1e6} {x}\n" for t, x in zip(times_us, channel, strict=True))
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    found = predict(models["shd"], "--stream")
    assert found[-1]["counts"] == list(expected.counts) and found[-1]["input"] == "step 20, the last"
    steps = [int(line["input"].split()[1].rstrip(",")) for line in found]
    assert steps == sorted(steps) and len(found) > 1
    monkeypatch.setattr(sys, "stdin", io.StringIO("0.0 3\nhello\n"))
    assert "line 2 is 'hello', expected numbers: t x" in predict(models["shd"], "--stream")
    monkeypatch.setattr(sys, "stdin", io.StringIO("0.0 700\n"))
    assert "line 1: x goes from 700.0 to 700.0; expected 0 to below 700" in predict(models["shd"], "--stream")
    assert "leave INPUT out" in predict(models["shd"], "--stream", "x.npy")


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.zeros((9, 8), np.uint8), r"an image of shape \(9, 8\); this network takes \(1, 8, 8\)"),
        (np.full((8, 8), 17, np.uint8), "a grey value of 17; this network's white is 16"),
        (np.full((8, 8), 1.5), "grey values as floats go from 0 to 1"),
        (np.full((8, 8), np.nan), "grey values as floats go from 0 to 1"),
        (np.full((8, 8), "a"), "<U1 values"),
        (np.full((8, 8), None), "is damaged: Object arrays cannot be loaded"),
    ],
)
def test_pictures_that_do_not_fit(models, predict, tmp_path, values, problem):
    np.save(tmp_path / "picture.npy", values)
    assert re.search(f"picture.npy.*{problem}", predict(models["digits"], tmp_path / "picture.npy"))


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        (np.zeros((5, 3)), "expected events as fields or columns t, x"),
        (np.array([[0.1, -1]]), "x goes from -1.0 to -1.0"),
        (np.array([[np.nan, 1]]), "t goes from nan to nan"),
        (np.array([[1e300, 1]]), r"t goes from 1e\+300"),
        (np.array([[0.1, 3.7]]), "x has fractions; expected whole numbers"),
        (np.array([[0.1, 3]] * 9 + [[0, 0]] * 9), "events at time 0 in input 0 fill it up like padding"),
        (np.stack([np.arange(600.0), np.arange(600)], 1), "times, which look like milliseconds: convert them to sec"),
        (np.zeros(3, [("t", np.int64), ("x", np.int32, (2,))]), r"x is int32 of shape \(3, 2\); expected one number"),
        (np.zeros(3, [("t", "U3"), ("x", np.int32)]), "t is <U3 of shape"),
    ],
)
def test_recordings_that_do_not_fit(models, predict, tmp_path, values, problem):
    np.save(tmp_path / "events.npy", values)
    assert re.search(problem, predict(models["shd"], tmp_path / "events.npy"))


def test_a_recording_that_hardly_fills_the_steps_is_told(models, predict, tmp_path, caplog):
    np.save(tmp_path / "long.npy", np.stack([np.arange(0, 20, 0.05), np.arange(400)], 1))
    assert len(predict(models["shd"], tmp_path / "long.npy")) == 1
    assert "of its events lie in the window, and fill 17 of 20 steps of 3 ms; the network has learned" in caplog.text


def test_names_of_classes_do_not_steer_the_terminal(models, pictures, tmp_path, capsys):
    network = packed.read(models["digits"])
    hostile = replace(network, classes=("\x1b[2J",) * 10)
    (tmp_path / "hostile").write_bytes(packed.to_bytes(hostile))
    np.save(tmp_path / "picture.npy", pictures[0])
    assert call("predict", f"model={tmp_path / 'hostile'}", str(tmp_path / "picture.npy")) == 0
    assert "\x1b" not in (printed := capsys.readouterr().out) and "[2J, confidence" in printed


def test_a_stream_that_is_no_text_is_refused_by_its_line(models, predict, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\xff 3\n"), "utf-8"))
    assert r"line 1 is '\\xff 3', expected numbers: t x" in predict(models["shd"], "--stream")


def test_files_that_promise_too_much(models, predict, tmp_path):
    with h5py.File(tmp_path / "huge.h5", "w") as file:
        for name in ("times", "units"):
            file.create_dataset(f"spikes/{name}", (200_000, 10**6), "f8", chunks=(1, 1000))
    assert "huge.h5 is damaged: (200000, 1000000) times" in predict(models["shd"], tmp_path / "huge.h5")
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 2)})
    (tmp_path / "huge.npy").write_bytes(content.getvalue())
    assert "huge.npy is damaged" in predict(models["shd"], tmp_path / "huge.npy")
    cut = content.getvalue().replace(b"(1000000000000, 2)", b"(1000000000000, 2 ").replace(b"}", b" ")
    (tmp_path / "cut.npy").write_bytes(cut)
    assert "cut.npy is damaged" in predict(models["shd"], tmp_path / "cut.npy")


def test_files_that_are_something_else(models, predict, tmp_path):
    for name, content in (("text", b"hello"), ("cut.gz", b"\x1f\x8b\x08"), ("cut.png", b"\x89PNG\r\n\x1a\n123")):
        (tmp_path / name).write_bytes(content)
        assert name in predict(models["digits"], tmp_path / name)
    huge = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sIIBBBBBI", 13, b"IHDR", 10**6, 10**6, 8, 0, 0, 0, 0, 0)
    (tmp_path / "huge.png").write_bytes(huge)
    assert "huge.png is damaged" in predict(models["digits"], tmp_path / "huge.png")
    (tmp_path / "big-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + b"\xff" * 12)
    assert "big-idx3-ubyte is damaged" in predict(models["digits"], tmp_path / "big-idx3-ubyte")
    (tmp_path / "empty").mkdir()
    assert "is a folder without files" in predict(models["digits"], tmp_path / "empty")
    assert "nothing cannot be read" in predict(models["digits"], tmp_path / "nothing")
    assert "INPUT is missing" in predict(models["digits"])
    assert "takes event recordings" in predict(models["shd"], tmp_path / "huge.png")


def test_export_says_what_the_file_holds(tmp_path, capsys):
    run = write_run(tmp_path / "run", *DIGITS)
    assert call("export", f"run={run}", "golden=3") == 0
    printed = capsys.readouterr().out
    path = run / "exports" / "digits_annealed.safetensors"
    assert f"{path}: {path.stat().st_size:,} bytes; 594 weights in 594 bits" in printed
    assert "no golden inputs for snntha verify" in printed  # the drawn run has not seen these data
    assert call("export", f"run={tmp_path}") == 1
    for form in ("packed", "c", "nir", "onnx"):
        for output in (f"{run}/config.yaml/x", str(run)):
            assert call("export", f"run={run}", f"format={form}", f"output={output}", "golden=0") == 1
            assert f"output={output} cannot be written" in capsys.readouterr().err
    assert sorted(os.listdir(run)) == ["config.yaml", "environment.json", "exports", "summary.json", "trial_0"]
