"""The numba backend equals the reference: outputs, records, running statistics and every gradient.

Spikes must be equal bit for bit, for which float weights are multiples of 1/8 here: their sums are exact in any order.
Gradients agree within float32 rounding. Buffers are poisoned, so that a cell which is read before it is written shows.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import packed, random_events
from hypothesis import given, settings
from hypothesis import strategies as st

from snntha.kernels import cpu
from snntha.kernels.backend import Backend, run_layers, set_threads
from snntha.kernels.cpu import ahead
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu.workspace import Workspace
from snntha.kernels.cpu_network import run_network
from snntha.kernels.reference import dense
from snntha.kernels.spec import BatchNorm, Dropout, Events, Layer, Result, Static
from snntha.layers import LayerSpec
from snntha.neuron import Neuron
from snntha.threshold import Annealing

NEURON = Neuron(beta=0.9, threshold=2.0, slope=0.5, centre=2.0, strict=False)


@pytest.fixture(autouse=True)
def poisoned_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `take` returns is full of NaN, -1 or the largest unsigned number."""
    take = Workspace.take

    def take_poisoned(self: Workspace, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        array = take(self, name, shape, dtype)
        array.reshape(-1).view(np.uint8)[:] = 0xFF
        return array

    monkeypatch.setattr(Workspace, "take", take_poisoned)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    set_threads(1)
    yield
    set_threads(None)


@dataclass
class Case:
    """A network and its input; `Conv`s are (channels, kernel, pool), dense layers a number of neurons."""

    input_shape: tuple[int, ...]
    topology: tuple[int | tuple[int, int, int], ...]
    static: bool = False
    time_steps: int = 9
    batch: int = 4
    density: float = 0.15
    double: float = 0.3
    binary: bool = True
    batch_norm: bool = False
    training: bool = True
    dropout: float = 0.0
    neuron: Neuron = NEURON
    bias: bool = True
    delay: int = 0  # the longest, in every dense layer that receives spikes
    recurrent: bool = False  # every dense layer that receives spikes
    recurrent_dropout: bool = False
    recurrent_gradient: float = 1.0
    betas: bool = False  # one for each channel of every layer

    def inputs(self) -> Events | Static:
        if self.static:
            image = torch.rand(self.batch, *self.input_shape, generator=torch.Generator().manual_seed(1))
            return Static(image, self.time_steps)
        return random_events(self.time_steps, self.batch, self.input_shape, self.density, seed=1, double=self.double)

    def layers(self) -> list[Layer]:
        """Fresh tensors on every call, always the same numbers."""
        generator = torch.Generator().manual_seed(2)
        layers, shape = [], self.input_shape
        for number, size in enumerate(self.topology):
            bias = norm = drop = delay = recurrent = None
            kernel, pool = 0, 1
            if isinstance(size, tuple):
                channels, kernel, pool = size
                weight = torch.rand(channels, shape[0], kernel, kernel, generator=generator) - 0.5
                out_shape = (channels, *((extent - kernel + 1) // pool for extent in shape[1:]))
                if self.batch_norm:
                    norm = self._norm(channels, generator)
            else:
                weight = torch.rand(size, torch.Size(shape).numel(), generator=generator) - 0.5
                if self.bias:
                    bias = (torch.rand(size, generator=generator) - 0.3).requires_grad_()
                if self.dropout and self.training:
                    drop = Dropout(self.dropout, key=0xC0FFEE11 * (number + 1) & 0xFFFFFFFF)
                if self.delay and not (self.static and number == 0):
                    steps = torch.rand(weight.shape[1], generator=generator) * self.delay
                    delay = steps.round().requires_grad_()
                if self.recurrent and not (self.static and number == 0):
                    recurrent = self._deployed(torch.rand(size, size, generator=generator) - 0.5)
                out_shape = (size,)
            weight = self._deployed(weight)
            neuron = self.neuron
            if self.betas:
                neuron = replace(neuron, beta=(torch.rand(out_shape[0], generator=generator) * 0.98).requires_grad_())
            spec = LayerSpec(
                kind="conv" if kernel else "dense",
                input_shape=shape,
                output_shape=out_shape,
                kernel=kernel,
                pool=pool,
                binary=self.binary,
                batch_norm=norm is not None,
                dropout=self.dropout,
                recurrent=recurrent is not None,
                recurrent_dropout=self.recurrent_dropout,
                recurrent_gradient=self.recurrent_gradient,
                delay=0 if delay is None else self.delay,
                beta=self.neuron.beta,
                slope=self.neuron.slope,
                strict=self.neuron.strict,
                clamped=True,
                threshold=Annealing(self.neuron.threshold, 0.0, 0.0),
            )
            layers.append(Layer(spec, weight, bias, norm, drop, neuron, delay, recurrent))
            shape = out_shape
        return layers

    def _deployed(self, weight: torch.Tensor) -> torch.Tensor:
        return (torch.where(weight >= 0, 1.0, -1.0) if self.binary else (weight * 8).round() / 8).requires_grad_()

    def _norm(self, channels: int, generator: torch.Generator) -> BatchNorm:
        draws = torch.rand(4, channels, generator=generator) + 0.5
        scale, shift = draws[0].requires_grad_(), (draws[1] - 0.5).detach().requires_grad_()
        return BatchNorm(scale.detach().requires_grad_(), shift, draws[2].detach(), draws[3].detach(), self.training)


@dataclass
class Outcome:
    result: Result
    gradients: dict[str, torch.Tensor]
    running: list[torch.Tensor]


def run(backend: Backend, case: Case, *, membrane_loss: bool = True) -> Outcome:
    """Forward with everything recorded, and backward from random cotangents of all outputs."""
    layers = case.layers()
    result = backend(case.inputs(), layers, record=True, membrane=True)
    generator = torch.Generator().manual_seed(3)
    loss = (result.spike_count_BN * torch.randn(result.spike_count_BN.shape, generator=generator)).sum()
    if membrane_loss:
        loss = loss + (result.membrane_TBN * torch.randn(result.membrane_TBN.shape, generator=generator)).sum()
    loss.backward()
    gradients, running = {}, []
    for number, layer in enumerate(layers):
        gradients[f"weight {number}"] = layer.weight.grad
        if layer.bias_N is not None:
            gradients[f"bias {number}"] = layer.bias_N.grad
        if layer.recurrent_NM is not None:
            gradients[f"recurrent {number}"] = layer.recurrent_NM.grad
        if isinstance(layer.neuron.beta, torch.Tensor):
            gradients[f"beta {number}"] = layer.neuron.beta.grad
        if layer.delay_I is not None:
            gradients[f"delay {number}"] = layer.delay_I.grad
        if layer.batch_norm is not None:
            gradients[f"scale {number}"] = layer.batch_norm.scale_C.grad
            gradients[f"shift {number}"] = layer.batch_norm.shift_C.grad
            running += [layer.batch_norm.running_mean_C, layer.batch_norm.running_var_C]
    return Outcome(result, gradients, running)


def assert_agree(ours: Outcome, theirs: Outcome, *, exact: bool) -> None:
    """Equal spikes and membranes (`exact`), gradients within 2e-5 of the largest of each tensor."""
    for number, (left, right) in enumerate(zip(ours.result.layers, theirs.result.layers, strict=True)):
        assert torch.equal(left.spikes_TBX, right.spikes_TBX), f"spikes of layer {number}"
        assert torch.equal(left.spike_count_N, right.spike_count_N), f"counts of layer {number}"
        _assert_values(left.membrane_TBX, right.membrane_TBX, exact, f"membrane of layer {number}")
    assert torch.equal(ours.result.spike_count_BN, theirs.result.spike_count_BN)
    _assert_values(ours.result.membrane_TBN, theirs.result.membrane_TBN, exact, "output membrane")
    for left, right in zip(ours.running, theirs.running, strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-6)
    assert ours.gradients.keys() == theirs.gradients.keys()
    for name, gradient in theirs.gradients.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(ours.gradients[name], gradient, rtol=0, atol=2e-5 * scale + 1e-12, msg=name)


def _assert_values(left: torch.Tensor, right: torch.Tensor, exact: bool, name: str) -> None:
    if exact:
        assert torch.equal(left, right), name
    else:
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-4, msg=name)


DENSE = Case((30,), (70, 20))
CONV = Case((2, 13, 14), ((5, 3, 2), (6, 2, 2), 11))
STATIC = replace(CONV, input_shape=(1, 13, 14), static=True)
CASES = {
    "dense": DENSE,
    "dense-three": Case((30,), (70, 130, 5), dropout=0.2),
    "dense-dropout": replace(DENSE, dropout=0.4),
    "dense-no-bias": replace(DENSE, bias=False),
    "dense-static": Case((30,), (70, 20), static=True, dropout=0.3),
    "dense-counts": replace(DENSE, density=0.5, double=0.9),
    "conv": CONV,
    "conv-dropout": replace(CONV, dropout=0.3),
    "conv-no-pool": replace(CONV, topology=((5, 3, 1), (17, 2, 3), 11)),
    "conv-norm": replace(CONV, batch_norm=True),
    "conv-norm-eval": replace(CONV, batch_norm=True, training=False),
    "conv-last": replace(CONV, topology=((5, 3, 2), (6, 2, 2))),
    "conv-on-dense-picture": replace(CONV, topology=(40, 7)),
    "static": STATIC,
    "static-norm": replace(STATIC, batch_norm=True, dropout=0.3),
    "static-norm-eval": replace(STATIC, batch_norm=True, training=False),
    "strict": replace(DENSE, neuron=replace(NEURON, strict=True)),
    "moved-centre": replace(CONV, neuron=replace(NEURON, centre=0.7)),
    "one-neuron": Case((1,), (1, 1), density=0.6),
    "one-step": replace(CONV, time_steps=1, batch=1),
    "silent": replace(DENSE, density=0.0),
    "silent-conv": replace(CONV, density=0.0),
    "saturated": replace(DENSE, density=1.0, double=0.0),
    "long-rows": Case((300,), (65, 3), density=0.9),
    "delays": replace(DENSE, delay=5),
    "delays-three": Case((30,), (70, 130, 5), dropout=0.2, delay=3),
    "delays-on-conv": replace(CONV, delay=4),
    "delays-static": replace(STATIC, topology=((5, 3, 2), 70, 11), delay=4),
    "delays-past-the-end": replace(DENSE, delay=60, density=0.5),
    "delays-one-step": replace(DENSE, delay=2, time_steps=1),
    "recurrent": replace(DENSE, recurrent=True),
    "recurrent-three": Case((30,), (70, 130, 5), batch=6, recurrent=True, dropout=0.3),
    "recurrent-whole-dropout": replace(DENSE, recurrent=True, dropout=0.3, recurrent_dropout=True),
    "recurrent-delays": Case((30,), (70, 130, 5), recurrent=True, delay=4),
    "recurrent-on-conv": replace(CONV, recurrent=True),
    "recurrent-static": replace(STATIC, topology=((5, 3, 2), 70, 11), recurrent=True),
    "recurrent-one-step": replace(DENSE, recurrent=True, time_steps=1, batch=1),
    "recurrent-strict": replace(DENSE, recurrent=True, neuron=replace(NEURON, strict=True)),
    "recurrent-damped": replace(DENSE, recurrent=True, recurrent_gradient=0.1),
    "recurrent-nothing-back": replace(DENSE, recurrent=True, recurrent_gradient=0.0),
    "betas-three": Case((30,), (70, 130, 5), dropout=0.2, betas=True),
    "betas-delays": replace(DENSE, delay=5, betas=True),
    "betas-conv": replace(CONV, topology=((16, 3, 2), (6, 2, 2), 11), batch_norm=True, betas=True),
    "betas-conv-last": replace(CONV, topology=((5, 3, 2), (6, 2, 2)), betas=True),
    "betas-static": replace(STATIC, dropout=0.3, betas=True),
    "betas-recurrent": Case((30,), (70, 130, 5), batch=6, recurrent=True, dropout=0.3, betas=True),
    "betas-whole-dropout": replace(DENSE, recurrent=True, dropout=0.3, recurrent_dropout=True, betas=True),
    "betas-one-step": replace(DENSE, recurrent=True, time_steps=1, batch=1, betas=True),
    "delays-silent": replace(DENSE, delay=2, density=0.0),
}


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "float"])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_reference(name: str, binary: bool) -> None:
    case = replace(CASES[name], binary=binary)
    assert_agree(run(run_network, case), run(run_layers, case), exact=not case.batch_norm)


