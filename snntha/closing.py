"""What `snntha train` shows when a run has ended: its seeds, the published accuracy beside its own, its pictures."""

from pathlib import Path

from rich.console import Console
from rich.table import Table

from snntha.config import Config
from snntha.published import published
from snntha.run import Outcome, run, spread


def train_and_show(config: Config, resume: Path | None = None) -> float:
    """Train as the command does, in the terminal, and return the outcome's score.

    Raises:
        UserError: a seed failed.
    """
    console = Console()
    outcome = run(config, resume, console)
    show(outcome, console)
    return outcome.score


def show(outcome: Outcome, console: Console) -> None:
    """Tables, pictures, and where everything lies."""
    console.print(_seed_table(outcome))
    if outcome.tested:
        console.print(_accuracy_table(outcome))
    if outcome.config.plots:
        _draw(outcome.folder, console)
    console.print(f"output folder  {outcome.folder}", soft_wrap=True, highlight=False)
    console.print(f"next           snntha eval run={outcome.folder}", soft_wrap=True, highlight=False)


def _draw(folder: Path, console: Console) -> None:
    """The run's pictures: files in its plots/, and a small one here."""
    from snntha import plots  # imports matplotlib, which a run without pictures need not wait for

    console.print(plots.terminal_picture(folder))
    pictures = plots.draw_run(folder)
    if pictures:
        names = ", ".join(path.name for path in pictures)
        console.print(f"pictures       {folder / 'plots'}: {names}", soft_wrap=True, highlight=False)


def _seed_table(outcome: Outcome) -> Table:
    dataset, mode, selected_on = outcome.config.dataset.name, outcome.config.mode.name, outcome.selected_on
    table = Table(title=f"{dataset} {mode}: seeds, best epoch selected on {selected_on}")
    for column in ("seed", "epochs", "best epoch", f"{selected_on} %", "test %", "seconds"):
        table.add_column(column, justify="right")
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
    table = Table(title="test accuracy, percent")
    for column in ("", "best", "mean", "sigma", "seeds", "epochs", "selected on"):
        table.add_column(column, justify="right")
    ours = spread([entry.get("test_accuracy") for entry in seeds])
    values = [_percent(ours[key]) for key in ("best", "mean", "std")]
    table.add_row("this run", *values, str(len(seeds)), f"up to {config.epochs}", config.selection)
    paper = published(config.dataset.name, config.mode.name)
    if paper is not None:
        table.add_row("published", *[_percent(value) for value in paper], "5", "up to 500", "test")
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
