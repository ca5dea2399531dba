"""The event-driven convolution against PyTorch's conv2d and avg_pool2d on the densified input."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from conftest import packed
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snntha.kernels import reference
from snntha.kernels.backend import set_threads
from snntha.kernels.cpu import conv
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu_layers import fold_pooling
from snntha.kernels.spec import Events


@dataclass(frozen=True)
class Case:
    """One convolution and pooling: sizes, and how many events an input has on average."""

    kernel: int = 5
    pool: int = 2
    height: int = 12
    width: int = 12
    inputs: int = 3
    outputs: int = 16
    time_steps: int = 7
    batch: int = 2
    rate: float = 0.1
    binary: bool = True
    bits: bool = False  # the spikes of a layer, at most one a step, which the kernels keep as bits
    patterns: bool = False  # these are handed over four at a time, whatever the rate, where that is possible at all

    @property
    def geometry(self) -> conv.Geometry:
        return conv.Geometry(self.kernel + self.pool - 1, self.pool, self.height, self.width, self.inputs)


AWKWARD = [
    *(Case(kernel=kernel, pool=pool) for kernel in (1, 3, 5) for pool in (1, 2, 3)),
    Case(height=11, width=9, inputs=1, outputs=1),
    Case(kernel=3, pool=3, height=13, width=10, inputs=2, outputs=17),
    Case(kernel=3, pool=1, height=3, width=3, outputs=5, time_steps=1, batch=1),
    Case(rate=0.0),
    Case(rate=2.0),
    Case(inputs=16, outputs=64, time_steps=13),
    Case(binary=False, outputs=33),
]


def make(case: Case) -> tuple[Events, Tensor, Tensor]:
    """Events, weight_OIkk and a gradient of the currents_TBCHW."""
    generator = torch.Generator().manual_seed(0)
    shape = (case.time_steps * case.batch, case.height * case.width * case.inputs)
    rates = torch.full(shape, case.rate)
    drawn = torch.bernoulli(rates, generator=generator) if case.bits else torch.poisson(rates, generator=generator)
    counts = drawn.long()
    if case.time_steps > 1 and not case.bits:
        counts[1] = 0
    weight = torch.randn(case.outputs, case.inputs, case.kernel, case.kernel, generator=generator)
    if case.binary:
        weight = torch.where(weight >= 0, 1.0, -1.0)
    events = to_events(counts, case)
    grad = torch.randn(reference_currents(reference.dense(events), weight, case).shape, generator=generator)
    return events, weight, grad


def to_events(counts: Tensor, case: Case) -> Events:
    """Counts of shape (T * B, H * W * I) as CSR rows."""
    indptr = F.pad(counts.sum(1).cumsum(0), (1, 0))
    index = torch.arange(counts.shape[1]).repeat(len(counts)).repeat_interleave(counts.flatten()).int()
    return Events(indptr, index, case.time_steps, case.batch, (case.inputs, case.height, case.width))


def reference_currents(spikes_TBCHW: Tensor, weight_OIkk: Tensor, case: Case) -> Tensor:
    """currents_TBCHW as defined."""
    current = F.avg_pool2d(F.conv2d(spikes_TBCHW.flatten(0, 1), weight_OIkk), case.pool)
    return current.unflatten(0, (case.time_steps, case.batch))


def folded(weight_OIkk: Tensor, case: Case) -> np.ndarray:
    kernel = fold_pooling(weight_OIkk, case.pool)
    return (kernel.to(torch.int8) if case.binary else kernel).numpy()


def currents(events: Events, weight_OIkk: Tensor, case: Case) -> Tensor:
    """currents_TBCHW of the kernel under test."""
    out = np.full_like(pixels_first(reference_currents(reference.dense(events), weight_OIkk, case)), np.nan)
    kernel_KKIO = folded(weight_OIkk, case)
    conv.conv_currents(spikes(events, kernel_KKIO, case), kernel_KKIO, case.geometry, out)
    return torch.from_numpy(out).permute(3, 0, 4, 1, 2)


def spikes(events: Events, kernel_KKIO: np.ndarray, case: Case) -> Spikes:
    """The events as the kernels take them."""
    inputs = int(np.prod(events.shape))
    if case.bits:
        counts_TBN = reference.dense(events).movedim(2, -1).flatten(2)
        limit = 0.0 if case.patterns and conv.patterns_from(kernel_KKIO) < 1 else math.inf
        return Spikes.of_layer(*packed(counts_TBN), inputs, number=0, patterns_from=limit)
    return Spikes.of_input(events.indptr.numpy(), events.index.numpy(), events.time_steps, events.batch, inputs)


def kernel_gradient(events: Events, weight_OIkk: Tensor, grad_TBCHW: Tensor, case: Case) -> Tensor:
    """grad_kernel_KKIO of the kernel under test."""
    size = case.geometry.taps
    out = np.full((size, size, case.inputs, case.outputs), np.nan, np.float32)
    received = spikes(events, folded(weight_OIkk, case), case)
    conv.conv_weight_gradient(received, pixels_first(grad_TBCHW), case.geometry, out)
    return torch.from_numpy(out)


def spike_gradient(weight_OIkk: Tensor, grad_TBCHW: Tensor, case: Case) -> Tensor:
    """grad_spikes_TBCHW of the kernel under test."""
    shape = (case.batch, case.time_steps, case.height, case.width, case.inputs)
    out = np.full(shape, np.nan, np.float32)
    kernel = conv.input_kernel(weight_OIkk.numpy(), case.geometry)
    conv.conv_input_gradients(conv.ConvolutionAbove(pixels_first(grad_TBCHW), *kernel, case.pool), 0, out)
    return torch.from_numpy(out).permute(1, 0, 4, 2, 3)


def pixels_first(values_TBCHW: Tensor) -> np.ndarray:
    """As the kernels keep them: (B, H, W, T, C)."""
    return values_TBCHW.permute(1, 3, 4, 0, 2).contiguous().numpy()


def assert_close(found: Tensor, expected: Tensor) -> None:
    """Equal up to the rounding of float32 sums of a few thousand terms in another order.

    Where terms cancel, the error is one of the terms' size, which the largest entry tells, and not of the sum's.
    """
    largest = expected.abs().max().item() if expected.numel() else 0.0
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=max(1e-4, 4e-6 * largest))


def check(case: Case) -> None:
    """Currents and both gradients agree with autograd through the definition."""
    events, weight, grad = make(case)
    spikes = reference.dense(events).requires_grad_()
    weight.requires_grad_()
    expected = reference_currents(spikes, weight, case)
    grad_spikes, grad_weight = torch.autograd.grad(expected, (spikes, weight), grad)
    found = currents(events, weight.detach(), case)
    if case.binary:
        assert torch.equal(found, expected)
    else:
        assert_close(found, expected.detach())
    assert_close(spike_gradient(weight.detach(), grad, case), grad_spikes)
    kernel = fold_pooling(weight, case.pool)
    (found_grad_weight,) = torch.autograd.grad(kernel, weight, kernel_gradient(events, weight.detach(), grad, case))
    assert_close(found_grad_weight, grad_weight)


@pytest.mark.parametrize("case", AWKWARD, ids=str)
def test_currents_and_gradients_agree_with_pytorch(case: Case):
    check(case)


@settings(max_examples=60, deadline=None)
@given(
    st.builds(
        Case,
        kernel=st.integers(1, 5),
        pool=st.integers(1, 4),
        height=st.integers(8, 15),
        width=st.integers(8, 15),
        inputs=st.integers(1, 5) | st.sampled_from([8, 12]),
        outputs=st.integers(1, 40),
        time_steps=st.integers(1, 14),
        batch=st.integers(1, 3),
        rate=st.sampled_from([0.0, 0.001, 0.1, 0.5, 1.0]),
        binary=st.booleans(),
        bits=st.booleans(),
        patterns=st.booleans(),
    )
)
def test_any_shape_agrees_with_pytorch(case: Case):
    check(case)


@pytest.mark.parametrize("patterns", [False, True])
@pytest.mark.parametrize("rate", [0.0, 0.001, 0.1, 0.5, 1.0])
def test_any_activity_agrees_with_pytorch(rate: float, patterns: bool):
    check(Case(inputs=16, outputs=64, time_steps=21, rate=rate, bits=True, patterns=patterns))


@pytest.mark.parametrize(("rate", "patterns"), [(0.2, False), (0.6, True)])
def test_what_fires_often_is_handed_over_as_patterns(rate: float, patterns: bool):
    case = Case(inputs=8, time_steps=20, rate=rate, bits=True)
    events, weight, _ = make(case)
    fired = packed(reference.dense(events).movedim(2, -1).flatten(2))
    limit = conv.patterns_from(folded(weight, case))
    assert Spikes.of_layer(*fired, 12 * 12 * 8, number=0, patterns_from=limit).patterns == patterns


@pytest.mark.parametrize(
    "case", [Case(inputs=6), Case(inputs=8, kernel=6, pool=6), Case(inputs=8, binary=False)], ids=str
)
def test_kernels_without_a_table_of_exact_sums_are_handed_events(case: Case):
    weight = torch.ones(case.outputs, case.inputs, case.kernel, case.kernel)
    assert conv.patterns_from(folded(weight, case)) == math.inf


def test_sums_beyond_int16_are_exact():
    """800 inputs of weight +1 that each fire 50 times under 5 x 5 taps: int16 would overflow."""
    case = Case(inputs=32, outputs=2, pool=1, height=5, width=5, time_steps=1, batch=1)
    events = to_events(torch.full((1, 5 * 5 * 32), 50), case)
    weight = torch.ones(2, 32, 5, 5)
    assert torch.equal(currents(events, weight, case), torch.full((1, 1, 2, 1, 1), 40_000.0))


@pytest.fixture
def any_threads() -> Iterator[None]:
    """A test may change the number of threads."""
    yield
    set_threads(None)


@pytest.mark.usefixtures("any_threads")
def test_thread_count_changes_no_bit():
    case = Case(inputs=4, outputs=32, time_steps=40, rate=0.3, binary=False)
    events, weight, grad = make(case)
    results = []
    for count in (1, 3):
        set_threads(count)
        results.append(
            (
                currents(events, weight, case),
                kernel_gradient(events, weight.detach(), grad, case),
                spike_gradient(weight, grad, case),
            )
        )
    for one, two in zip(*results, strict=True):
        assert torch.equal(one, two)


def test_currents_of_the_wrong_size_are_refused():
    case = Case()
    events, weight, _ = make(case)
    out = np.empty((case.batch, 5, 4, case.time_steps, case.outputs), np.float32)
    with pytest.raises(AssertionError, match="expected \\(2, 4, 4, 7, 16\\)"):
        conv.conv_currents(spikes(events, folded(weight, case), case), folded(weight, case), case.geometry, out)
