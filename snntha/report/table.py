"""A table of values with their names, units and digits; how it is printed is the business of formats.py."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from snntha import published

MISSING = "-"
ROW_NAMES = ("dataset", "mode", "network")
stored = partial(published.stored, package="snntha.report")  # the content of a YAML file of this package


@dataclass(frozen=True)
class Column:
    """One column."""

    key: str  # in CSV and JSON
    title: str  # in print
    decimals: int | None = None  # of numbers in print; None: text, or numbers as they are
    factor: float = 1.0  # printed value over stored value, 100 for a fraction shown in percent

    @property
    def is_number(self) -> bool:
        return self.decimals is not None

    def text(self, row: dict[str, Any]) -> str:
        """A row's value in this column as printed for people."""
        value = row.get(self.key)
        return ", ".join(map(self._text, value)) if isinstance(value, list) else self._text(value)

    def _text(self, value: Any) -> str:
        if value is None or value == "":
            return MISSING
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

    @classmethod
    def laid_out(cls, name: str, rows: Iterable[dict[str, Any]], notes: Iterable[str] = ()) -> "Table":
        """As tables.yaml says under that name, without columns that are empty; further notes after those it has."""
        rows, layout = list(rows), stored("tables.yaml")[name]
        told = {key for row in rows for key, value in row.items() if value is not None and value != ""}
        columns = [Column(key, *words) for key, words in layout["columns"].items() if key in told]
        return cls(name, layout["title"], columns, rows, [*layout.get("notes", []), *notes])

    def without_constant_columns(self, keys: Iterable[str]) -> "Table":
        """Of these columns, those with one value throughout are said in the title instead, where a line is narrow."""
        constant = [column for column in self.columns if len({column.text(row) for row in self.rows}) == 1]
        if len(constant) == len(self.columns):  # one row: it still needs its name
            constant = [column for column in constant if column.key not in ROW_NAMES]
        said = [column for column in constant if column.key in keys]
        title = "; ".join([self.title, *(f"{column.title} {column.text(self.rows[0])}" for column in said)])
        return replace(self, title=title, columns=[column for column in self.columns if column not in said])

    def stored_rows(self) -> list[dict[str, Any]]:
        """Each with every column, in the columns' order; None where unknown."""
        keys = [column.key for column in self.columns]
        return [{key: None if row.get(key) == "" else row.get(key) for key in keys} for row in self.rows]
