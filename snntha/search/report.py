"""What a search found: a report, `trials.csv`, and `best.yaml`, which `snntha train hparams=FILE` takes.

`snntha search STUDY` and a worker at its end print and write them.
"""

import csv
import io
import re
import shlex
from collections import defaultdict
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from optuna.exceptions import StorageInternalError
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState
from rich import get_console
from rich.console import Console
from rich.live import Live
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from snntha.atomic import write_atomically
from snntha.config.files import as_delta
from snntha.config.schema import Search
from snntha.display import plain
from snntha.display import say as say_to
from snntha.errors import counted
from snntha.report.formats import csv_cell
from snntha.search.snapshot import Snapshot, reason, score, short_name

BEST_SHOWN = 10
LOOKS_A_SECOND = 0.5  # of the live line at the study
STATES = {"done": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL", "running": "RUNNING", "waiting": "WAITING"}


def finish(study: Study, folder: Path, pictures: bool = True) -> None:
    """Print the report, write results and pictures into the study's folder, and say what to do next."""
    snapshot = Snapshot(study)
    print_report(snapshot, Console(), datetime.now())
    for path in write_results(snapshot, folder):
        say(f"wrote  {path}")
    if pictures:
        try:
            from snntha.search.pictures import draw_pictures  # matplotlib, which a worker need not wait for

            names = [path.name for path in draw_pictures(snapshot, folder / "pictures") if path.suffix == ".png"]
            say(f"wrote  {folder / 'pictures'}: {', '.join(names) or 'nothing yet'}; each as .svg too")
        except Exception as error:  # whatever it is, the results are written
            say(f"note   no pictures: {type(error).__name__}: {error}")
    if snapshot.ranked:
        choices = [f"dataset={snapshot.config['dataset.name']}", f"mode={snapshot.config['mode.name']}"]
        choices += snapshot.attributes.get("overrides", [])
        choices.append(f"hparams={folder / 'best.yaml'}")
        say(f"next   {shlex.join(['snntha', 'train', *choices])}")


def announce(snapshot: Snapshot, search: Search, ranges: str) -> None:
    """What a worker is about to do, at once: the first trial may take long."""
    ended, at_a_time = len(snapshot.ended), counted(search.workers, "trial")
    head = Table.grid(padding=(0, 2))
    head.add_row("study", plain(f"{snapshot.study.study_name}: {snapshot.setting}"))
    head.add_row("folder", plain(snapshot.attributes["folder"]))
    head.add_row("ranges", plain(ranges))
    head.add_row("trials", f"{search.n_trials} wanted, {ended} ended so far; {at_a_time} at a time in this worker")
    Console().print(head, highlight=False)


def live_line(study: Study) -> AbstractContextManager[Any]:
    """While it is open, a terminal's last line says how far the study is."""

    def line() -> Text:
        try:
            snapshot = Snapshot(study)
        except StorageInternalError:
            return Text("waiting for the storage")
        running = len(snapshot.having(TrialState.RUNNING))
        best = f"{score(snapshot.ranked[0]):.2f}" if snapshot.ranked else "none yet"
        done = f"{len(snapshot.ended)} of {snapshot.attributes['n_trials']} done, {running} running, best {best}"
        left = _time_left(snapshot, datetime.now()).partition(" with ")[0]
        return Text(f"{done}, left {left}", overflow="crop", no_wrap=True)

    console = get_console()  # that of `say`: what another one prints would be glued to the line
    if not console.is_terminal:
        return nullcontext()
    return Live(get_renderable=line, console=console, refresh_per_second=LOOKS_A_SECOND, transient=True)


def say(text: str) -> None:
    """As `display.say`, to the terminal."""
    say_to(get_console(), text)


def print_report(snapshot: Snapshot, console: Console, now: datetime) -> None:
    """Counts, time left, best and running trials, importances and failures, in the console's width."""
    counts = ", ".join(f"{len(snapshot.having(TrialState[state]))} {name}" for name, state in STATES.items())
    head = Table.grid(padding=(0, 2))
    head.add_row("study", plain(f"{snapshot.study.study_name}: {snapshot.setting}"))
    head.add_row("trials", f"{counts}; {len(snapshot.ended)} of {snapshot.attributes['n_trials']} ended")
    head.add_row("best", plain(_best(snapshot)))
    head.add_row("time left", _time_left(snapshot, now))
    names, wide = snapshot.parameters, console.options.update(width=10_000)
    while names and Measurement.get(console, wide, _best_table(snapshot, names)).maximum > console.width:
        names = names[:-1]
    shares = [[short_name(name), 100 * share] for name, share in snapshot.importances.items()]
    tables = (
        _best_table(snapshot, names),
        _running_table(snapshot, now),
        _table("Parameters that tell the best trials from the rest (PED-ANOVA)", "parameter,importance %", shares),
        _failures_table(snapshot),
    )
    console.print(head, *(table for table in tables if table.row_count), highlight=False)


def _best(snapshot: Snapshot) -> str:
    if not snapshot.ranked:
        return "none yet: no trial is complete"
    best = snapshot.ranked[0]
    found = ", ".join(f"{short_name(name)}={_short(value)}" for name, value in best.params.items())
    return f"{score(best):.2f} (trial {best.number}) with {found}"


def _time_left(snapshot: Snapshot, now: datetime) -> str:
    """By the mean length of the trials that ended, shared by those that run; `?` while none has ended."""
    left = snapshot.attributes["n_trials"] - len(snapshot.ended)
    if left <= 0:
        return "none, the study has all its trials"
    running = [now - (trial.datetime_start or now) for trial in snapshot.having(TrialState.RUNNING)]
    workers = f"{len(running)} running" if running else "1 worker, but none is running"
    lengths = [trial.duration for trial in snapshot.ended if trial.duration]
    if not lengths:
        return f"? with {workers}"
    mean = sum(lengths, timedelta()) / len(lengths)
    done = sum((min(length, mean) for length in running), timedelta())
    seconds = max(0, round((left * mean - done).total_seconds() / max(1, len(running))))
    return f"{timedelta(seconds=seconds)} with {workers}"


def _table(title: str, heads: str, rows: list[list[Any]]) -> Table:
    """Heads with commas between; a cell without value shows `-`, and a column of numbers stands to the right."""
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
    for head, *cells in zip(heads.split(","), *rows, strict=True):
        is_text = any(isinstance(cell, str) for cell in cells)
        table.add_column(head, justify="left" if is_text else "right", overflow="fold")
    for row in rows:
        cells = ("-" if cell is None else f"{cell:.2f}" if isinstance(cell, float) else str(cell) for cell in row)
        table.add_row(*map(plain, cells))
    return table


def _best_table(snapshot: Snapshot, names: list[str]) -> Table:
    rows = []
    for trial in snapshot.ranked[:BEST_SHOWN]:
        parameters = [_short(trial.params[name]) if name in trial.params else None for name in names]
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


def _failures_table(snapshot: Snapshot) -> Table:
    """By reason, the most frequent first."""
    numbers = defaultdict(list)
    for trial in snapshot.having(TrialState.FAIL):
        numbers[reason(trial)].append(str(trial.number))
    rows = [[len(found), text, ", ".join(found)] for text, found in numbers.items()]
    return _table("Failures", "count,reason,trials", sorted(rows, key=lambda row: -row[0]))


def _short(value: Any) -> str:
    """A parameter's value as the command line takes it, with three significant digits."""
    if isinstance(value, float):
        return f"{value:.3g}"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def write_results(snapshot: Snapshot, folder: Path) -> list[Path]:
    """Replace trials.csv and, as soon as a trial is complete, best.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"trials.csv": _trials_csv(snapshot)}
    if snapshot.ranked:
        texts["best.yaml"] = _best_yaml(snapshot, snapshot.ranked[0])
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def _trials_csv(snapshot: Snapshot) -> str:
    """One line a trial; parameters by their key on the command line, empty where a trial has none or it is unknown."""
    text, names = io.StringIO(), dict.fromkeys(name for trial in snapshot.trials for name in trial.params)
    heads = ("number", "state", "value", "pruned_at_epoch", "seconds", "worker", "failure")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*heads, *names])
    for trial in snapshot.trials:
        value = score(trial) if trial in snapshot.ended else None
        pruned_at = trial.last_step if trial.state == TrialState.PRUNED else None
        seconds = trial.duration.total_seconds() if trial.duration else None
        failure = reason(trial) if trial.state == TrialState.FAIL else None
        about = (trial.number, trial.state.name, value, pruned_at, seconds, trial.user_attrs.get("worker"), failure)
        writer.writerow(map(csv_cell, [*about, *map(trial.params.get, names)]))
    return text.getvalue()


def _best_yaml(snapshot: Snapshot, best: FrozenTrial) -> str:
    """The best trial's hyperparameters, which its job has recorded, as a file of conf/hparams."""
    study = snapshot.study.study_name
    name = re.sub(r"\W+", "_", f"{study}_best", flags=re.ASCII)
    tuned = as_delta(best.user_attrs["hparams"])  # a study of an earlier version recorded them flat
    tuned["hparams"]["name"] = f"search_{name}" if name[0].isdecimal() else name
    comment = (
        f"# search {study}, trial {best.number}: {score(best):.2f} ({snapshot.measure}; selection on "
        f"validation), the best of {len(snapshot.ended)} trials so far; {snapshot.setting}"
    )
    text = yaml.safe_dump(tuned, sort_keys=False, default_flow_style=None, width=120)
    return f"# @package _global_\n{comment}\n{text}"
