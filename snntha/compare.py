"""`snntha compare`: what differs between runs, in configuration, outcome and course."""

import json
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from snntha.catalog import short_id
from snntha.display import plain, say
from snntha.errors import UserError
from snntha.folder import RunFolder, spread
from snntha.plots import SHARED_OUTPUT, Missing, Options, plot
from snntha.plots.curves import overlay
from snntha.report.grouping import Result, settings
from snntha.runs import plus_minus

STYLES = ("cyan", "yellow", "magenta", "green", "red", "blue")


def run_command(folders: list[Path], output: Path | None) -> None:
    """Print what differs, outcomes and overlaid curves, and draw the curves into a folder.

    Raises UserError: fewer than two runs, or a folder that is none.
    """
    if len(folders) < 2:
        raise UserError("name two runs or more, by folder, short id or last: snntha compare RUN RUN")
    runs = [RunFolder(folder) for folder in folders]
    for run in runs:
        run.load_config()
    console = Console()
    console.print(_settings_table(runs), _outcome_table(runs))
    shown = [(run, style) for run, style in zip(runs, STYLES, strict=False) if run.dataset != "temporal_coding"]
    if any(seed.metrics for run, _ in shown for seed in run.seeds):
        console.print(overlay([(run.folder, _name(run), style) for run, style in shown]))
    try:
        written, notes = plot(folders, ["curves"], output or SHARED_OUTPUT, Options(kinds=("png",)))
        for line in [*(f"wrote  {path}" for path in written), *(f"note   {note}" for note in notes)]:
            say(console, line)
    except Missing as error:
        say(console, f"note   no picture: {error}")


def _name(run: RunFolder) -> str:
    return short_id(run.folder)


def _settings_table(runs: list[RunFolder]) -> Table:
    """The keys whose values differ, a column a run."""
    table = Table(title="what differs in the configuration", title_justify="left", box=None)
    for head in ("key", *map(_name, runs)):
        table.add_column(plain(head), overflow="fold")
    flat = [{**settings(run), "seed": run.setting("seed", int), "trials": run.setting("trials", int)} for run in runs]
    for values, run in zip(flat, runs, strict=True):
        values["data"] = (run.data_fingerprint or "unknown")[:12]
    for key in dict.fromkeys(key for values in flat for key in values):
        texts = [_text(values.get(key)) for values in flat]
        if len(set(texts)) > 1:
            table.add_row(*map(plain, (key, *texts)))
    if not table.row_count:
        table.add_row("nothing", *[""] * len(runs))
    return table


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(", ", ": "))


def _outcome_table(runs: list[RunFolder]) -> Table:
    """Accuracies, activity and dead neurons, a column a run; of several seeds the mean."""
    table = Table(Column(""), title="\noutcome", title_justify="left", box=None)
    for run in runs:
        table.add_column(plain(_name(run)), justify="right")
    told = [_outcome(run) for run in runs]
    for key in dict.fromkeys(key for column in told for key in column):
        table.add_row(*map(plain, (key, *(column.get(key, "-") for column in told))))
    return table


def _outcome(run: RunFolder) -> dict[str, str]:
    result, epochs = Result([run], run.seeds), [str(seed.epochs) for seed in run.seeds]
    rates, dead = (result.per_layer(quantity)[0] for quantity in ("firing_rate", "dead_fraction"))
    return {
        "state": run.state,
        "seeds": str(len(result.ended)),
        "epochs": ", ".join(dict.fromkeys(epochs)) or "-",
        "test %": plus_minus(spread(run.entries)),
        f"{run.selection} %": _number(result.mean("validation_accuracy"), ".2f"),
        "seconds a seed": _number(result.mean("seconds"), ".1f"),
        **{f"spikes/neuron/step, layer {n}": f"{rate:.4f}" for n, rate in enumerate(rates, start=1)},
        **{f"dead neurons, layer {n}": f"{share:.1%}" for n, share in enumerate(dead, start=1)},
    }


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else f"{value:{form}}"
