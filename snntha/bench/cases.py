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
ZERO_SHARE = {"mnist": 0.81, "fashion_mnist": 0.50}  # of the pixels
BLOB_RADIUS = 2.5  # pixels; with the rate below about 2 % of the cells of a DVS step hold events
BLOB_RATE = 0.6  # events per cell and step in the middle of the blob


@dataclass(frozen=True)
class Case:
    """One network and its batch; everything that another process needs to build the same.

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

    def shrunk(self) -> "Case":
        """The same kernels at work for a moment: three time steps of two samples."""
        return replace(self, overrides=(*self.overrides, "dataset.time_steps=3", "hparams.batch_size=2"))

    def batch(self) -> Batch:
        """Inputs and labels from the seed."""
        config = self.config
        generator = torch.Generator().manual_seed(self.seed)
        make_inputs: Callable[[Config, float, torch.Generator], Events | Static] = {
            "shd": _bernoulli,
            "dvs_gesture": _moving_blobs,
        }.get(self.dataset, _images)
        inputs = make_inputs(config, self.density, generator)
        return Batch(inputs, torch.randint(config.dataset.classes, (inputs.batch,), generator=generator))

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(TRAINING_SAMPLES[self.dataset] / self.config.hparams.batch_size)


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


def _bernoulli(config: Config, density: float, generator: torch.Generator) -> Events:
    """Every channel fires at every step with the same probability."""
    shape = config.dataset.time_steps, config.hparams.batch_size, *config.dataset.input_shape
    return events_of(torch.rand(shape, generator=generator) < density)


def _moving_blobs(config: Config, _density: float, generator: torch.Generator) -> Events:
    """Each sample is one round blob on a circular path, with Poisson counts in both polarities."""
    time_steps, batch = config.dataset.time_steps, config.hparams.batch_size
    channels, height, width = config.dataset.input_shape
    phase_B = 2 * math.pi * torch.rand(batch, generator=generator)
    angle_TB = 2 * math.pi * torch.arange(time_steps)[:, None] / 50 + phase_B
    row_TB = height / 2 + height / 4 * angle_TB.sin()
    column_TB = width / 2 + width / 4 * angle_TB.cos()
    rows_H, columns_W = torch.arange(height), torch.arange(width)
    squared_TBHW = (rows_H[:, None] - row_TB[..., None, None]) ** 2 + (columns_W - column_TB[..., None, None]) ** 2
    rate_TBHW = BLOB_RATE * torch.exp(-squared_TBHW / (2 * BLOB_RADIUS**2))
    rate_TBCHW = rate_TBHW[:, :, None].expand(-1, -1, channels, -1, -1).contiguous()
    return events_of(torch.poisson(rate_TBCHW, generator=generator))


def _images(config: Config, _density: float, generator: torch.Generator) -> Static:
    """Smooth random strokes on black, grey values in [0, 1]."""
    shape = config.hparams.batch_size, *config.dataset.input_shape
    field_BX = F.avg_pool2d(torch.rand(shape, generator=generator), 3, stride=1, padding=1)
    level = field_BX.quantile(ZERO_SHARE.get(config.dataset.name, 0.5))
    grey_BX = 3 * (field_BX - level) / (field_BX.max() - level)
    return Static(grey_BX.clamp(0, 1), config.dataset.time_steps)
