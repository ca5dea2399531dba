"""What a search has found so far: its tables in a terminal, `trials.csv` and `best.yaml` in its folder."""

import csv
import io
import re
import shlex
import warnings
from collections import defaultdict
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, RenderableType
from rich.table import Table as Grid
from rich.text import Text

from snntha import config as configuration
from snntha.errors import UserError
from snntha.records import write_atomically
from snntha.report.formats import terminal
from snntha.report.table import Column, Table
from snntha.search.failures import reason

STATE_NAMES = {
    TrialState.COMPLETE: "done",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
BEST_SHOWN = 10
FEWEST_FOR_IMPORTANCES = 4  # complete trials
WANTED_AT_TOP = 5  # trials that PED-ANOVA wants above its quantile for a stable answer


@dataclass(frozen=True)
class Importances:
    """Parameter -> importance, most important first, of sum 1; or why there are none."""

    shares: dict[str, float]
    note: str


@dataclass(frozen=True)
class Snapshot:
    """A study at one moment, so that all its tables and pictures speak of the same trials."""

    study: Study
    trials: list[FrozenTrial]

    @classmethod
    def of(cls, study: Study) -> "Snapshot":
        return cls(study, study.get_trials())

    def having(self, *states: TrialState) -> list[FrozenTrial]:
        return [trial for trial in self.trials if trial.state in states]

    @cached_property
    def attributes(self) -> dict[str, Any]:
        """Of the study: dataset, mode, n_trials, epochs, seeds, limit, folder."""
        return self.study.user_attrs

    @property
    def ended(self) -> list[FrozenTrial]:
        """What counts towards n_trials."""
        return [trial for trial in self.trials if trial.state.is_finished()]

    @property
    def ranked(self) -> list[FrozenTrial]:
        """Complete trials, the best first and the earlier first of equals."""
        return sorted(self.having(TrialState.COMPLETE), key=score, reverse=True)

    @property
    def best(self) -> FrozenTrial | None:
        """None until a trial is complete."""
        return next(iter(self.ranked), None)

    @property
    def parameters(self) -> list[str]:
        """All that any trial has, in the order of their first appearance."""
        return list(dict.fromkeys(name for trial in self.trials for name in trial.params))

    @property
    def unit(self) -> str:
        """Of a trial's value; temporal_coding has no classes and is scored by its loss."""
        return "" if self.attributes.get("dataset") == "temporal_coding" else " %"

    @property
    def measure(self) -> str:
        """What a trial's value is."""
        return "validation accuracy" if self.unit else "validation score (minus the loss)"

    @cached_property
    def importances(self) -> Importances:
        """PED-ANOVA: what tells the best trials from the rest; it has no random part and knows conditional keys."""
        values = [score(trial) for trial in self.ranked]
        if len(values) < FEWEST_FOR_IMPORTANCES:
            return Importances({}, f"needs {FEWEST_FOR_IMPORTANCES} complete trials, there are {len(values)}")
        quantile = min(0.5, max(0.1, WANTED_AT_TOP / len(values)))
        top = sum(value >= values[round(quantile * len(values)) - 1] for value in values)
        if top == len(values):
            return Importances({}, f"too many of the {len(values)} complete trials have the same value")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Some regimes for parameter")  # a choice that one trial made counts 0
            shares = get_param_importances(self.study, evaluator=PedAnovaImportanceEvaluator(target_quantile=quantile))
        return Importances(shares, f"What tells the best {top} of {len(values)} complete trials from all (PED-ANOVA)")


def score(trial: FrozenTrial) -> float:
    """A complete trial's value; of a pruned one, the last that it reported; nan without any."""
    if trial.value is not None:
        return trial.value
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else float("nan")


def short_name(parameter: str) -> str:
    return parameter.removeprefix("hparams.")


def override_text(value: Any) -> str:
    """A parameter's value as the command line takes it, in full precision."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def short_text(value: Any) -> str:
    """The same with three significant digits."""
    return f"{value:.3g}" if isinstance(value, float) else override_text(value)


def finish(study: Study, folder: Path, pictures: bool = True) -> None:
    """Print the report, write results and pictures into the study's folder, and say what to do next."""
    from snntha.search.pictures import draw_pictures  # matplotlib, which a worker need not wait for at its start

    print_report(study)
    notes: list[str] = []
    written = write_results(study, folder, notes)
    best = folder / "best.yaml"
    lines = [("wrote", str(path)) for path in written]
    if pictures:
        drawn, missing = draw_pictures(study, folder / "pictures")
        notes += missing
        names = ", ".join(path.name for path in drawn if path.suffix == ".png")
        lines += [("wrote", f"{folder / 'pictures'}: {names}; each as .svg too")] if drawn else []
    lines += [("note", note) for note in notes]
    if best in written:
        attributes = study.user_attrs
        choices = [f"dataset={attributes['dataset']}", f"mode={attributes['mode']}", *attributes.get("overrides", [])]
        lines.append(("next", f"snntha train {shlex.join(choices)} hparams={best}"))
    print_lines(lines)


def print_lines(lines: list[tuple[str, str]]) -> None:
    """A label and what it is about on each line; commands and paths are not broken, so that they can be copied."""
    console = Console()
    for label, text in lines:
        console.print(f"{label:<6} {text}", soft_wrap=True, highlight=False, markup=False)


def print_report(study: Study) -> None:
    """Counts, best trials, what runs now, importances and failures, in the terminal's width."""
    console, snapshot = Console(), Snapshot.of(study)
    console.print(overview(snapshot, datetime.now()))
    console.print()
    terminal([table for table in report_tables(snapshot, datetime.now(), console.width) if table.rows])
    if not snapshot.importances.shares:
        console.print(f"no parameter importances: {snapshot.importances.note}", highlight=False)


def overview(snapshot: Snapshot, now: datetime) -> RenderableType:
    """How far the study is, its best trial with all parameters, and the time left."""
    counts = ", ".join(f"{len(snapshot.having(state))} {name}" for state, name in STATE_NAMES.items())
    lines = {
        "study": f"{snapshot.study.study_name}: {_setting(snapshot)}",
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


def _setting(snapshot: Snapshot) -> str:
    """What was searched on: `shd annealed, 30 epochs a trial, mean over 2 seeds`."""
    attributes = snapshot.attributes
    seeds, limit = attributes["seeds"], attributes["limit"]
    parts = [f"{attributes['dataset']} {attributes['mode']}", f"{attributes['epochs']} epochs a trial"]
    parts.append("1 seed" if seeds == 1 else f"mean over {seeds} seeds")
    if limit is not None:
        parts.append(f"only {limit} samples of each split")
    return ", ".join(parts)


def _time_left(snapshot: Snapshot, now: datetime) -> str:
    running = snapshot.having(TrialState.RUNNING)
    left = snapshot.attributes["n_trials"] - len(snapshot.ended)
    if left <= 0:
        return "none, the study has all its trials"
    seconds = seconds_left(snapshot, now)
    workers = f"{len(running)} running" if running else "1 worker, but none is running"
    return f"{'?' if seconds is None else _duration(seconds)} with {workers}"


def seconds_left(snapshot: Snapshot, now: datetime) -> float | None:
    """By the mean length of the trials that ended, shared by those that run; None while none has ended.

    Trials that a dead worker left to another are not part of the mean: their recorded start is the second worker's.
    """
    whole = [trial for trial in snapshot.ended if not trial.user_attrs.get("deaths", 0)]
    lengths = [seconds for trial in whole if (seconds := _seconds(trial, now)) is not None]
    if not lengths:
        return None
    mean = sum(lengths) / len(lengths)
    running = snapshot.having(TrialState.RUNNING)
    done = sum(min(_seconds(trial, now) or 0.0, mean) for trial in running)
    left = snapshot.attributes["n_trials"] - len(snapshot.ended)
    return max(0.0, left * mean - done) / max(1, len(running))


def _seconds(trial: FrozenTrial, now: datetime) -> float | None:
    """Length of a trial, so far if it runs; None where it has not begun."""
    if trial.datetime_start is None:
        return None
    return ((trial.datetime_complete or now) - trial.datetime_start).total_seconds()


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


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
            "seconds": _seconds(trial, now),
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
    columns += [Column(name, ".\n".join(short_name(name).split(".", 1)), 0) for name in names]
    table = Table("best", f"Best trials by {snapshot.measure}", columns, rows).without_empty_columns()
    shown = _fitting(table, width)
    if left_out := len(table.columns) - shown:
        table.notes.append(f"{left_out} more {'parameter is' if left_out == 1 else 'parameters are'} in trials.csv")
    table.columns = table.columns[:shown]
    return table


def _fitting(table: Table, width: int) -> int:
    """How many columns, from the left, `terminal` prints within the width: 3 characters between two, 1 at each end."""
    used = 2 - 3
    for number, column in enumerate(table.columns):
        lines = [*column.title.split("\n"), *(column.text(row.get(column.key)) for row in table.rows)]
        used += 3 + max(map(len, lines))
        if used > width:
            return number
    return len(table.columns)


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
                "seconds": _seconds(trial, now),
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


def write_results(study: Study, folder: Path, notes: list[str] | None = None) -> list[Path]:
    """Replace trials.csv and, as soon as a trial is complete, best.yaml.

    Args:
        study: finished or not.
        folder: of the study; holds the trials' folders and receives the files.
        notes: receives a sentence where best.yaml cannot be written.
    """
    snapshot = Snapshot.of(study)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "trials.csv"]
    write_atomically(written[0], _trials_csv(snapshot))
    try:
        write_atomically(folder / "best.yaml", _best_yaml(snapshot, folder))
        written.append(folder / "best.yaml")
    except UserError as error:
        if notes is not None:
            notes.append(f"best.yaml was not written: {error}")
    return written


def _trials_csv(snapshot: Snapshot) -> str:
    """One line a trial; parameters by their key on the command line, empty where a trial has none or it is unknown."""
    text, now = io.StringIO(), datetime.now()
    heads = ("number", "state", "value", "pruned_at_epoch", "seconds", "worker", "failure")
    writer = csv.DictWriter(text, [*heads, *snapshot.parameters], lineterminator="\n")
    writer.writeheader()
    for trial in snapshot.trials:
        known = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        writer.writerow(
            {
                "number": trial.number,
                "state": trial.state.name,
                "value": score(trial) if known else None,
                "pruned_at_epoch": trial.last_step if trial.state == TrialState.PRUNED else None,
                "seconds": _seconds(trial, now),
                "worker": trial.user_attrs.get("worker"),
                "failure": reason(trial) if trial.state == TrialState.FAIL else None,
                **{name: override_text(value) for name, value in trial.params.items()},
            }
        )
    return text.getvalue()


def _best_yaml(snapshot: Snapshot, folder: Path) -> str:
    """The best trial's hyperparameters as a file of conf/hparams; raises UserError where they cannot be had."""
    best = snapshot.best
    if best is None:
        raise UserError("no trial is complete")
    path = folder / f"trial_{best.number}" / "config.yaml"
    if not path.is_file():
        raise UserError(
            f"{path} of the best trial is missing: its worker was {best.user_attrs.get('worker', 'unknown')}; "
            f"copy the trial's folder from that machine, or repeat the command there"
        )
    config = configuration.from_yaml(path)
    name = re.sub(r"\W+", "_", f"{snapshot.study.study_name}_best", flags=re.ASCII)
    hparams = {**asdict(config.hparams), "name": f"search_{name}" if name[0].isdecimal() else name}
    comment = (
        f"# search {snapshot.study.study_name}, trial {best.number}: {score(best):.2f}{snapshot.unit} "
        f"(selection on {config.selection}), the best of {len(snapshot.ended)} trials so far; {_setting(snapshot)}"
    )
    return f"{comment}\n{yaml.safe_dump(hparams, sort_keys=False, default_flow_style=None, width=120)}"
