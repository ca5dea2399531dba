"""Shared by the tests: small configurations, random spikes, and the real data beside the project."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch

from snntha.kernels.cpu.vector import TILE
from snntha.kernels.spec import Events

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    """Folder of real data beside the checkout; the test is skipped where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("needs the real data in ../shared/data")
    return SHARED_DATA


@pytest.fixture
def shared_images(shared_data: Path) -> Path:
    """Folder of MNIST and FashionMNIST as published, where torchvision puts them."""
    if not (shared_data / "FashionMNIST" / "raw").is_dir() or not (shared_data / "MNIST" / "raw").is_dir():
        pytest.skip("needs MNIST and FashionMNIST")
    return shared_data


@pytest.fixture(scope="module")
def quiet_optuna() -> Iterator[None]:
    """Optuna tells of each new study on stderr, unless it is told not to."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def random_events(
    time_steps: int, batch: int, shape: tuple[int, ...], density: float, *, seed: int = 0, double: float = 0.1
) -> Events:
    """Bernoulli events; a share `double` of them counts twice."""
    generator = torch.Generator().manual_seed(seed)
    size = torch.Size(shape).numel()
    counts = (torch.rand(time_steps * batch, size, generator=generator) < density).int()
    counts += counts * (torch.rand(counts.shape, generator=generator) < double)
    rows, index = counts.nonzero(as_tuple=True)
    repeats = counts[rows, index]
    indptr = torch.zeros(time_steps * batch + 1, dtype=torch.int64)
    indptr[1:] = counts.sum(1).cumsum(0)
    return Events(indptr, index.repeat_interleave(repeats).int(), time_steps, batch, shape)


def packed(spikes_TBN: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Spikes as a layer of the kernels hands them on: bits_BGTF, and how often each neuron fired, count_BP."""
    time_steps, batch, neurons = spikes_TBN.shape
    padded_TBP = np.zeros((time_steps, batch, -(-neurons // TILE) * TILE), np.uint8)
    padded_TBP[..., :neurons] = spikes_TBN.numpy()
    bits_BGTJ = padded_TBP.reshape(time_steps, batch, -1, TILE).transpose(1, 2, 0, 3)
    bytes_BGTK = np.ascontiguousarray(np.packbits(bits_BGTJ, axis=-1, bitorder="little"))
    return bytes_BGTK.view(np.uint16), padded_TBP.sum(0, dtype=np.int32)