@settings(deadline=None, max_examples=40)
@given(
    time_steps=st.integers(1, 70),
    batch=st.integers(1, 5),
    sizes=st.lists(st.integers(1, 150), min_size=2, max_size=4),
    density=st.floats(0, 1),
    binary=st.booleans(),
    strict=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    betas=st.booleans(),
    recurrent=st.booleans(),
)
def test_dense_layers_of_any_size(time_steps, batch, sizes, density, binary, strict, dropout, betas, recurrent) -> None:
    neuron = replace(NEURON, beta=0.75, strict=strict)
    more = {"dropout": dropout, "neuron": neuron, "binary": binary, "betas": betas}
    more |= {
        "recurrent": recurrent,
        "recurrent_gradient": 1 / 16,
    }  # bounded: what grows from step to step does not agree
    case = Case((sizes[0],), tuple(sizes[1:]), False, time_steps, batch, density, **more)
    assert_agree(run(run_network, case), run(run_layers, case), exact=True)


@settings(deadline=None, max_examples=25)
@given(
    time_steps=st.integers(1, 12),
    batch=st.integers(1, 3),
    height=st.integers(8, 14),
    width=st.integers(8, 14),
    channels=st.tuples(st.integers(1, 3), st.integers(1, 20), st.integers(1, 20)),
    pools=st.tuples(st.integers(1, 3), st.integers(1, 2)),
    density=st.floats(0, 0.5),
    static=st.booleans(),
    betas=st.booleans(),
)
def test_convolutions_of_any_size(time_steps, batch, height, width, channels, pools, density, static, betas) -> None:
    topology = ((channels[1], 3, pools[0]), (channels[2], 1, pools[1]), 7)
    case = Case((channels[0], height, width), topology, static, time_steps, batch, density, betas=betas)
    assert_agree(run(run_network, case), run(run_layers, case), exact=True)


