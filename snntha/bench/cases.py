"""What is timed: a published network at its published size, and random inputs that resemble its data set."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from torch import Tensor

from snntha.config import Config, compose
from snntha.data.batch import Batch
from snntha.kernels import reference
from snntha.kernels.spec import Events, Static

SHD_DENSITY = 0.034  # share of channel-steps with an event
TRAINING_SAMPLES = {  # of a whole training set, for the time of an epoch
    "mnist": 60_000,  # Sec. 4.2
    "fashion_mnist": 60_000,  # Sec. 4.2
    "dvs_gesture": 1_176,  # what the cosine of the reference code counts: 735 minibatches of 16 in 10 epochs
    "shd": 8_156,  # the file shd_train.h5
}
TRAINED_AFTER = {"mnist": 60, "fashion_mnist": 60, "dvs_gesture": 100, "shd": 60}  # minibatches; rates are steady then
ZERO_SHARE = {"mnist": 0.81, "fashion_mnist": 0.50}  # of the pixels
SHAPE_CELLS = 5  # a picture is interpolated from so many random values a side
CONTRAST = 4.0  # with it pixels that are not black have the mean of the data sets: about 0.6
BLOB_RADIUS = 2.5  # pixels; with the rate below about 2 % of the cells of a DVS step hold events
BLOB_RATE = 0.6  # events per cell and step in the middle of the blob
DENSITY_ROUNDS = 20
SHD_BURSTS = 12  # random values over time, between which the rate of a class is interpolated


@dataclass(frozen=True)
class Case:
    """One network and its batches.

    Args:
        dataset: which published network.
        mode: as in `snntha train`.
        backend: of snntha.
        density: share of input cells with an event, SHD only.
        overrides: further `key=value` of the configuration, such as a smaller topology.
        seed: of weights, inputs and labels.
    """

    dataset: str
    mode: str = "annealed"
    backend: str = "auto"
    density: float = SHD_DENSITY
    overrides: tuple[str, ...] = ()
    seed: int = 0

    @cached_property
    def config(self) -> Config:
        """With `fidelity=code`, which is what the snnTorch loop computes."""
        chosen = [f"dataset={self.dataset}", f"mode={self.mode}", f"backend={self.backend}", "fidelity=code"]
        return compose([*chosen, *self.overrides])

    def batch(self, number: int = 0) -> Batch:
        """The inputs of that number: samples of classes that a network can learn to tell apart."""
        config = self.config
        classes, batch = config.dataset.classes, config.hparams.batch_size
        of_classes = torch.Generator().manual_seed(self.seed)
        of_samples = torch.Generator().manual_seed(self.seed + 1 + number)
        labels_B = torch.randint(classes, (batch,), generator=of_samples)
        make_inputs: Callable[..., Events | Static] = {"shd": _noise, "dvs_gesture": _moving_blobs}.get(
            self.dataset, _images
        )
        return Batch(make_inputs(self, labels_B, of_classes, of_samples), labels_B)


def without_dropout(config: Config) -> Config:
    """The configuration with every dropout probability 0, as two implementations can be compared."""
    return replace(config, hparams=replace(config.hparams, dropout=[0.0] * len(config.hparams.dropout)))


def dense(inputs: Events | Static) -> Tensor:
    """inputs_TBX as the snnTorch loop reads them."""
    if isinstance(inputs, Events):
        return reference.dense(inputs)
    return inputs.image_BX.expand(inputs.time_steps, *inputs.image_BX.shape)


def events_of(counts_TBX: Tensor) -> Events:
    """The sparse form of spike counts, (T, B, N) or (T, B, C, H, W)."""
    time_steps, batch, *shape = counts_TBX.shape
    channels_last = counts_TBX.movedim(2, -1) if len(shape) == 3 else counts_TBX
    counts = channels_last.reshape(time_steps * batch, -1).int()
    rows, index = counts.nonzero(as_tuple=True)
    indptr = torch.zeros(time_steps * batch + 1, dtype=torch.int64)
    indptr[1:] = counts.sum(1).cumsum(0)
    return Events(indptr, index.repeat_interleave(counts[rows, index]).int(), time_steps, batch, tuple(shape))


def _noise(case: Case, labels_B: Tensor, of_classes: torch.Generator, of_samples: torch.Generator) -> Events:
    """Channels fire independently, at rates that differ by class, channel and time; `case.density` on average."""
    dataset = case.config.dataset
    profile_CN = torch.rand((dataset.classes, *dataset.input_shape), generator=of_classes).square()
    bursts = torch.rand((dataset.classes, 1, SHD_BURSTS), generator=of_classes).square()
    course_CT = F.interpolate(bursts, size=dataset.time_steps, mode="linear")[:, 0]
    rate_CTN = course_CT[:, :, None] * profile_CN[:, None]
    for _ in range(DENSITY_ROUNDS):  # rates above 1 are cut, and what is cut is made good elsewhere
        rate_CTN = (rate_CTN * (case.density / rate_CTN.mean((1, 2), keepdim=True))).clamp(max=1)
    rate_TBN = rate_CTN[labels_B].transpose(0, 1)
    return events_of(torch.rand(rate_TBN.shape, generator=of_samples) < rate_TBN)


def _moving_blobs(case: Case, labels_B: Tensor, _: torch.Generator, of_samples: torch.Generator) -> Events:
    """Each sample is one round blob on a circular path, with Poisson counts in both polarities; the class tells how
    fast it goes, and which way round."""
    config = case.config
    channels, height, width = config.dataset.input_shape
    phase_B = 2 * math.pi * torch.rand(len(labels_B), generator=of_samples)
    period_B = (30 + 5 * labels_B) * (1 - 2 * (labels_B % 2))
    angle_TB = 2 * math.pi * torch.arange(config.dataset.time_steps)[:, None] / period_B + phase_B
    row_TB = height / 2 + height / 4 * angle_TB.sin()
    column_TB = width / 2 + width / 4 * angle_TB.cos()
    rows_H, columns_W = torch.arange(height), torch.arange(width)
    squared_TBHW = (rows_H[:, None] - row_TB[..., None, None]) ** 2 + (columns_W - column_TB[..., None, None]) ** 2
    rate_TBHW = BLOB_RATE * torch.exp(-squared_TBHW / (2 * BLOB_RADIUS**2))
    rate_TBCHW = rate_TBHW[:, :, None].expand(-1, -1, channels, -1, -1).contiguous()
    return events_of(torch.poisson(rate_TBCHW, generator=of_samples))


def _images(case: Case, labels_B: Tensor, of_classes: torch.Generator, of_samples: torch.Generator) -> Static:
    """Smooth random shapes on black, one for each class with changes of its own for each sample; grey in [0, 1]."""
    dataset = case.config.dataset
    channels, *size = dataset.input_shape

    def shapes(count: int, generator: torch.Generator) -> Tensor:
        cells = torch.rand((count, channels, SHAPE_CELLS, SHAPE_CELLS), generator=generator)
        return F.interpolate(cells, size=size, mode="bicubic")

    field_BX = 2 * shapes(dataset.classes, of_classes)[labels_B] + shapes(len(labels_B), of_samples)
    level = field_BX.quantile(ZERO_SHARE.get(dataset.name, 0.5))
    grey_BX = CONTRAST * (field_BX - level) / (field_BX.max() - level)
    return Static(grey_BX.clamp(0, 1), dataset.time_steps)
