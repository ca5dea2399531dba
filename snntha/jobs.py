"""The jobs of a multirun: each notes its folder where all of them see it, and one table of them ends the command."""

import json
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from snntha.atomic import append_line
from snntha.catalog import short_id
from snntha.display import plain, say
from snntha.errors import counted
from snntha.folder import RunFolder, spread
from snntha.runs import plus_minus

_JOBS = "jobs.jsonl"  # in the multirun's folder


def note_job(sweep: str, folder: str, overrides: Sequence[str]) -> None:
    """Add a line on a job to the multirun's folder, whichever process it runs in."""
    Path(sweep).mkdir(parents=True, exist_ok=True)
    append_line(Path(sweep) / _JOBS, json.dumps({"folder": folder, "overrides": list(overrides)}))


def print_jobs(sweep: Path) -> None:
    """The jobs of a multirun that has ended, by its folder, with what they came to; nothing where none began."""
    path = sweep / _JOBS
    if not path.is_file():
        return
    jobs = [json.loads(line) for line in path.read_text().splitlines()]
    common = set.intersection(*(set(job["overrides"]) for job in jobs)) if len(jobs) > 1 else set()
    table = Table("id", "job", "state", "seeds", Column("test %", justify="right"), box=None)
    for job in sorted(jobs, key=lambda job: job["overrides"]):
        run = RunFolder(Path(job["folder"]))
        own = " ".join(text for text in job["overrides"] if text not in common)
        cells = [short_id(run.folder), own, run.state, str(len(run.entries))]
        table.add_row(*map(plain, [*cells, plus_minus(spread(run.entries))]))
    console = Console()
    console.print(table, highlight=False)
    shared = "".join(f" {text}" for text in jobs[0]["overrides"] if text in common)
    say(console, f"{counted(len(jobs), 'job')}{shared and ', all with'}{shared}, listed in {path}")