@settings(deadline=None, max_examples=60)
@given(
    time_steps=st.integers(1, 140),
    batch=st.integers(1, 4),
    inputs=st.integers(1, 200),
    rate=st.sampled_from([0.0, 0.001, 0.1, 0.5, 1.0]),
)
def test_lists_of_a_layers_bits_are_those_of_the_same_events(time_steps, batch, inputs, rate) -> None:
    events = random_events(time_steps, batch, (inputs,), rate, double=0.0)
    listed = Spikes.of_input(events.indptr.numpy(), events.index.numpy(), time_steps, batch, inputs)
    kept = Spikes.of_layer(*packed(dense(events)), inputs, number=0)
    assert listed.fullest_step == kept.fullest_step
    for left, right in ((listed.events, kept.events), (listed.by_input(), kept.by_input())):
        for b in range(batch):
            for row in range(left[0].shape[1] - 1):
                expected = left[1][left[0][b, row] : left[0][b, row + 1]]
                assert np.array_equal(right[1][right[0][b, row] : right[0][b, row + 1]], expected)


def test_layers_of_more_inputs_than_16_bits_address() -> None:
    case = Case((2**16 + 5,), (3, 2), time_steps=2, batch=2, density=0.01)
    assert_agree(run(run_network, case), run(run_layers, case), exact=True)


