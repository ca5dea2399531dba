"""Threshold annealing: Eq. (4) as a recursion and in closed form, its bounds, and the published end points."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from snntha.config import compose
from snntha.layers import resolve
from snntha.network import SpikingNetwork
from snntha.threshold import Annealing, anneal, survives_annealing, survives_instantly, survives_update

starts = st.floats(0.01, 100)
rises = st.floats(0, 100)
rates = st.floats(0, 1)


@given(starts, rises, rates, st.integers(0, 300))
def test_recursion_equals_closed_form(start: float, rise: float, rate: float, updates: int) -> None:
    theta = start
    for _ in range(updates):
        theta = anneal(theta, start + rise, rate)
    assert theta == pytest.approx(Annealing(start, rise, rate).after(updates), rel=1e-9)


@given(starts, rises, rates)
def test_never_falls_never_overshoots(start: float, rise: float, rate: float) -> None:
    final, theta = start + rise, start
    for _ in range(50):
        following = anneal(theta, final, rate)
        assert theta <= following or following == pytest.approx(theta)
        assert following <= final * (1 + 1e-12)
        theta = following


def test_layers_anneal_on_their_own() -> None:
    overrides = ["model.topology=64Dense3Dense10", "hparams.dropout=[0,0]", "hparams.threshold.start=[1,3]"]
    rows = ["hparams.threshold.rise=[1,10]", "hparams.threshold.rate=[0.5,0.1]"]
    network = SpikingNetwork(compose(["dataset=digits", *overrides, *rows, "hparams.batch_norm=false"]), seed=0)
    assert network.anneal([1.0, 3.0]) == [1.5, 4.0]


def test_temporal_coding_thresholds_of_the_notes() -> None:
    threshold = resolve(compose(["dataset=temporal_coding"]))[0].threshold
    for updates, expected in ((100, 22.7), (400, 43.94), (1000, 49.70)):
        assert threshold.after(updates) == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(
    "dataset, updates", [("mnist", [190, 37, 4185]), ("fashion_mnist", [123, 14, 42]), ("dvs_gesture", [1381, 753, 25])]
)
def test_updates_until_99_percent_of_the_rise(dataset: str, updates: list[int]) -> None:
    rates = compose([f"dataset={dataset}"]).hparams.threshold.rate
    for rate, count in zip(rates, updates, strict=True):
        assert Annealing(0, 1, rate).after(count + 1) >= 0.99 > Annealing(0, 1, rate).after(count - 2)


@given(starts, rises, rates, st.floats(0, 300))
def test_bounds_by_hand(theta: float, distance: float, rate: float, current: float) -> None:
    """Without history Eqs. (5) and (6) say the same, and Eq. (7) is Eq. (6) after all annealing."""
    end = theta + distance
    assert survives_update(3.0, 1.0, 2.5) and not survives_update(2.5, 1.0, 2.5)
    assert survives_instantly(2.6, 1.0, 4.0, 0.5) and not survives_instantly(2.5, 1.0, 4.0, 0.5)
    assert survives_annealing(4.1, 4.0) and not survives_annealing(4.0, 4.0)
    margin = abs(current - anneal(theta, end, rate))
    if margin > 1e-9 * end:
        assert survives_update(current, theta, anneal(theta, end, rate)) == survives_instantly(
            current, theta, end, rate
        )
    if survives_annealing(current, end * (1 + 1e-9)):
        assert survives_instantly(current, theta, end, rate)
