"""What every data set hands to the network."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

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
class Data:
    """A data set, split. `validation` is None where the model is selected on the test set or without labels."""

    train: Split
    validation: Split | None
    test: Split | None
    fingerprint: str  # of the samples before splitting and binning (or of the generator and its seed)

    @property
    def selected_on(self) -> str:
        """What picks the best epoch: validation or test, or training where there is nothing else."""
        return "validation" if self.validation is not None else "test" if self.test is not None else "training"
