"""Threshold annealing: Eq. (4) as a recursion and in closed form, its bounds, and the published end points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snntha.config import compose
from snntha.threshold import anneal, anneal_layers, theta_after

starts = st.floats(0.01, 100)
rises = st.floats(0, 100)
rates = st.floats(0, 1)


@given(starts, rises, rates, st.integers(0, 300))
def test_recursion_equals_closed_form(start: float, rise: float, rate: float, updates: int) -> None:
    theta = start
    for _ in range(updates):
        theta = anneal(theta, start + rise, rate)
    assert theta == pytest.approx(theta_after(start, rise, rate, updates), rel=1e-9)


@given(starts, rises, rates)
def test_never_falls_never_overshoots(start: float, rise: float, rate: float) -> None:
    final, theta = start + rise, start
    for _ in range(50):
        following = anneal(theta, final, rate)
        assert theta <= following or following == pytest.approx(theta)
        assert following <= final * (1 + 1e-12)
        theta = following


def test_layers_anneal_on_their_own() -> None:
    assert anneal_layers([1.0, 2.0, 3.0], [2.0, 2.0, 13.0], [0.5, 0.5, 0.1]) == [1.5, 2.0, 4.0]


def test_temporal_coding_thresholds_of_the_notes() -> None:
    threshold = compose(["dataset=temporal_coding"]).hparams.threshold
    for updates, expected in ((100, 22.7), (400, 43.94), (1000, 49.70)):
        theta = theta_after(threshold.start[0], threshold.rise[0], threshold.rate[0], updates)
        assert theta == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    "dataset, updates", [("mnist", [190, 37, 4185]), ("fashion_mnist", [123, 14, 42]), ("dvs_gesture", [1381, 753, 25])]
)
def test_updates_until_99_percent_of_the_rise(dataset: str, updates: list[int]) -> None:
    rates = compose([f"dataset={dataset}"]).hparams.threshold.rate
    for rate, count in zip(rates, updates, strict=True):
        assert theta_after(0, 1, rate, count + 1) >= 0.99 > theta_after(0, 1, rate, count - 2)
