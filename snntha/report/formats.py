"""Tables as Markdown, CSV, JSON and LaTeX, and in a terminal."""

import csv
import io
import json
import re
import textwrap
from typing import Any

from snntha.report.table import Column, Table

FOLDED = 24  # characters of a line of long text in a terminal
_ROW_NAMES = ("dataset", "mode")


def markdown(tables: list[Table]) -> str:
    """Pipe tables; numbers are aligned to the right."""
    parts = []
    for table in tables:
        rules = ["---:" if column.is_number else "---" for column in table.columns]
        rows = [[_escape_markdown(column.title) for column in table.columns], rules, *table.texts(_escape_markdown)]
        lines = [f"## {table.title}", "", *(f"| {' | '.join(cells)} |" for cells in rows), ""]
        parts.append("\n".join([*lines, *(f"- {note}" for note in table.notes)]).rstrip())
    return "\n\n".join(parts)


def as_csv(tables: list[Table]) -> str:
    """One block for each table, below a `# title` line; values in full precision, empty where unknown."""
    parts = []
    for table in tables:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(column.key for column in table.columns)
        writer.writerows([row.get(column.key) for column in table.columns] for row in table.rows)
        parts.append(f"# {table.title}\n{text.getvalue()}")
    return "\n".join(parts).rstrip("\n")


def as_json(tables: list[Table]) -> str:
    """`{"results": {"title", "notes", "rows": [{column: value}]}, ...}` in full precision, null where unknown."""
    return json.dumps({table.name: _plain(table) for table in tables}, indent=2, ensure_ascii=False)


def latex(tables: list[Table]) -> str:
    """One `table` with booktabs rules for each; notes are comments."""
    parts = []
    for table in tables:
        align = "".join("r" if column.is_number else "l" for column in table.columns)
        heads = [_escape_latex(column.title) for column in table.columns]
        rows = [f"  {' & '.join(cells)} \\\\" for cells in table.texts(_escape_latex)]
        lines = [
            *(f"% {note}" for note in table.notes),
            "\\begin{table}",
            "  \\centering",
            f"  \\caption{{{_escape_latex(table.title)}}}",
            f"  \\begin{{tabular}}{{{align}}}",
            "  \\toprule",
            f"  {' & '.join(heads)} \\\\",
            "  \\midrule",
            *rows,
            "  \\bottomrule",
            "  \\end{tabular}",
            "\\end{table}",
        ]
        parts.append("\n".join(lines))
    return "% needs \\usepackage{booktabs}\n" + "\n\n".join(parts)


def terminal(tables: list[Table]) -> None:
    """Print with rich; a table that is too wide continues below, with the columns that name its rows again."""
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    for table in tables:
        table = table.without_constant_columns(("fidelity", "selection", "trials", "measured_on"))
        console.print(Text(table.title, style="bold"))
        for block in _blocks(table, console.width):
            shown = RichTable(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
            for column in block.columns:
                head = "\n".join(textwrap.wrap(column.title, width_of(column, block.rows), break_long_words=False))
                justify = "right" if column.is_number else "left"
                shown.add_column(Text(head), justify=justify, no_wrap=_is_whole(column), overflow="fold")
            for cells in block.texts():
                shown.add_row(*map(Text, cells))
            console.print(shown)
        for note in table.notes:
            console.print(Text(note, style="dim"))
        console.print()


def width_of(column: Column, rows: list[dict[str, Any]]) -> int:
    """Characters that a column needs in a terminal: heads break at spaces, long text is folded, all else is whole."""
    cells = max((len(column.text(row.get(column.key))) for row in rows), default=0)
    return max(cells if _is_whole(column) else min(cells, FOLDED), *map(len, column.title.split()))


def fitting(columns: list[Column], rows: list[dict[str, Any]], width: int) -> int:
    """How many columns, from the left, `terminal` prints within the width: 3 characters between two, 1 at each end."""
    used = 2 - 3
    for number, column in enumerate(columns):
        used += 3 + width_of(column, rows)
        if used > width:
            return number
    return len(columns)


def _is_whole(column: Column) -> bool:
    return column.is_number or column.key in _ROW_NAMES


def _blocks(table: Table, width: int) -> list[Table]:
    """A table that is too wide in parts: numbers, then long text, each time after the number and names of the row."""
    if fitting(table.columns, table.rows, width) == len(table.columns):
        return [table]
    rows = [{"row": number, **row} for number, row in enumerate(table.rows, start=1)]
    names = [Column("row", "row", 0), *(column for column in table.columns if column.key in _ROW_NAMES)]
    rest = sorted((column for column in table.columns if column not in names), key=lambda column: not _is_whole(column))
    blocks = []
    while rest:
        count = max(1, fitting(names + rest, rows, width) - len(names))
        blocks.append(Table(table.name, table.title, names + rest[:count], rows))
        rest = rest[count:]
    return blocks


TEXT_FORMATS = {"markdown": markdown, "csv": as_csv, "json": as_json, "latex": latex}


def _plain(table: Table) -> dict[str, Any]:
    rows = [{column.key: _value(column, row) for column in table.columns} for row in table.rows]
    return {"title": table.title, "notes": table.notes, "rows": rows}


def _value(column: Column, row: dict[str, Any]) -> Any:
    value = row.get(column.key)
    return None if value == "" else value


def _escape_markdown(text: str) -> str:
    return re.sub(r"([\\|*_`<>])", r"\\\1", text)


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _escape_latex(text: str) -> str:
    return re.sub(r"[\\~^&%$#_{}]", lambda match: _LATEX.get(match[0], f"\\{match[0]}"), text)
