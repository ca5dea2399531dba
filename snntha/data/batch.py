"""What every data set hands to the network: minibatches of samples in memory or in the event cache."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snntha.data.cache import Binned
from snntha.kernels.spec import Events, Static


@dataclass(frozen=True)
class Batch:
    """One minibatch: inputs, and either the class of each sample or the membrane that the output shall follow."""

    inputs: Events | Static
    labels_B: Tensor | None  # int64
    target_TBN: Tensor | None = None  # float32


class Split(Protocol):
    """Training, validation or test samples, read by position."""

    def __len__(self) -> int: ...

    def batch(self, positions: Tensor) -> Batch: ...


@dataclass(frozen=True)
class ImageSplit:
    """Grey images, kept as integers 0..white and handed out as float32 in [0, 1]."""

    images_BX: Tensor  # uint8, (samples, C, H, W)
    labels_B: Tensor  # int64
    white: int
    time_steps: int

    def __len__(self) -> int:
        return len(self.labels_B)

    def batch(self, positions: Tensor) -> Batch:
        image_BX = self.images_BX[positions].float() / self.white
        return Batch(Static(image_BX, self.time_steps), self.labels_B[positions])


@dataclass(frozen=True)
class EventSplit:
    """Some samples of binned recordings, and of each the first `time_steps` steps."""

    binned: Binned
    samples: NDArray[np.int64]  # rows of `binned`
    time_steps: int
    shape: tuple[int, ...]  # (N,) or (C, H, W)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels_B(self) -> Tensor:
        return torch.from_numpy(self.binned.labels[self.samples])

    def batch(self, positions: Tensor) -> Batch:
        samples, indptr = self.samples[positions.numpy()], self.binned.indptr
        rows = (samples * self.binned.time_steps + np.arange(self.time_steps)[:, None]).ravel()  # of all time steps
        start = indptr[rows]
        gathered = np.zeros(len(rows) + 1, dtype=np.int64)
        np.cumsum(indptr[rows + 1] - start, out=gathered[1:])
        source = np.arange(gathered[-1]) + np.repeat(start - gathered[:-1], np.diff(gathered))
        index = torch.from_numpy(self.binned.index[source].astype(np.int32))
        events = Events(torch.from_numpy(gathered), index, self.time_steps, len(samples), self.shape)
        return Batch(events, torch.from_numpy(self.binned.labels[samples]))


@dataclass(frozen=True)
class SingleSplit:
    """One sample that is its own minibatch."""

    only: Batch

    def __len__(self) -> int:
        return 1

    def batch(self, positions: Tensor) -> Batch:
        assert positions.tolist() == [0]
        return self.only


@dataclass(frozen=True)
class Data:
    """A data set, split. `validation` is None where the model is selected on the test set or without labels."""

    train: Split
    validation: Split | None
    test: Split | None
    fingerprint: str  # of the samples before splitting and binning (or of the generator and its seed)
    samples: tuple[int, int] | None = None  # training (held-out ones with them) and test, before `dataset.limit`
    notes: tuple[str, ...] = ()  # what is odd about the files

    @property
    def selected_on(self) -> str:
        """What picks the best epoch: validation or test, or training where there is nothing else."""
        return "validation" if self.validation is not None else "test" if self.test is not None else "training"
