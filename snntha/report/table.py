"""A table of values with their names, units and digits; how it is printed is the business of formats.py."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from importlib import resources
from typing import Any

import yaml

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
        layout = stored("tables.yaml")[name]
        columns = [Column(key, *words) for key, words in layout["columns"].items()]
        notes = [*layout.get("notes", []), *notes]
        return cls(name, layout["title"], columns, list(rows), notes).without_empty_columns()

    def without_empty_columns(self) -> "Table":
        """Columns that say nothing in any row are left out."""
        told = [column for column in self.columns if any(row.get(column.key) not in (None, "") for row in self.rows)]
        return replace(self, columns=told)

    def without_constant_columns(self, keys: Iterable[str]) -> "Table":
        """Of these columns, those with one value throughout are said in the title instead, where a line is narrow."""
        constant = [column for column in self.columns if len({column.text(row) for row in self.rows}) == 1]
        said = [column for column in constant if column.key in keys]
        title = "; ".join([self.title, *(f"{column.title} {column.text(self.rows[0])}" for column in said)])
        return replace(self, title=title, columns=[column for column in self.columns if column not in said])

    def stored_rows(self) -> list[dict[str, Any]]:
        """Each with every column, in the columns' order; None where unknown."""
        keys = [column.key for column in self.columns]
        return [{key: None if row.get(key) == "" else row.get(key) for key in keys} for row in self.rows]


@cache
def stored(name: str) -> dict[str, Any]:
    """The content of a YAML file of this package."""
    return yaml.safe_load(resources.files("snntha.report").joinpath(name).read_text(encoding="utf-8"))
