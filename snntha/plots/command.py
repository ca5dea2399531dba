"""`snntha plot`: its arguments as text, what it prints."""

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from snntha.errors import UserError
from snntha.plots import FIGURES, plot
from snntha.plots.folders import Options

Number = TypeVar("Number", int, float)
SHARED_OUTPUT = Path("outputs/plots")  # pictures of several runs, or of none


def run_command(values: dict[str, str]) -> None:
    """Draw, and print the files and what was missing; without run and figure, say what figures there are.

    Args:
        values: text of each key, "" where it was not given.
    """
    console = Console()
    folders = [Path(text) for text in values["run"].split(",") if text]
    names = [text for text in values["figure"].split(",") if text]
    if not folders and not names:
        console.print(figures_table())
        return
    output = Path(values["output"]) if values["output"] else _default_output(folders)
    written, notes = plot(folders, names, output, read_options(values))
    for path in written:
        console.print(str(path), soft_wrap=True, highlight=False)
    for note in notes:
        console.print(f"[yellow]note[/] {note}", soft_wrap=True, highlight=False)


def figures_table() -> Table:
    """All figures and what they show."""
    table = Table(title="snntha plot run=FOLDER figure=NAME", caption="without figure=, all that suit the run")
    for column in ("figure", "shows", "run"):
        table.add_column(column)
    for name, entry in FIGURES.items():
        table.add_row(name, entry.about, "needed" if entry.needs_run else "optional")
    return table


def read_options(values: dict[str, str]) -> Options:
    """Numbers from the command line; raises UserError with the key for what is none."""
    given = {key: text for key, text in values.items() if text}

    def real(key: str, at_least: float | None = None) -> float | None:
        return _number(key, given[key], float, at_least) if key in given else None

    iterations = tuple(_number("iterations", text, int, 0) for text in given.get("iterations", "").split(",") if text)
    return Options(
        trial=_number("trial", given.get("trial", "0"), int, 0),
        iterations=iterations or None,
        frames=_number("frames", given.get("frames", "100"), int, 1),
        beta=real("beta", 0),
        slope=real("slope", 0),
        start=real("start"),
        final=real("final"),
    )


def _number(key: str, text: str, kind: Callable[[str], Number], at_least: float | None) -> Number:
    try:
        value = kind(text)
    except ValueError:
        value = None
    if value is None or (at_least is not None and not value >= at_least):
        wanted = "a whole number" if kind is int else "a number"
        raise UserError(f"{key}={text}: expected {wanted}" + (f", {at_least} or more" if at_least is not None else ""))
    return value


def _default_output(folders: list[Path]) -> Path:
    return folders[0] / "plots" if len(folders) == 1 else SHARED_OUTPUT