def test_evaluation_without_gradients_equals_training() -> None:
    case = CASES["conv-dropout"]
    with torch.no_grad():
        result = run_network(case.inputs(), case.layers())
    expected = run(run_network, case).result
    assert torch.equal(result.spike_count_BN, expected.spike_count_BN)
    assert result.membrane_TBN is None
    for left, right in zip(result.layers, expected.layers, strict=True):
        assert torch.equal(left.spike_count_N, right.spike_count_N)
        assert left.spikes_TBX is None and left.membrane_TBX is None


def test_loss_of_spike_counts_alone() -> None:
    case = CASES["dense-dropout"]
    left, right = run(run_network, case, membrane_loss=False), run(run_layers, case, membrane_loss=False)
    assert_agree(left, right, exact=True)


def test_loss_of_the_membrane_alone() -> None:
    gradients = []
    for backend in (run_network, run_layers):
        layers = DENSE.layers()
        backend(DENSE.inputs(), layers, membrane=True).membrane_TBN.square().mean().backward()
        gradients.append([layer.weight.grad for layer in layers])
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["dense-three", "conv-norm", "conv-dropout", "static-norm"])
def test_every_bit_is_independent_of_the_number_of_threads(name: str) -> None:
    case = replace(CASES[name], batch=7, time_steps=20)
    one = run(run_network, case)
    set_threads(2)
    two = run(run_network, case)
    assert torch.equal(one.result.membrane_TBN, two.result.membrane_TBN)
    for left, right in zip(one.result.layers, two.result.layers, strict=True):
        assert torch.equal(left.membrane_TBX, right.membrane_TBX)
    for left, right in zip(one.running, two.running, strict=True):
        assert torch.equal(left, right)
    for parameter, gradient in one.gradients.items():
        assert torch.equal(gradient, two.gradients[parameter])


