"""`snntha report`: the paper's tables from run folders, in a terminal, as text, and as one HTML page."""

from pathlib import Path

from snntha.report.collect import collect
from snntha.report.formats import TEXT_FORMATS, terminal
from snntha.report.tables import build_tables

FORMATS = ("rich", *TEXT_FORMATS)
TABLES = ("results", "cost", "layers", "lightweight", "problems")

__all__ = ["FORMATS", "TABLES", "build_tables", "collect", "report"]


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
        from snntha.report.page import page  # plotly is loaded for the page alone

        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(page(runs), encoding="utf-8")
        print(f"wrote {html}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, opens in a browser without a network")
        if form is None:
            return
    shown = [table for table in build_tables(runs) if only in (None, table.name) and table.rows]
    if form in (None, "rich"):
        terminal(shown)
    else:
        print(TEXT_FORMATS[form](shown))
