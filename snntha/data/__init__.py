"""Data sets -> minibatches of time-first spikes or constant images; `load` is the way in, `status` looks only.

Nothing here imports torch before `load` is called.
"""

from typing import TYPE_CHECKING

from snntha.config.schema import Dataset
from snntha.data.files import DataError, FoundFiles
from snntha.data.status import status, status_table

if TYPE_CHECKING:
    from snntha.data.batch import Data

__all__ = ["DataError", "FoundFiles", "load", "status", "status_table"]


def load(dataset: Dataset, *, selection: str, seed: int) -> "Data":
    """Find, check, split and, for events, bin and cache a data set.

    Args:
        dataset: names it, says where it lies and how time is cut.
        selection: 'validation' holds out dataset.validation_fraction of the training set, drawn with `seed`; 'test'
            holds out nothing.
        seed: of the held-out samples, of `dataset.limit`, and of generated data.

    Raises:
        DataError: files are absent, damaged or another data set's, or a key of `dataset` does not fit.
    """
    from snntha.data.prepare import prepare

    return prepare(dataset, selection, seed)