def test_two_minibatches_under_way_at_once_do_not_share_buffers() -> None:
    case = CASES["conv-norm"]
    first, second = case.layers(), case.layers()
    pending = run_network(case.inputs(), first).spike_count_BN
    other = replace(case, density=0.5).inputs()
    run_network(other, second).spike_count_BN.sum().backward()
    pending.sum().backward()
    expected = case.layers()
    run_network(case.inputs(), expected).spike_count_BN.sum().backward()
    for left, right in zip(first, expected, strict=True):
        assert torch.equal(left.weight.grad, right.weight.grad)


def test_second_backward_through_a_minibatch_is_refused() -> None:
    counts = run_network(DENSE.inputs(), DENSE.layers()).spike_count_BN.sum()
    counts.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="second backward"):
        counts.backward()


def test_buffers_are_reused_and_grow() -> None:
    buffers = Workspace()
    first = buffers.take("a", (4, 5), np.float32)
    assert not np.shares_memory(first, buffers.take("a", (4, 5), np.float32))
    buffers.give("a", first)
    smaller = buffers.take("a", (3,), np.uint16)
    assert np.shares_memory(first, smaller)
    buffers.give("a", smaller)
    assert np.shares_memory(first, buffers.take("a", (20,), np.float32))
    assert buffers.take("a", (21,), np.float32).shape == (21,)


