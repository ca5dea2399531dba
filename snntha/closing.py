"""What `snntha train` shows when a run has ended: its seeds, the published accuracy beside its own, its pictures."""

import shlex
from pathlib import Path

from rich.console import Console
from rich.table import Table

from snntha.config import Config
from snntha.display import number_table, say
from snntha.published import published
from snntha.run import Outcome, run, spread


def train_and_show(config: Config, resume: Path | None = None) -> float:
    """Train as the command does, show tables, pictures and where everything lies, and return the outcome's score.

    Raises:
        UserError: a seed failed.
    """
    console = Console()
    outcome = run(config, resume, console)
    console.print(_seed_table(outcome))
    if outcome.tested:
        console.print(_accuracy_table(outcome))
    if config.plots:
        from snntha import plots  # imports matplotlib, which a run without pictures need not wait for

        console.print(plots.terminal_picture(outcome.folder))
        if pictures := plots.draw_run(outcome.folder):
            say(console, f"pictures       {outcome.folder / 'plots'}: {', '.join(path.name for path in pictures)}")
    say(console, f"output folder  {outcome.folder}")
    say(console, f"next           {shlex.join(['snntha', 'eval', f'run={outcome.folder}'])}")
    return outcome.score


def _seed_table(outcome: Outcome) -> Table:
    dataset, mode, selected_on = outcome.config.dataset.name, outcome.config.mode.name, outcome.selected_on
    titles = ("seed", "epochs", "best epoch", f"{selected_on} %", "test %", "seconds")
    table = number_table(*titles, title=f"{dataset} {mode}: seeds, best epoch selected on {selected_on}")
    for entry in outcome.seeds:
        if "failed" in entry:
            table.add_row(str(entry["seed"]), "failed")
            continue
        classes = entry["validation_accuracy"] is not None
        score = _percent(entry["validation_accuracy"]) if classes else f"loss {-entry['best_score']:.4f}"
        epochs = [str(entry[key]) for key in ("seed", "epochs", "best_epoch")]
        table.add_row(*epochs, score, _percent(entry["test_accuracy"]), f"{entry['seconds']:.1f}")
    return table


def _accuracy_table(outcome: Outcome) -> Table:
    """Best, mean and sigma over the seeds beside the published row."""
    config, seeds = outcome.config, outcome.seeds
    table = number_table("", "best", "mean", "sigma", "seeds", "epochs", "selected on", title="test accuracy, percent")
    ours = map(_percent, spread(seeds).values())
    table.add_row("this run", *ours, str(len(seeds)), f"up to {config.epochs}", config.selection)
    if paper := published(config.dataset.name, config.mode.name):
        table.add_row("published", *map(_percent, paper), "5", "up to 500", "test")
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
