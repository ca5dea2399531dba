"""Data sets -> minibatches of time-first spikes or constant images; `load` is the way in, `status` looks only.

Nothing here imports torch before `load` is called.
"""

from types import ModuleType
from typing import TYPE_CHECKING, Any

from rich.table import Column, Table
from rich.text import Text

from snntha.config import OPEN
from snntha.config.schema import Dataset
from snntha.data import dvs_gesture, idx, nmnist, shd
from snntha.data.files import DataError, FoundFiles

if TYPE_CHECKING:
    from snntha.data.batch import Data
    from snntha.data.offers import Offer

FILE_SETS: dict[str, ModuleType] = {
    **dict.fromkeys(("mnist", "fashion_mnist"), idx),
    **dict.fromkeys(("shd", "ssc"), shd),
    "dvs_gesture": dvs_gesture,
    "nmnist": nmnist,
}
_WITHOUT_FILES = {"digits": "comes with snntha", "temporal_coding": "generated from the seed"}


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


def describe(dataset: Dataset) -> dict[str, Any]:
    """What a configuration leaves open and the data say, as changes of `dataset`: shape, classes and their names.

    Raises:
        DataError: data that describe themselves are absent or damaged.
    """
    if dataset.name in OPEN:
        from snntha.data.offers import describe

        said = dataset.kind and dataset.input_shape and dataset.classes
        return {} if said else describe(offer(dataset), dataset)
    if FILE_SETS.get(dataset.name) is shd and not dataset.class_names and (found := status(dataset)).present:
        return {"class_names": shd.class_names(found)}
    return {}


def offer(dataset: Dataset) -> "Offer":
    """The samples of data that describe themselves."""
    from snntha.data import folder, library

    return folder.look(dataset) if dataset.name == "folder" else library.look(dataset)


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
        if dataset.name in OPEN:
            table.add_row("[green]✓[/green]", dataset.name, Text(_summary(dataset)))
            continue
        found = status(dataset)
        if found.present:
            folders = sorted({str(path.parent) for path in found.paths.values()})
            table.add_row("[green]✓[/green]", found.name, Text(", ".join(folders) or _WITHOUT_FILES[found.name]))
        else:
            table.add_row("[red]✗[/red]", found.name, Text(found.report))
    return table


def _summary(dataset: Dataset) -> str:
    """What data that describe themselves are; raises DataError where they are not there."""
    found = {**vars(dataset), **describe(dataset)}
    names = ", ".join(found["class_names"][:8]) or "numbers"
    more = " ..." if len(found["class_names"]) > 8 else ""
    shape = " x ".join(map(str, found["input_shape"]))
    return f"{found['kind']} of {shape}, {found['classes']} classes: {names}{more}, in {dataset.root}"
