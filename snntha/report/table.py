"""A table of values with their names, units and digits; how it is printed is the business of formats.py."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

MISSING = "-"


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        key: name in CSV and JSON.
        title: head in print.
        decimals: of numbers in print; None: text, or numbers as they are.
        factor: printed value over stored value, 100 for a fraction shown in percent.
    """

    key: str
    title: str
    decimals: int | None = None
    factor: float = 1.0

    @property
    def is_number(self) -> bool:
        return self.decimals is not None

    def text(self, value: Any) -> str:
        """The value as printed for people."""
        if value is None or value == "":
            return MISSING
        if isinstance(value, list):
            return ", ".join(self.text(entry) for entry in value)
        if self.decimals is None or not isinstance(value, int | float):
            return str(value)
        return f"{value * self.factor:,.{self.decimals}f}"


@dataclass
class Table:
    """Rows are mappings from column key to the stored value, in full precision; None where unknown."""

    name: str
    title: str
    columns: list[Column]
    rows: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list)

    def without_empty_columns(self) -> "Table":
        """Columns that say nothing in any row are left out."""
        told = [column for column in self.columns if any(row.get(column.key) not in (None, "") for row in self.rows)]
        return Table(self.name, self.title, told, self.rows, self.notes)

    def without_constant_columns(self, keys: Iterable[str]) -> "Table":
        """Of these columns, those with one value throughout are said in the title instead, where a line is narrow."""
        said, kept = [], []
        for column in self.columns:
            values = {column.text(row.get(column.key)) for row in self.rows}
            if column.key in keys and len(values) == 1:
                said.append(f"{column.title} {values.pop()}")
            else:
                kept.append(column)
        return Table(self.name, "; ".join([self.title, *said]), kept, self.rows, self.notes)

    def texts(self, escape: Callable[[str], str] = str) -> list[list[str]]:
        """The cells as printed, row by row."""
        return [[escape(column.text(row.get(column.key))) for column in self.columns] for row in self.rows]
