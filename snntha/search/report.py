"""The report of a search, which `snntha search STUDY` and the end of a worker print."""

import shlex
from collections import defaultdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.study import Study
from optuna.trial import TrialState
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table

from snntha.search.failures import reason
from snntha.search.results import write_results
from snntha.search.snapshot import Snapshot, score, short_name, short_text

BEST_SHOWN = 10
STATES = {"done": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "running": "RUNNING", "waiting": "WAITING"}


def finish(study: Study, folder: Path, pictures: bool = True) -> None:
    """Print the report, write results and pictures into the study's folder, and say what to do next."""
    snapshot = Snapshot.of(study)
    print_report(snapshot, Console(), datetime.now())
    written = write_results(snapshot, folder)
    for path in written:
        say(f"wrote  {path}")
    if pictures:
        from snntha.search.pictures import draw_pictures  # matplotlib, which a worker need not wait for at its start

        names = [path.name for path in draw_pictures(snapshot, folder / "pictures") if path.suffix == ".png"]
        say(f"wrote  {folder / 'pictures'}: {', '.join(names) or 'nothing yet'}; each as .svg too")
    if snapshot.ranked:
        choices = [f"dataset={snapshot.config['dataset.name']}", f"mode={snapshot.config['mode.name']}"]
        choices += study.user_attrs.get("overrides", [])
        say(f"next   snntha train {shlex.join(choices)} hparams={folder / 'best.yaml'}")


def say(text: str, style: str | None = None) -> None:
    """One line, which is not broken, so that commands and paths in it can be copied."""
    Console().print(text, style=style, soft_wrap=True, highlight=False, markup=False)


def print_report(snapshot: Snapshot, console: Console, now: datetime) -> None:
    """Counts, time left, best and running trials, importances and failures, in the console's width."""
    counts = ", ".join(f"{len(snapshot.having(TrialState[state]))} {name}" for name, state in STATES.items())
    head = Table.grid(padding=(0, 2))
    head.add_row("study", f"{snapshot.name}: {snapshot.setting}")
    head.add_row("trials", f"{counts}; {len(snapshot.ended)} of {snapshot.attributes['n_trials']} ended")
    head.add_row("best", _best(snapshot))
    head.add_row("time left", _time_left(snapshot, now))
    names, wide = snapshot.parameters, console.options.update(width=10_000)
    while names and Measurement.get(console, wide, _best_table(snapshot, names)).maximum > console.width:
        names = names[:-1]
    tables = [
        _best_table(snapshot, names),
        _running_table(snapshot, now),
        _importances_table(snapshot),
        _failures_table(snapshot),
    ]
    console.print(head, *(table for table in tables if table.row_count), highlight=False)


def _best(snapshot: Snapshot) -> str:
    if not snapshot.ranked:
        return "none yet: no trial is complete"
    best = snapshot.ranked[0]
    found = ", ".join(f"{short_name(name)}={short_text(value)}" for name, value in best.params.items())
    return f"{score(best):.2f} (trial {best.number}) with {found}"


def _time_left(snapshot: Snapshot, now: datetime) -> str:
    left, running = snapshot.attributes["n_trials"] - len(snapshot.ended), snapshot.having(TrialState.RUNNING)
    if left <= 0:
        return "none, the study has all its trials"
    seconds = seconds_left(snapshot, now)
    workers = f"{len(running)} running" if running else "1 worker, but none is running"
    return f"{'?' if seconds is None else timedelta(seconds=round(seconds))} with {workers}"


def seconds_left(snapshot: Snapshot, now: datetime) -> float | None:
    """By the mean length of the trials that ended, shared by those that run; None while none has ended."""
    lengths = [trial.duration.total_seconds() for trial in snapshot.ended if trial.duration]
    if not lengths:
        return None
    mean = sum(lengths) / len(lengths)
    began = [trial.datetime_start or now for trial in snapshot.having(TrialState.RUNNING)]
    left = (snapshot.attributes["n_trials"] - len(snapshot.ended)) * mean
    return max(0.0, left - sum(min((now - start).total_seconds(), mean) for start in began)) / max(1, len(began))


def _table(title: str, heads: str, rows: list[list[Any]]) -> Table:
    """Heads with commas between; a cell without value shows `-`, and one that is no name goes to the right."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1), min_width=len(title))
    for number, head in enumerate(heads.split(",")):
        is_text = any(isinstance(row[number], str) for row in rows)
        table.add_column(head, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        table.add_row(
            *("-" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row)
        )
    return table


def _best_table(snapshot: Snapshot, names: list[str]) -> Table:
    rows = []
    for trial in snapshot.ranked[:BEST_SHOWN]:
        parameters = [short_text(trial.params[name]) if name in trial.params else None for name in names]
        seconds = round(trial.duration.total_seconds()) if trial.duration else None
        rows.append([trial.number, score(trial), trial.last_step, seconds, *parameters])
    heads = ",".join(["trial", "value", "epochs", "seconds", *map(short_name, names)])
    return _table(f"Best trials by {snapshot.measure}; all parameters: trials.csv", heads, rows)


def _running_table(snapshot: Snapshot, now: datetime) -> Table:
    rows = []
    for trial in snapshot.having(TrialState.RUNNING):
        best = max(trial.intermediate_values.values(), default=None)
        seconds = round((now - (trial.datetime_start or now)).total_seconds())
        rows.append([trial.number, trial.user_attrs.get("worker", "-"), trial.last_step, best, seconds])
    return _table("Running", "trial,worker,epochs,best,seconds", rows)


def _importances_table(snapshot: Snapshot) -> Table:
    rows = [[short_name(name), 100 * share] for name, share in snapshot.importances.items()]
    return _table("Parameters that tell the best trials from the rest (PED-ANOVA)", "parameter,importance %", rows)


def _failures_table(snapshot: Snapshot) -> Table:
    """By reason, the most frequent first."""
    numbers = defaultdict(list)
    for trial in snapshot.having(TrialState.FAIL):
        numbers[reason(trial)].append(str(trial.number))
    rows = [[len(found), text, ", ".join(found)] for text, found in numbers.items()]
    return _table("Failures", "count,reason,trials", sorted(rows, key=lambda row: -row[0]))