@pytest.mark.parametrize(("status", "again"), [(0, 2), (1, 4)])
def test_compiled_ahead_is_remembered_also_if_it_ended_before_it_was_waited_for(
    status: int, again: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes, and none the next time; two more where they failed."""
    started = []

    class Ended:
        def __init__(self, command: list[str], **_: object):
            started.append(command)

        def poll(self) -> int:
            return status

        wait = poll

        def terminate(self) -> None: ...

    monkeypatch.setattr(ahead, "COMPILED_CODE", tmp_path)
    monkeypatch.setattr(ahead.subprocess, "Popen", Ended)
    specs = [layer.spec for layer in DENSE.layers()]
    ahead.Compilation(specs, images=False).wait()  # never begun: nothing to remember
    for _ in range(2):
        with ahead.Compilation(specs, images=False) as compilation:
            assert not compilation.running
            compilation.wait()
    assert len(started) == again


@pytest.mark.slow
@pytest.mark.parametrize("name", ["conv-norm", "static-norm", "dense", "delays"])
def test_what_is_compiled_ahead_is_all_that_is_needed(name: str, tmp_path: Path) -> None:
    """In a folder of its own: a step finds every kernel, and says so by compiling none."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_kernels import CASES, run, run_network
from snntha.kernels.cpu import COMPILED_CODE, ahead
from snntha.kernels.spec import Static
case = CASES[{name!r}]
compilation = ahead.Compilation([layer.spec for layer in case.layers()], isinstance(case.inputs(), Static))
with compilation:
    assert compilation.running
    compilation.wait()
before = {{path.name for path in COMPILED_CODE.glob("*/*.nbc")}}
run(run_network, case)
more = {{path.name for path in COMPILED_CODE.glob("*/*.nbc")}} - before
assert before and not more, more
with compilation:
    assert not compilation.running
"""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)


def test_compiled_kernels_do_not_outlive_a_change_of_any_source(tmp_path: Path) -> None:
    """Numba itself misses changes of functions that are inlined from other files."""
    package = tmp_path / "copy"
    shutil.copytree(Path(cpu.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = "import copy_of_cpu as cpu; print(cpu.COMPILED_CODE)"
    package.rename(tmp_path / "copy_of_cpu")

    def folder() -> str:
        environment = {**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
        command = [sys.executable, "-c", code]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    before = folder()
    assert before == folder() and Path(before).parent == tmp_path / "cache"
    with (tmp_path / "copy_of_cpu" / "vector.py").open("a") as source:
        source.write("# changed\n")
    assert folder() != before


def test_kernels_are_compiled_where_the_usual_folders_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(blocked), "SNNTHA_CACHE": str(blocked)}
    code = "from snntha.kernels import cpu; print(cpu.COMPILED_CODE)"
    printed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert Path(printed.stdout.strip()).is_relative_to(tempfile.gettempdir())


def test_cpu_kernels_need_no_torch() -> None:
    """They are what runs a network where PyTorch is not installed."""
    code = """
import sys
sys.modules["torch"] = None
import numpy as np
from snntha.kernels.cpu import conv, norm, scan
from snntha.kernels.cpu.dense import DenseLayer
from snntha.kernels.cpu.events import Spikes
from snntha.layers import LayerSpec
from snntha.threshold import Annealing

spec = LayerSpec(kind="dense", input_shape=(3,), output_shape=(2,), binary=True, batch_norm=False, dropout=0.0,
                 beta=0.5, slope=1.0, strict=False, clamped=True, threshold=Annealing(2.0, 0.0, 0.0))
layer = DenseLayer(spec, np.array([[1, 1, 1], [1, -1, 1]], np.float32), None, spec.neuron(2.0), None, 0)
spikes = Spikes.of_input(np.array([0, 3, 3, 5]), np.array([0, 1, 2, 0, 2]), time_steps=3, batch=1, inputs=3)
print(layer.forward(spikes, membrane=True).membrane_TBN[:, 0].tolist())
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    # currents (3, 1), none, (2, 2); the first neuron fires in the first step, both in the last
    assert printed.strip() == "[[3.0, 1.0], [-0.5, 0.5], [1.75, 2.25]]"
