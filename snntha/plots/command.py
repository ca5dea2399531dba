"""`snntha plot`: what it prints."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from snntha.plots import FIGURES, plot
from snntha.plots.folders import Options

SHARED_OUTPUT = Path("outputs/plots")  # pictures of several runs, or of none


def run_command(*, run: list[Path], figure: list[str], output: Path | None, **options: Any) -> None:
    """Draw, and print the files and what was missing; without run and figure, say what figures there are.

    Args:
        run: folders of runs.
        figure: names of `FIGURES`; empty for all that suit the runs.
        output: folder for the pictures; None for that of the run, or of several `SHARED_OUTPUT`.
        options: fields of `Options`.
    """
    console = Console()
    if not run and not figure:
        console.print(figures_table())
        return
    output = output or (run[0] / "plots" if len(run) == 1 else SHARED_OUTPUT)
    written, notes = plot(run, figure, output, Options(**options))
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
