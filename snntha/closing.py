"""What `snntha train` shows when a run has ended: its seeds, the published accuracy beside its own, its pictures."""

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from snntha import parallel
from snntha.config import Config
from snntha.display import number_table, say
from snntha.folder import spread
from snntha.kernels.cpu.ahead import Compilation
from snntha.published import published
from snntha.run import Outcome, run


def train_and_show(config: Config, resume: Path | None = None, compilation: Compilation | None = None) -> float:
    """Train as the command does, show tables, pictures and where everything lies, and return the outcome's score.

    Raises:
        UserError: a seed failed.
    """
    console = Console(quiet=parallel.rank() > 0)
    with parallel.together():
        outcome = run(config, resume, console, compilation=compilation)
    if parallel.rank() > 0:
        return outcome.score
    console.print(_seed_table(outcome))
    if outcome.tested:
        console.print(_accuracy_table(outcome))
    if config.plots:
        try:
            from snntha import plots  # imports matplotlib, which a run without pictures need not wait for

            console.print(plots.terminal_picture(outcome.folder))
            if pictures := plots.draw_run(outcome.folder):
                say(console, f"pictures       {outcome.folder / 'plots'}: {', '.join(path.name for path in pictures)}")
        except Exception as error:  # whatever it is, the run has ended and its record is whole
            say(console, f"note           no pictures: {type(error).__name__}: {error}", style="yellow")
    say(console, f"output folder  {outcome.folder}")
    say(console, f"next           {shlex.join(['snntha', 'eval', f'run={outcome.folder}'])}")
    return outcome.score


def _seed_table(outcome: Outcome) -> Table:
    dataset, mode, selected_on = outcome.config.dataset, outcome.config.mode.name, outcome.selected_on
    rows = []
    for number, entry in enumerate(outcome.seeds):
        if "failed" in entry:
            rows.append([entry["seed"], f"trial_{number}", "failed"])
            continue
        accuracy = entry["validation_accuracy"]
        score = f"loss {-entry['best_score']:.4f}" if accuracy is None else accuracy
        epochs = [entry[key] for key in ("epochs", "best_epoch")]
        rows.append(
            [entry["seed"], f"trial_{number}", *epochs, score, entry["test_accuracy"], f"{entry['seconds']:.1f}"]
        )
    heads = ["seed", "folder", "epochs", "best epoch", f"{selected_on} %", "test %", "seconds"]
    title = f"{dataset.title or dataset.name} {mode}: seeds, best epoch selected on {selected_on}"
    return number_table(heads, rows, title)


def _accuracy_table(outcome: Outcome) -> Table:
    """Best, mean and sigma over the seeds beside the published row."""
    config, seeds = outcome.config, outcome.seeds
    rows = [["this run", *spread(seeds).values(), len(seeds), f"up to {config.epochs}", config.selection]]
    if outcome.published_data and (paper := published(config.dataset.name, config.mode.name)):
        rows.append(["published", *paper, 5, "up to 500", "test"])
    heads = ["", "best", "mean", "sigma", "seeds", "epochs", "selected on"]
    return number_table(heads, rows, "test accuracy, percent")
