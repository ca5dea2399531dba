"""Networks in integers and in C: what is represented, and that the compiled program agrees bit for bit."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from frozen_runs import DIGITS, DVS, SHD, write_run
from test_predict import call
from test_runtime import some_batch

from snntha.data import digits
from snntha.errors import UserError
from snntha.export import c, golden
from snntha.export.freeze import freeze
from snntha.runtime import packed
from snntha.runtime.integer import IntegerLayer, quantize, representable, round_shift
from snntha.runtime.model import Model
from snntha.runtime.network import FrozenNetwork, Images

needs_compiler = pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, FrozenNetwork]:
    folder = tmp_path_factory.mktemp("runs")
    cases = {"digits": DIGITS, "shd": SHD, "dvs": DVS, "code": (*DIGITS, "fidelity=code")}
    return {name: freeze(write_run(folder / name, *overrides)) for name, overrides in cases.items()}


def test_shifts_round_to_the_nearest():
    values = np.arange(-9, 10)
    assert round_shift(values, 2).tolist() == np.floor(values / 4 + 0.5).tolist()
    assert round_shift(values, 0).tolist() == values.tolist()


@pytest.mark.parametrize(
    ("beta", "bits", "nearest"),
    [(1, 8, 1), (0.5, 8, 0.5), (0.9, 8, 0.8984375), (0.95, 8, 0.953125), (0.95, 16, 0.94921875), (0.0, 8, 0.0)],
)
def test_the_nearest_leak_of_three_shifts(beta, bits, nearest):
    assert representable(bits, beta).beta == nearest


def test_one_step_by_hand(networks):
    """u = -20, leak 1/2: round(-20 / 2) = -10 leaves -10; current 7, reset of 16: -19; saturation at -128 and 127."""
    (layer, *_) = quantize(replace(networks["shd"], quantize="int8"))
    assert isinstance(layer, IntegerLayer)
    layer = replace(layer, threshold_C=np.array([16]), leaks=(representable(8, 0.5),))
    state = layer.start(1)
    state.membrane_BN[:] = -20
    state.fired_BN[:] = True
    layer.fire(state, np.full((1, 24), 7))
    assert set(state.membrane_BN[0]) == {-20 - -10 + 7 - 16} and not state.fired_BN.any()
    layer.fire(state, np.full((1, 24), 400))
    assert set(state.membrane_BN[0]) == {127} and state.fired_BN.all()
    layer.fire(state, np.full((1, 24), -400))
    assert set(state.membrane_BN[0]) == {-128}


def test_sixteen_bits_are_near_to_floats(networks):
    """Where beta is represented exactly, hardly a spike differs from float32."""
    frozen = networks["digits"]
    layers = tuple(replace(layer, beta=np.float32(0.875)) for layer in frozen.layers)
    floats = replace(frozen, layers=layers)
    inputs = Images(digits.read()[1].images_BHW[:40, None], 16, frozen.encoding.time_steps)
    for real, whole in zip(
        Model(floats).spikes(inputs), Model(replace(floats, quantize="int16")).spikes(inputs), strict=True
    ):
        assert (real != whole).mean() < 0.01 < real.mean()


def test_thresholds_use_the_range(networks):
    for bits in (8, 16):
        for layer in quantize(replace(networks["dvs"], quantize=f"int{bits}")):
            assert 2 ** (bits - 3) <= layer.threshold_C.min() and layer.threshold_C.max() <= 2 ** (bits - 2)


def test_what_has_no_integers(networks, tmp_path):
    frozen = networks["digits"]
    first, last = frozen.layers
    floats = replace(first, weight=first.weight.astype(np.float32))
    nothing = replace(first, scale_C=first.scale_C * 0)
    huge = replace(first, shift_C=first.shift_C + np.float32(1e12))
    for layer, problem in ((floats, "floats"), (nothing, "scale of 0"), (huge, "32 bits")):
        with pytest.raises(UserError, match=problem):
            quantize(replace(frozen, layers=(layer, last), quantize="int16"))


@needs_compiler
@pytest.mark.parametrize("name", ["digits", "shd", "dvs", "code"])
@pytest.mark.parametrize("integers", ["int8", "int16"])
def test_c_agrees_with_the_integers(networks, name, integers, tmp_path):
    network = replace(networks[name], quantize=integers)
    inputs = golden.to_numpy(some_batch(network, 4), network.encoding)
    flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    if integers == "int8":
        flags.append("-DSNNTHA_PORTABLE")
    program = c.compile_program(c.source(network), tmp_path, *flags)
    printed = c.run_program(program, network, inputs)
    for whole, own in zip(Model(network).spikes(inputs), printed, strict=True):
        assert own.any() and np.array_equal(whole, own)


@needs_compiler
def test_export_of_c_tells_its_sizes(tmp_path, capsys):
    run = write_run(tmp_path / "run", *DIGITS)
    assert call("export", f"run={run}", "format=c", f"output={tmp_path / 'network.c'}") == 0
    printed = capsys.readouterr().out
    assert "all of its memory static" in printed and "for this machine: " in printed
    assert ("for a Cortex-M4: " in printed) == (shutil.which("arm-none-eabi-gcc") is not None)
    text = (tmp_path / "network.c").read_text()
    assert "int16 membranes" in text and "malloc" not in text


@needs_compiler
def test_a_strangers_names_stay_in_the_comment(networks, tmp_path):
    evil = ("*\\\n/ int x = 1 / 0; /*", "??/\n*/", "*/", *"abcdefg")
    text = c.source(replace(networks["digits"], quantize="int8", classes=evil))
    comment = text[: text.index("#include")]
    assert comment.count("*/") == 1 and "\\" not in comment and "?" not in comment
    c.compile_program(text, tmp_path)


def test_a_packed_file_says_that_it_is_quantized(networks, tmp_path):
    path: Path = tmp_path / "m.safetensors"
    path.write_bytes(packed.to_bytes(replace(networks["digits"], quantize="int8")))
    network = packed.read(path)
    assert network.quantize == "int8"
    assert Model(network)(np.full((8, 8), 9, np.uint8))
