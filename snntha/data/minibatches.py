"""Samples in memory or in the event cache, assembled into minibatches."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snntha.data.batch import Batch
from snntha.data.cache import Binned
from snntha.kernels.spec import Events, Static


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
        samples = self.samples[positions.numpy()]
        rows_TB = samples * self.binned.time_steps + np.arange(self.time_steps)[:, None]
        indptr, index = gather_rows(self.binned.indptr, self.binned.index, rows_TB.ravel())
        labels_B = torch.from_numpy(self.binned.labels[samples])
        events = Events(torch.from_numpy(indptr), torch.from_numpy(index), self.time_steps, len(samples), self.shape)
        return Batch(events, labels_B)


@dataclass(frozen=True)
class SingleSplit:
    """One sample that is its own minibatch."""

    only: Batch

    def __len__(self) -> int:
        return 1

    def batch(self, positions: Tensor) -> Batch:
        assert positions.tolist() == [0], f"positions={positions.tolist()}; there is one sample"
        return self.only


def gather_rows(
    indptr: NDArray[np.int64], index: NDArray[np.uint16], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Chosen rows of a compressed sparse matrix, in the order given: its new indptr and index."""
    start = indptr[rows]
    gathered = np.zeros(len(rows) + 1, dtype=np.int64)
    np.cumsum(indptr[rows + 1] - start, out=gathered[1:])
    source = np.arange(gathered[-1]) + np.repeat(start - gathered[:-1], np.diff(gathered))
    return gathered, index[source].astype(np.int32)
