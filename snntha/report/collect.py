"""Find the folders of runs."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from snntha.errors import UserError
from snntha.folder import RECORDS, RunFolder

SEARCH_TRIAL = re.compile(r"trial_\d+")


def collect(folders: list[Path]) -> list[RunFolder]:
    """The runs in these folders at any depth, each once, oldest first.

    Raises:
        UserError: a folder does not exist, or there is no run in any of them.
    """
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: name one that is a run, or that holds runs at any depth")
    found = {path.resolve(): path for folder in folders for path in find_runs(folder)}
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"no run found in {looked}: a run is a folder with {' or '.join(RECORDS)}; "
            f"make one with: snntha train debug=smoke"
        )
    return sorted((RunFolder(path).read() for path in found.values()), key=lambda run: (run.created, str(run.folder)))


def find_runs(folder: Path) -> Iterator[Path]:
    """Folders of runs in and below a folder; hidden folders and the inside of a run are not searched.

    The trials of a hyperparameter search are found only in the folder of that search: they are many, and short.
    """
    for parent, children, files in os.walk(folder):
        if Path(parent) != folder:
            children[:] = [name for name in children if not SEARCH_TRIAL.fullmatch(name)]
        if any(name in files for name in RECORDS):
            children.clear()
            yield Path(parent)
        children[:] = sorted(name for name in children if not name.startswith("."))
