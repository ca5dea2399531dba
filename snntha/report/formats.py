"""Tables in a terminal and as Markdown, LaTeX, CSV and JSON; what records say is escaped once for each."""

import csv
import io
import json
from collections.abc import Iterator
from functools import partial
from itertools import accumulate
from typing import Any

import jinja2
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from snntha.errors import UserError
from snntha.report.table import ROW_NAMES, Column, Table

_CONDITIONS = (*ROW_NAMES, "fidelity", "selection", "epochs", "epochs_trained", "trials", "measured_on")
FOLDED = 24  # characters that a line of long text keeps in a terminal at least
# Translations: control characters could steer a terminal or end a line of a table, others mean something in a format.
_PRINTABLE = dict.fromkeys([*range(0x20), *range(0x7F, 0xA0)], " ")
_MARKDOWN = _PRINTABLE | {ord(character): f"\\{character}" for character in r"\|*_`<>"}
_LATEX = _PRINTABLE | {ord(character): f"\\{character}" for character in "&%$#_{}"}
_LATEX |= {ord("\\"): r"\textbackslash{}", ord("~"): r"\textasciitilde{}", ord("^"): r"\textasciicircum{}"}


def _terminal(text: str, style: str = "") -> Text:
    return Text(text.translate(_PRINTABLE), style)  # a Text is taken as it is, a string as markup


def csv_cell(value: Any) -> Any:
    """Text that a spreadsheet would compute is quoted by an apostrophe."""
    text = value.translate(_PRINTABLE) if isinstance(value, str) else value
    return f"'{text}" if isinstance(text, str) and text.lstrip().startswith(("=", "+", "-", "@")) else text


def template(name: str, **options: Any) -> jinja2.Template:
    """One of this package's, with these options of Jinja's environment."""
    loader = jinja2.PackageLoader("snntha.report", ".")
    return jinja2.Environment(loader=loader, trim_blocks=True, lstrip_blocks=True, **options).get_template(name)


def _rendered(name: str, escapes: dict[int, str], tables: list[Table]) -> str:
    return template(name, finalize=lambda text: text.translate(escapes)).render(tables=tables).strip()


markdown = partial(_rendered, "tables.md.j2", _MARKDOWN)  # pipe tables; numbers are aligned to the right
latex = partial(_rendered, "tables.tex.j2", _LATEX)  # one `table` with booktabs rules for each; notes are comments


def as_csv(tables: list[Table]) -> str:
    """The one table; values in full precision, empty where unknown. UserError: several make no file of one kind."""
    if len(tables) > 1:
        raise UserError(f"--format=csv: one table is one file: pass --table={' | '.join(t.name for t in tables)}")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for table in tables:
        writer.writerow(column.key for column in table.columns)
        writer.writerows(map(csv_cell, row.values()) for row in table.stored_rows())
    return text.getvalue().strip("\n")


def as_json(tables: list[Table]) -> str:
    """`{"results": {"title", "notes", "rows": [{column: value}]}, ...}` in full precision, null where unknown."""
    told = {table.name: {"title": table.title, "notes": table.notes, "rows": table.stored_rows()} for table in tables}
    return json.dumps(told, indent=2, ensure_ascii=False)


def terminal(tables: list[Table]) -> None:
    """Print with rich; a table that is too wide continues below, with the columns that name its rows again."""
    console = Console()
    for table in tables:
        table = table.without_constant_columns(_CONDITIONS)
        console.print(_terminal(table.title, "bold"))
        for columns, rows in _blocks(table, console.width):
            shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1, 0, 0))
            for column in columns:
                width = _width(column, rows) if _is_whole(column) else None
                justify = "right" if column.is_number else "left"
                shown.add_column(_terminal(column.title), justify=justify, width=width, overflow="fold")
            for row in rows:
                shown.add_row(*(_terminal(column.text(row)) for column in columns))
            console.print(shown)
        for note in table.notes:
            console.print(_terminal(note, "dim"))
        console.print()


def _width(column: Column, rows: list[dict[str, Any]]) -> int:
    """Characters that a column needs: heads break at spaces, long text is folded, all else is whole."""
    cells = max((cell_len(column.text(row)) for row in rows), default=0)
    return max(cells if _is_whole(column) else min(cells, FOLDED), *map(cell_len, column.title.split()))


def _is_whole(column: Column) -> bool:
    return column.is_number or column.key in ROW_NAMES


def _blocks(table: Table, width: int) -> Iterator[tuple[list[Column], list[dict[str, Any]]]]:
    """A table that is too wide in parts: numbers, then long text, each time after the number and names of the row."""
    names, columns, rows = [], table.columns, table.rows

    def fitting(columns: list[Column]) -> int:  # from the left: 2 characters between two
        return sum(end - 2 <= width for end in accumulate(_width(column, rows) + 2 for column in columns))

    if fitting(columns) < len(columns):
        names = [Column("row", "row", 0), *(column for column in columns if column.key in ROW_NAMES)]
        others = [column for column in columns if column not in names]
        columns = sorted(others, key=lambda column: not _is_whole(column))
        rows = [{"row": number, **row} for number, row in enumerate(rows, start=1)]
    while columns:
        count = max(1, fitting(names + columns) - len(names))
        yield names + columns[:count], rows
        columns = columns[count:]


TEXT_FORMATS = {"markdown": markdown, "csv": as_csv, "json": as_json, "latex": latex}
