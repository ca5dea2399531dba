"""`snntha report`: the paper's tables from run folders, in a terminal, as text, and as one HTML page."""

from pathlib import Path

from snntha.atomic import write_atomically
from snntha.catalog import find_runs
from snntha.errors import UserError, counted
from snntha.folder import RECORDS, RunFolder
from snntha.report.formats import TEXT_FORMATS, terminal
from snntha.report.tables import build_tables

FORMATS = ("rich", *TEXT_FORMATS)
TABLES = ("results", "accuracy", "cost", "layers", "lightweight", "problems", "all")


def report(folders: list[Path], form: str | None = None, table: str = "results", html: Path | None = None) -> None:
    """Print a table of the runs in these folders, or write the page; both where a format is named with it.

    Args:
        folders: each a run or a folder that holds runs at any depth; UserError where there are none.
        form: one of FORMATS; None: rich, unless a page is written.
        table: one of TABLES; all: those that have rows.
        html: file of the page.
    """
    runs = collect(folders)
    if html is not None:
        from snntha.report.page import page  # plotly is loaded for the page alone

        html.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(html.resolve(), page(runs, folders))
        print(f"wrote {html}: {counted(len(runs), 'run')}, opens in a browser without a network")
        if form is None:
            return
    shown = [found for found in build_tables(runs) if table in ("all", found.name) and (found.rows or table != "all")]
    if form in (None, "rich"):
        terminal(shown)
    else:
        print(TEXT_FORMATS[form](shown))


def collect(folders: list[Path]) -> list[RunFolder]:
    """The runs in these folders at any depth, each once, oldest first; UserError: no such folder, or no run in any."""
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
