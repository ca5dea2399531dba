"""Losses by hand."""

import pytest
import torch

from snntha.loss import membrane_loss, spike_count_loss
from snntha.optimizer import learning_rate


def test_spike_count_loss_by_hand() -> None:
    """T = 9: targets int(0.8 * 9) = 7 and int(0.2 * 9) = 1; mean over batch and classes, divided by T."""
    count_BN = torch.tensor([[7.0, 3.0, 1.0], [0.0, 1.0, 5.0]])
    labels_B = torch.tensor([0, 2])
    expected = (0 + 4 + 0 + 1 + 0 + 4) / 6 / 9
    assert spike_count_loss(count_BN, labels_B, 9, 0.8, 0.2).item() == pytest.approx(expected)


def test_membrane_loss_is_a_mean_over_steps() -> None:
    membrane_TBN = torch.tensor([0.0, 1.0, 5.0]).view(3, 1, 1)
    target_TBN = torch.tensor([0.0, 2.0, 2.0]).view(3, 1, 1)
    assert membrane_loss(membrane_TBN, target_TBN).item() == pytest.approx(10 / 3)


def test_cosine_comes_back_up_after_its_half_period() -> None:
    assert learning_rate(0.4, 0, half_period=100) == pytest.approx(0.4)
    assert learning_rate(0.4, 50, half_period=100) == pytest.approx(0.2)
    assert learning_rate(0.4, 100, half_period=100) == pytest.approx(0.0)
    assert learning_rate(0.4, 150, half_period=100) == pytest.approx(0.2)
    assert learning_rate(0.4, 200, half_period=100) == pytest.approx(0.4)
    assert learning_rate(0.4, 77, half_period=None) == 0.4
