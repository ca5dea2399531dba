"""Data sets -> minibatches of time-first spikes or constant images; `load` is the way in, `status` looks only.

Nothing here imports torch before `load` is called.
"""

from types import ModuleType
from typing import TYPE_CHECKING

from rich.table import Column, Table
from rich.text import Text

from snntha.config.schema import Dataset
from snntha.data import dvs_gesture, idx, shd
from snntha.data.files import DataError, FoundFiles

if TYPE_CHECKING:
    from snntha.data.batch import Data

FILE_SETS: dict[str, ModuleType] = {"mnist": idx, "fashion_mnist": idx, "dvs_gesture": dvs_gesture, "shd": shd}
IMAGES = ("digits", "mnist", "fashion_mnist")  # the others are events
_WITHOUT_FILES = {"digits": "comes with scikit-learn", "temporal_coding": "generated from the seed"}


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


def status(dataset: Dataset) -> FoundFiles:
    """Whether a data set is present, where it was looked for, what is missing and how to get it; reads no samples."""
    if dataset.name in FILE_SETS:
        return FILE_SETS[dataset.name].find(dataset)
    if dataset.name in _WITHOUT_FILES:
        return FoundFiles(dataset.name, looked_in=(), paths={}, problems={}, remedy="")
    raise DataError(f"dataset.name={dataset.name!r}; expected one of {', '.join((*_WITHOUT_FILES, *FILE_SETS))}")


def status_table(datasets: list[Dataset]) -> Table:
    """One row for each data set: a tick and where it is, or a cross, what is missing and how to get it."""
    table = Table("", "data set", Column("found, or missing and how to get it", overflow="fold"), show_lines=True)
    for dataset in datasets:
        found = status(dataset)
        if found.present:
            folders = sorted({str(path.parent) for path in found.paths.values()})
            table.add_row("[green]✓[/green]", found.name, Text(", ".join(folders) or _WITHOUT_FILES[found.name]))
        else:
            table.add_row("[red]✗[/red]", found.name, Text(found.report))
    return table
