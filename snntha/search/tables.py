"""What a search has found so far, as it is printed: how far it is, its best trials, importances, failures."""

from collections import defaultdict
from datetime import datetime, timedelta
from typing import Any

from optuna.trial import TrialState
from rich.console import RenderableType
from rich.table import Table as Grid
from rich.text import Text

from snntha.report.formats import fitting
from snntha.report.table import Column, Table
from snntha.search.failures import reason
from snntha.search.snapshot import Snapshot, duration, score, short_name, short_text

STATE_NAMES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
BEST_SHOWN = 10


def overview(snapshot: Snapshot, now: datetime) -> RenderableType:
    """How far the study is, its best trial with all parameters, and the time left."""
    counts = ", ".join(f"{len(snapshot.having(state))} {name}" for state, name in STATE_NAMES.items())
    lines = {
        "study": f"{snapshot.study.study_name}: {snapshot.setting}",
        "trials": f"{counts}; {len(snapshot.ended)} of {snapshot.attributes['n_trials']} ended",
        "best": "none yet: no trial is complete",
        "time left": _time_left(snapshot, now),
    }
    if snapshot.best:
        found = ", ".join(f"{short_name(name)}={short_text(value)}" for name, value in snapshot.best.params.items())
        lines["best"] = f"{score(snapshot.best):.2f}{snapshot.unit} (trial {snapshot.best.number}) with {found}"
    grid = Grid.grid(padding=(0, 2))
    for label, text in lines.items():
        grid.add_row(Text(label, style="bold"), Text(text))
    return grid


def _time_left(snapshot: Snapshot, now: datetime) -> str:
    running = snapshot.having(TrialState.RUNNING)
    left = snapshot.attributes["n_trials"] - len(snapshot.ended)
    if left <= 0:
        return "none, the study has all its trials"
    seconds = seconds_left(snapshot, now)
    workers = f"{len(running)} running" if running else "1 worker, but none is running"
    return f"{'?' if seconds is None else str(timedelta(seconds=round(seconds)))} with {workers}"


def seconds_left(snapshot: Snapshot, now: datetime) -> float | None:
    """By the mean length of the trials that ended, shared by those that run; None while none has ended.

    Trials that a dead worker left to another are not part of the mean: their recorded start is the second worker's.
    """
    whole = [trial for trial in snapshot.ended if not trial.user_attrs.get("deaths", 0)]
    lengths = [seconds for trial in whole if (seconds := duration(trial, now)) is not None]
    if not lengths:
        return None
    mean = sum(lengths) / len(lengths)
    running = snapshot.having(TrialState.RUNNING)
    done = sum(min(duration(trial, now) or 0.0, mean) for trial in running)
    left = snapshot.attributes["n_trials"] - len(snapshot.ended)
    return max(0.0, left * mean - done) / max(1, len(running))


def report_tables(snapshot: Snapshot, now: datetime, width: int) -> list[Table]:
    """Best trials, running trials, importances, failures; each may be without rows."""
    return [
        _best_table(snapshot, now, width),
        _running_table(snapshot, now),
        _importances_table(snapshot),
        _failures_table(snapshot),
    ]


def _best_table(snapshot: Snapshot, now: datetime, width: int) -> Table:
    """As many parameters as the width allows, the most important first."""
    best = snapshot.ranked[:BEST_SHOWN]
    names = list(snapshot.importances.shares) or snapshot.parameters
    rows: list[dict[str, Any]] = [
        {
            "number": trial.number,
            "value": score(trial),
            "epochs": trial.last_step,
            "seconds": duration(trial, now),
            **{name: short_text(trial.params[name]) for name in names if name in trial.params},
        }
        for trial in best
    ]
    columns = [
        Column("number", "trial", 0),
        Column("value", "value" + snapshot.unit, 2),
        Column("epochs", "epochs", 0),
        Column("seconds", "seconds", 0),
    ]
    columns += [Column(name, ". ".join(short_name(name).split(".", 1)), 0) for name in names]
    table = Table("best", f"Best trials by {snapshot.measure}", columns, rows).without_empty_columns()
    shown = fitting(table.columns, table.rows, width)
    if left_out := len(table.columns) - shown:
        table.notes.append(f"{left_out} more {'parameter is' if left_out == 1 else 'parameters are'} in trials.csv")
    table.columns = table.columns[:shown]
    return table


def _running_table(snapshot: Snapshot, now: datetime) -> Table:
    rows = []
    for trial in snapshot.having(TrialState.RUNNING):
        heartbeat = trial.user_attrs.get("heartbeat")
        rows.append(
            {
                "number": trial.number,
                "worker": trial.user_attrs.get("worker"),
                "epochs": trial.last_step,
                "value": max(trial.intermediate_values.values(), default=None),
                "seconds": duration(trial, now),
                "silent": None if heartbeat is None else max(0.0, now.timestamp() - heartbeat),
            }
        )
    columns = [
        Column("number", "trial", 0),
        Column("worker", "worker"),
        Column("epochs", "epochs", 0),
        Column("value", "best" + snapshot.unit, 2),
        Column("seconds", "seconds", 0),
        Column("silent", "silent for s", 0),
    ]
    return Table("running", "Running", columns, rows)


def _importances_table(snapshot: Snapshot) -> Table:
    shares, note = snapshot.importances.shares, snapshot.importances.note
    rows = [{"parameter": short_name(name), "importance": share} for name, share in shares.items()]
    columns = [Column("parameter", "parameter"), Column("importance", "importance %", 1, 100)]
    return Table("importances", "Parameter importances", columns, rows, [note])


def _failures_table(snapshot: Snapshot) -> Table:
    """By reason, the most frequent first."""
    numbers = defaultdict(list)
    for trial in snapshot.having(TrialState.FAIL):
        numbers[reason(trial)].append(trial.number)
    rows = [
        {"count": len(found), "reason": text, "numbers": found}
        for text, found in sorted(numbers.items(), key=lambda item: -len(item[1]))
    ]
    columns = [Column("count", "count", 0), Column("reason", "reason"), Column("numbers", "trials")]
    return Table("failures", "Failures", columns, rows)
