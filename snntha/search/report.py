"""The report of a search: what `snntha search STUDY` and the end of a worker print and write."""

import shlex
from datetime import datetime
from pathlib import Path

from optuna.study import Study
from rich.console import Console

from snntha.report.formats import terminal
from snntha.search.results import write_results
from snntha.search.snapshot import Snapshot
from snntha.search.tables import overview, report_tables


def finish(study: Study, folder: Path, pictures: bool = True) -> None:
    """Print the report, write results and pictures into the study's folder, and say what to do next."""
    from snntha.search.pictures import draw_pictures  # matplotlib, which a worker need not wait for at its start

    print_report(study)
    written = write_results(study, folder)
    best = folder / "best.yaml"
    lines = [("wrote", str(path)) for path in written]
    if pictures:
        drawn, missing = draw_pictures(study, folder / "pictures")
        names = ", ".join(path.name for path in drawn if path.suffix == ".png")
        lines += [("wrote", f"{folder / 'pictures'}: {names}; each as .svg too")] if drawn else []
        lines += [("note", note) for note in missing]
    if best in written:
        attributes = study.user_attrs
        choices = [f"dataset={attributes['dataset']}", f"mode={attributes['mode']}", *attributes.get("overrides", [])]
        lines.append(("next", f"snntha train {shlex.join(choices)} hparams={best}"))
    print_lines(lines)


def print_lines(lines: list[tuple[str, str]]) -> None:
    """A label and what it is about on each line."""
    for label, text in lines:
        say(f"{label:<6} {text}")


def say(text: str, style: str | None = None) -> None:
    """One line, which is not broken, so that commands and paths in it can be copied."""
    Console().print(text, style=style, soft_wrap=True, highlight=False, markup=False)


def print_report(study: Study) -> None:
    """Counts, best trials, what runs now, importances and failures, in the terminal's width."""
    console, snapshot = Console(), Snapshot.of(study)
    console.print(overview(snapshot, datetime.now()))
    console.print()
    terminal([table for table in report_tables(snapshot, datetime.now(), console.width) if table.rows])
    if not snapshot.importances.shares:
        console.print(f"no parameter importances: {snapshot.importances.note}", highlight=False)
