"""`snntha runs`: the runs there are, sorted, tagged or removed."""

import shutil
from pathlib import Path

from rich.console import Console, Group
from rich.prompt import Confirm
from rich.table import Column, Table

from snntha.catalog import change_tag, find_runs, short_id, tags
from snntha.display import plain, say
from snntha.errors import UserError, counted
from snntha.folder import RunFolder, spread

SORTED_BY = {  # the last line is the newest, or the best
    "begun": lambda run: run.created,
    "accuracy": lambda run: spread(run.entries)["mean"] or 0.0,
    "data": lambda run: (run.dataset, run.mode, run.created),
    "state": lambda run: (run.state, run.created),
}


def run_command(
    folders: list[Path], *, parent: Path, sort: str, tag: str | None, untag: str | None, remove: bool, yes: bool
) -> Group | None:
    """List runs, or tag or remove those that are named.

    Args:
        folders: of runs; empty for all below `parent`, but never to be changed.
        sort: one of SORTED_BY.
        tag, untag: a word to give to the runs, or to take away.
        remove: delete the runs' folders, after a question unless `yes`.

    Raises:
        UserError: a folder is no run, is trained in, or none is named to be changed.
    """
    if (tag or untag or remove) and not folders:
        raise UserError("name the runs that shall be changed, by folder, short id or last")
    runs = [RunFolder(folder) for folder in folders or (find_runs(parent) if parent.is_dir() else [])]
    for run in runs if folders else []:
        run.load_config()
    if remove:
        return _remove(runs, yes)
    for run in runs:
        if tag:
            change_tag(run.folder, tag, add=True)
        if untag:
            change_tag(run.folder, untag, add=False)
    numbers = [Column(head, justify="right", no_wrap=True) for head in ("seeds", "test %", "begun")]
    table = Table("id", "data", "mode", *numbers, Column("", overflow="fold"), box=None, pad_edge=False)
    for run in sorted(runs, key=SORTED_BY[sort]):
        wanted, ended = run.setting("trials", int) or 0, len(run.entries)
        cells = [short_id(run.folder), run.dataset, run.mode, str(ended) if ended >= wanted else f"{ended} of {wanted}"]
        cells += [plus_minus(spread(run.entries)), run.created[5:16].replace("T", " ")]
        table.add_row(*map(plain, [*cells, " ".join([run.state] * (run.state != "finished") + tags(run))]))
    # not the table's caption, which would be broken where the table is narrow
    return Group(table, f"{counted(len(runs), 'run')}; an id, or last, stands for its folder: snntha eval run=last")


def plus_minus(accuracy: dict[str, float | None], sign: str = "±") -> str:
    """Mean and standard deviation as `95.23 ±1.17`; of one seed the mean alone."""
    mean, std = accuracy["mean"], accuracy["std"]
    return "-" if mean is None else f"{mean:.2f}" + (f" {sign}{std:.2f}" if std is not None else "")


def _remove(runs: list[RunFolder], yes: bool) -> None:
    console = Console()
    for run in runs:
        if run.is_locked():
            raise UserError(f"{run.folder}: a process trains in it: stop it first")
    for run in runs:
        say(console, f"{run.folder}: {run.dataset} {run.mode}, {run.state}, test {plus_minus(spread(run.entries))} %")
    if not yes and not console.is_terminal:
        raise UserError("--remove asks before it deletes, and there is no terminal to ask in: add --yes")
    if yes or Confirm.ask(f"delete {counted(len(runs), 'run')} for good?", default=False):
        for run in runs:
            shutil.rmtree(run.folder)
        say(console, f"removed {counted(len(runs), 'run')}")
