"""What every data set hands to the network: minibatches of samples in memory or in the event cache."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from snntha.data.cache import Binned
from snntha.errors import UserError
from snntha.kernels.spec import Events, Static

MOST_ON_DEVICE = 2**8  # events of an input in one step: whole numbers up to here are bf16 numbers


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

    def to(self, device: torch.device) -> "Split":
        """The same samples in the memory of a device, where minibatches are then made."""
        ...


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
        positions = positions.to(self.labels_B.device, non_blocking=True)
        image_BX = self.images_BX[positions].float() / self.white
        return Batch(Static(image_BX, self.time_steps), self.labels_B[positions])

    def to(self, device: torch.device) -> "ImageSplit":
        return replace(self, images_BX=self.images_BX.to(device), labels_B=self.labels_B.to(device))


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

    def to(self, device: torch.device) -> "EventSplit | DeviceEventSplit":
        return self if device.type == "cpu" else DeviceEventSplit.upload(self, device)


@dataclass(frozen=True)
class DeviceEventSplit:
    """An `EventSplit` with all its events on a device, where a minibatch is gathered without waiting for it."""

    first_SR: Tensor  # int64, (samples, time_steps + 1): where the events of each step begin, and the last ones end
    index: Tensor  # int32, (events,)
    labels_S: Tensor  # int64
    events_S: NDArray[np.int64]  # how many a sample has, known to the host
    shape: tuple[int, ...]

    @classmethod
    def upload(cls, split: EventSplit, device: torch.device) -> "DeviceEventSplit":
        """Copy the events once; raises UserError where an input counts more in one step than products there hold."""
        binned, rows_S = split.binned, split.samples * split.binned.time_steps
        first_SR = binned.indptr[rows_S[:, None] + np.arange(split.time_steps + 1)]
        for s, t in np.argwhere(np.diff(first_SR) > MOST_ON_DEVICE):
            most = np.bincount(binned.index[first_SR[s, t] : first_SR[s, t + 1]]).max()
            if most > MOST_ON_DEVICE:
                raise UserError(
                    f"an input has {most} events in one time step, of which a GPU takes up to {MOST_ON_DEVICE}: "
                    f"pass a smaller dataset.bin_ms, or device=cpu"
                )
        events_S = first_SR[:, -1] - first_SR[:, 0]
        lists = [binned.index[first : first + count] for first, count in zip(first_SR[:, 0], events_S, strict=True)]
        first_SR = first_SR - first_SR[:, :1] + (np.cumsum(events_S) - events_S)[:, None]
        index = np.concatenate(lists).astype(np.int32)
        arrays = first_SR, index, binned.labels[split.samples]
        first_SR, index, labels_S = (torch.from_numpy(values).to(device) for values in arrays)
        return cls(first_SR, index, labels_S, events_S, split.shape)

    def __len__(self) -> int:
        return len(self.labels_S)

    @property
    def labels_B(self) -> Tensor:
        return self.labels_S

    def batch(self, positions: Tensor) -> Batch:
        device, events = self.index.device, int(self.events_S[positions.numpy()].sum())
        positions = positions.to(device, non_blocking=True)
        first_RB = self.first_SR[positions].T
        count_TB = first_RB[1:] - first_RB[:-1]
        gathered = F.pad(count_TB.flatten().cumsum(0), (1, 0))
        shift = (first_RB[:-1].flatten() - gathered[:-1]).repeat_interleave(count_TB.flatten(), output_size=events)
        index = self.index[torch.arange(events, device=device) + shift]
        inputs = Events(gathered, index, len(count_TB), len(positions), self.shape)
        return Batch(inputs, self.labels_S[positions])

    def to(self, device: torch.device) -> "DeviceEventSplit":
        assert device == self.index.device, "events are uploaded once"
        return self


@dataclass(frozen=True)
class SingleSplit:
    """One sample that is its own minibatch."""

    only: Batch

    def __len__(self) -> int:
        return 1

    def batch(self, positions: Tensor) -> Batch:
        assert positions.tolist() == [0]
        return self.only

    def to(self, device: torch.device) -> "SingleSplit":
        return self  # its inputs go where the network is


@dataclass(frozen=True)
class Data:
    """A data set, split. `validation` is None where the model is selected on the test set or without labels."""

    train: Split
    validation: Split | None
    test: Split | None
    fingerprint: str  # of the samples before splitting and binning (or of the generator and its seed)
    samples: tuple[int, int] | None = None  # training (held-out ones with them) and test, before `dataset.limit`
    notes: tuple[str, ...] = ()  # what is odd about the files

    def to(self, device: torch.device) -> "Data":
        """The same data, with all samples on a device."""
        splits = {"train": self.train, "validation": self.validation, "test": self.test}
        return replace(self, **{name: split and split.to(device) for name, split in splits.items()})

    @property
    def selected_on(self) -> str:
        """What picks the best epoch: validation or test, or training where there is nothing else."""
        return "validation" if self.validation is not None else "test" if self.test is not None else "training"
