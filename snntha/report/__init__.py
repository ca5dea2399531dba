"""`snntha report`: the paper's tables from run folders, in a terminal, as text, and as one HTML page."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from snntha.atomic import write_atomically
from snntha.errors import PRINTABLE, UserError
from snntha.folder import RECORDS, RunFolder
from snntha.report.formats import TEXT_FORMATS, terminal
from snntha.report.tables import build_tables

FORMATS = ("rich", *TEXT_FORMATS)
TABLES = ("results", "cost", "layers", "lightweight", "problems")
SEARCH_TRIAL = re.compile(r"trial_\d+")


def report(folders: list[Path], form: str | None = None, only: str | None = None, html: Path | None = None) -> None:
    """Print the tables of the runs in these folders, or write the page; both where a format is named with it.

    Args:
        folders: each a run or a folder that holds runs at any depth; UserError where there are none.
        form: one of FORMATS; None: rich, unless a page is written.
        only: one of TABLES; None: all that have rows.
        html: file of the page.
    """
    runs = collect(folders)
    if html is not None:
        from snntha.report.page import page  # plotly is loaded for the page alone

        html.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(html.resolve(), page(runs))
        print(f"wrote {html}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, opens in a browser without a network")
        if form is None:
            return
    shown = [table for table in build_tables(runs) if only in (None, table.name) and table.rows]
    if form in (None, "rich"):
        terminal(shown)
    else:
        print(TEXT_FORMATS[form](shown))


def collect(folders: list[Path]) -> list[RunFolder]:
    """The runs in these folders at any depth, each once, oldest first; UserError: no such folder, or no run in any."""
    for folder in folders:
        if not folder.is_dir():
            raise UserError(f"{folder} is not a folder: name one that is a run, or that holds runs at any depth")
    found = {path.resolve(): path for folder in folders for path in _find_runs(folder)}
    if not found:
        looked = ", ".join(str(folder) for folder in folders)
        raise UserError(
            f"no run found in {looked}: a run is a folder with {' or '.join(RECORDS)}; "
            f"make one with: snntha train debug=smoke"
        )
    return sorted((RunFolder(path).read() for path in found.values()), key=lambda run: (run.created, str(run.folder)))


def _find_runs(folder: Path) -> Iterator[Path]:
    """Folders of runs in and below a folder; hidden folders and the inside of a run are not searched.

    The trials of a hyperparameter search are found only in the folder of that search: they are many, and short.
    """

    def tell(error: OSError) -> None:
        text = f"note: {error.filename} cannot be read ({error.strerror}), left out"
        print(text.translate(PRINTABLE), file=sys.stderr)

    for parent, children, files in os.walk(folder, onerror=tell):
        if Path(parent) != folder:
            children[:] = [name for name in children if not SEARCH_TRIAL.fullmatch(name)]
        if any(name in files for name in RECORDS):
            children.clear()
            yield Path(parent)
        children[:] = sorted(name for name in children if not name.startswith("."))
