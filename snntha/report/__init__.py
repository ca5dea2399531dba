"""`snntha report`: the paper's tables from run folders, in a terminal, as text, and as one HTML page."""

from pathlib import Path

from snntha.report.collect import RunRecord, collect
from snntha.report.comparison import lightweight_table
from snntha.report.formats import TEXT_FORMATS, terminal
from snntha.report.grouping import group
from snntha.report.table import Column, Table
from snntha.report.tables import cost_table, layers_table, results_table

FORMATS = ("rich", *TEXT_FORMATS)
TABLES = ("results", "cost", "layers", "lightweight", "problems")

__all__ = ["FORMATS", "TABLES", "build_tables", "collect", "report", "write_page"]


def report(folders: list[Path], form: str | None = None, only: str | None = None, html: Path | None = None) -> None:
    """Print the tables of the runs in these folders, or write the page; both where a format is named with it.

    Args:
        folders: each a run or a folder that holds runs at any depth.
        form: one of FORMATS; None: rich, unless a page is written.
        only: one of TABLES; None: all that have rows.
        html: file of the page.

    Raises:
        UserError: no run in these folders.
    """
    runs = collect(folders)
    if html is not None:
        write_page(runs, html)
        print(f"wrote {html}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, opens in a browser without a network")
        if form is None:
            return
    shown = [table for table in build_tables(runs) if only in (None, table.name) and table.rows]
    if form in (None, "rich"):
        terminal(shown)
    else:
        print(TEXT_FORMATS[form](shown))


def build_tables(runs: list[RunRecord]) -> list[Table]:
    """All of TABLES, without columns that are empty in every row."""
    results = group(runs)
    builders = (results_table, cost_table, layers_table, lightweight_table)
    tables = [build(results) for build in builders]
    return [table.without_empty_columns() for table in [*tables, _problems_table(runs)]]


def _problems_table(runs: list[RunRecord]) -> Table:
    """Last, because reading the epochs for the others may find more."""
    rows = [{"folder": str(run.folder), "problem": problem} for run in runs for problem in run.problems]
    columns = [Column("folder", "run folder"), Column("problem", "what is missing or damaged")]
    return Table("problems", "Missing records", columns, rows, ["All else in these folders is shown."])


def write_page(runs: list[RunRecord], path: Path) -> None:
    """One self-contained HTML file."""
    from snntha.report.page import page
    from snntha.report.plot_data import run_data

    plots = [run_data(run) for run in runs]  # before the tables: reading the tensors may find problems
    text = page(runs, plots, build_tables(runs))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
