"""`snntha reproduce`: which cells there are and how far they are; train the ones that were named, one after another."""

import shutil
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from snntha import config as configuration
from snntha import data as datasets
from snntha.config import Config
from snntha.config.schema import Dataset
from snntha.display import say
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.reproduce.plan import Cell, all_cells, chosen
from snntha.reproduce.record import ended, keep


@dataclass(frozen=True)
class Bench:
    """Where things lie: the data, the runs with their weights, and the records."""

    roots: tuple[Path, ...]
    runs: Path
    results: Path

    def root(self, cell: Cell) -> Path | None:
        """The folder that holds the cell's data: the first of the given ones, or below them one called as the data."""
        return _root(cell.data, cell.dataset, self.roots)

    def state(self, cell: Cell) -> str:
        """In words; a record counts without the run that it was made from."""
        seeds = max(ended(self.runs / cell.name), ended(self.results / cell.name))
        if seeds >= cell.trials:
            return "done"
        if self.root(cell) is None:
            return "data absent"
        run = RunFolder(self.runs / cell.name)
        if not (run.folder / "config.yaml").is_file():
            return f"{seeds} of {cell.trials} seeds" if seeds else "open"
        return f"{run.state}, {seeds} of {cell.trials} seeds"


def run_command(
    words: list[str],
    roots: list[Path],
    run: Path | None,
    threads: int | None,
    outputs: Path,
    results: Path,
    **setting: Any,
) -> Table | None:
    """Train cells; without words: a table of all of them.

    Args:
        words: name the cells, as `chosen` reads them.
        roots: folders of the data, each searched itself and below; none: as the configuration says.
        run: folder of a run to take over as the cell's whose configuration it has.
        threads: of training; the result does not depend on them.
        outputs: for the runs' folders, with weights.
        results: for the records.
        setting: epochs, trials, fidelity and selection instead of the plan's.

    Raises:
        UserError: a word names no cell, or some of the cells could not be trained; the others are.
    """
    bench = Bench(tuple(roots) or (Path(_usual("digits").root),), outputs, results)
    if run is not None:
        _take_over(run, bench, chosen(words or ["all"], **setting))
        return None
    if not words:
        return _table(bench)
    console, failures = Console(), []
    for cell in chosen(words, **setting):
        say(console, f"{cell.name}: {bench.state(cell)}")
        if bench.state(cell) in ("done", "data absent"):
            continue
        try:
            _train(cell, bench, threads, console)
        except UserError as error:
            failures.append(cell.name)
            say(console, f"{cell.name}: {error}", style="red")
    if failures:
        raise UserError(f"not trained: {', '.join(failures)}; why stands above")
    return None


@cache
def _root(data: str, dataset: str, roots: tuple[Path, ...]) -> Path | None:
    for root in (place for given in roots for place in (given / data, given)):
        if datasets.status(replace(_usual(dataset), root=str(root))).present:
            return root
    return None


@cache
def _usual(dataset: str) -> Dataset:
    return configuration.compose([f"dataset={dataset}"]).dataset


def _train(cell: Cell, bench: Bench, threads: int | None, console: Console) -> None:
    """Begin or go on with a cell's run, and keep its record however it ends."""
    from snntha.run import run  # imports torch

    folder, root = bench.runs / cell.name, bench.root(cell)
    config = cell.config(folder, root)
    if not (folder / "config.yaml").exists() and (shorter := _shorter(cell, bench)) is not None:
        say(console, f"{cell.name}: goes on from {shorter}")
        _copy(shorter, folder)
    goes_on = (folder / "config.yaml").exists()
    if goes_on:
        recorded = configuration.from_yaml(folder / "config.yaml")
        changes = [f"{key}={getattr(cell, key)}" for key in ("epochs", "trials")]
        config = configuration.override(recorded, [*changes, f"dataset.root={root}"])
    config.threads, config.output_dir = threads, str(folder)
    _check_samples(cell, config)
    try:
        run(config, folder if goes_on else None, console)
    finally:
        keep(cell, folder, bench.results)


def _check_samples(cell: Cell, config: Config) -> None:
    """Raises UserError where the files are another data set's in the same format."""
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    found = (len(data.train) + len(data.validation or ()), len(data.test or ()))
    if cell.samples not in (None, found):
        raise UserError(
            f"{config.dataset.root} has {found[0]} training and {found[1]} test samples, {cell.title} "
            f"{cell.samples[0]} and {cell.samples[1]}: these are other data; name their folder with dataset.root"
        )


def _take_over(folder: Path, bench: Bench, cells: list[Cell]) -> None:
    """Copy a run, whole or interrupted, to where its cell's is looked for, and keep its record."""
    own = RunFolder(folder)
    config = own.load_config()
    if own.is_locked():
        raise UserError(f"run={folder}: a process trains in it: wait for it or stop it")
    cell = next((cell for cell in cells if _is_of(cell, config)), None)
    if cell is None:
        raise UserError(f"run={folder}: no cell has its configuration; name the cell, with its epochs= and so on")
    target = bench.runs / cell.name
    if target.exists() and target.resolve() != folder.resolve():
        raise UserError(f"run={folder}: {target} is there already; move it away if this run shall take its place")
    if not target.exists():
        _copy(folder, target)
    keep(cell, target, bench.results)
    print(f"{cell.name}: {bench.state(cell)}, in {target}")


def _is_of(cell: Cell, config: Config) -> bool:
    """Whether a run's seeds are those of the cell, from the first one on, bit for bit."""
    if (cell.dataset, cell.mode, cell.epochs) != (config.dataset.name, config.mode.name, config.epochs):
        return False  # without composing its configuration, which takes a third of a second
    own = cell.config(Path(config.output_dir))
    for key in ("trials", "threads", "device", "backend", "logger", "plots", "resume"):
        setattr(own, key, getattr(config, key))
    for key in ("root", "cache", "download"):
        setattr(own.dataset, key, getattr(config.dataset, key))
    return own == config


def _shorter(cell: Cell, bench: Bench) -> Path | None:
    """The run of the cell that is the same but for fewer epochs, the most that have ended; None: there is none."""
    alike = [
        other
        for other in all_cells()
        if other.epochs < cell.epochs and replace(other, epochs=cell.epochs).name == cell.name
    ]
    folders = [bench.runs / other.name for other in sorted(alike, key=lambda other: -other.epochs)]
    return next((folder for folder in folders if RunFolder(folder).state == "finished"), None)


def _copy(source: Path, target: Path) -> None:
    """A whole folder, or nothing."""
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(source, partial, ignore=shutil.ignore_patterns(".lock"))
    partial.rename(target)


def _table(bench: Bench) -> Table:
    """Every cell of the plan in its order, and how far it is."""
    table = Table("group", "cell", "seeds", "state", title="what snntha reproduce CELL trains", title_justify="left")
    before = None
    for cell in all_cells():
        if before not in (None, cell.group):
            table.add_section()
        before = cell.group
        table.add_row(cell.group, cell.name, str(cell.trials), bench.state(cell))
    return table
