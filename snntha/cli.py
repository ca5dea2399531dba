"""The command `snntha` and its sub-commands.

Nothing here imports torch before the work itself starts, so that help, completion and a refused key are immediate.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from snntha import config as configuration
from snntha.arguments import HELP, completions, parse, usage
from snntha.errors import UserError, did_you_mean
from snntha.search.sweeper import StudySweeper

MULTIRUN = {"-m", "--multirun"}  # Hydra's flags
INSPECTING = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}


def main() -> int:
    """Entry point; returns the exit status: 0, 1 for a user's mistake, 130 for Ctrl-C."""
    command, *words = sys.argv[1:] or ["--help"]
    try:
        if command in ("--help", "-h"):
            print(HELP)
        elif command in ("-sc", "--shell-completion"):
            complete(words)
        elif command not in COMMANDS:
            raise UserError(f"unknown command {command!r}{did_you_mean(command, COMMANDS)}\n\n{HELP}")
        elif command == "train":
            train(words)
        elif {"--help", "-h"} & set(words):
            print(usage(command))
        else:
            COMMANDS[command](**parse(command, words))
    except _Reported:
        return 1
    except (UserError, HydraException, OmegaConfBaseException) as error:
        _report(command, error)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _Reported(Exception):
    """A user's mistake in a job, whose message has been printed."""


def _report(command: str, error: Exception) -> None:
    message = str(error) if isinstance(error, UserError) else configuration.explain(error)
    print(f"snntha {command}: {message}", file=sys.stderr)


def train(arguments: list[str]) -> None:
    """Hand the arguments to Hydra, which composes the configuration and calls the job, once or (`-m`) several times."""
    command_line = sys.argv

    def job(cfg: DictConfig) -> Any:
        configuration.register()  # a launcher may have brought the job into a process of its own
        sys.argv = command_line  # what the run's record shows
        try:
            return _run(cfg)
        except UserError as error:
            if cfg.search is not None:
                raise  # the search prints and records it
            _report("train", error)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise _Reported from error  # Hydra goes on with the other jobs and raises it at the end
            raise SystemExit(1) from error

    configuration.register()
    Plugins.instance().register(StudySweeper)
    configuration.check_names(arguments)
    arguments = [_hparams_file(argument) for argument in arguments]
    if any(argument.startswith("search=") for argument in arguments):
        if any(argument.startswith("resume=") for argument in arguments):
            raise UserError("resume= is for a single run: a search goes on where it stopped by its own command alone")
        if not (MULTIRUN | INSPECTING) & {argument.partition("=")[0] for argument in arguments}:
            arguments.append("-m")  # a search is a multirun
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra shall raise its errors, not print them: main() does
    sys.argv = [command_line[0], *arguments]
    hydra.main(config_path=str(configuration.conf_folder()), config_name="train")(job)()


def _run(cfg: DictConfig) -> Any:
    """What Hydra hands to the sweeper: a run's score, or what became of a trial of a search."""
    if cfg.search is not None:
        from snntha.search.trial_job import run_trial

        return run_trial(cfg)

    typed = HydraConfig.get().overrides.task
    if cfg.resume is None:
        config, folder = configuration.load(cfg, typed), None
    else:
        folder = Path(cfg.resume)
        changes = [text for text in typed if not text.startswith("resume=")]
        before = configuration.from_yaml(folder / "config.yaml")
        if before.search is not None:
            raise UserError(
                f"resume={folder} is trial {before.search.trial} of a search: start the search's command again, "
                f"or train with hparams=best.yaml of its folder"
            )
        config = configuration.override(before, changes)

    from snntha.closing import train_and_show

    return train_and_show(config, resume=folder)


def _hparams_file(argument: str) -> str:
    """`hparams=FILE.yaml`, such as a search's best.yaml, becomes an option of the group hparams."""
    path = Path(argument.removeprefix("hparams="))
    if not argument.startswith("hparams=") or path.suffix != ".yaml":
        return argument
    return f"hparams={configuration.add_hparams(path)}"


def evaluate(run: Path, checkpoint: str, trial: int, root: str | None) -> None:
    from rich import print as show

    from snntha.evaluate import evaluate_run

    show(evaluate_run(run, trial=trial, checkpoint=checkpoint, root=root))


def report(folder: list[Path], format: str | None, table: str | None, html: Path | None) -> None:
    from snntha.report import report as print_report

    print_report(folder, format, table, html)


def plot(**values: Any) -> None:
    from snntha.plots import run_command

    run_command(**values)


def search(study: str, storage: str, dir: Path, pictures: bool) -> None:
    from snntha.search.command import run_command

    run_command(study, storage, dir, pictures=pictures)


def bench(json: bool, **values: Any) -> None:
    from snntha.bench.command import run_command

    run_command(**values, as_json=json)


def data(dataset: str | None, root: str | None) -> None:
    names = [dataset] if dataset else configuration.CHOICES["dataset.name"]
    roots = [f"dataset.root={root}"] if root else []
    datasets = [configuration.compose([f"dataset={name}", *roots]).dataset for name in names]

    from rich import print as show

    from snntha.data import status_table

    show(status_table(datasets))


def list_published() -> None:
    """Data sets x modes; a row is also the two choices that `snntha train` needs."""
    from rich import print as show
    from rich.table import Table

    from snntha.published import published

    table = Table(title="published test accuracy, percent", caption="5 trials, selected on the test set")
    for column in ("dataset", "mode"):
        table.add_column(column)
    for column in ("best", "mean", "sigma"):
        table.add_column(column, justify="right")
    for dataset in configuration.CHOICES["dataset.name"]:
        for mode in configuration.CHOICES["mode.name"]:
            accuracy = published(dataset, mode)
            table.add_row(dataset, mode, *([f"{value:.2f}" for value in accuracy] if accuracy else ["-"] * 3))
        table.add_section()
    show(table)


COMMANDS: dict[str, Callable[..., None]] = {  # train takes the words as they are, the others what arguments.parse gives
    "train": train,
    "eval": evaluate,
    "report": report,
    "plot": plot,
    "search": search,
    "bench": bench,
    "data": data,
    "list": list_published,
}


def complete(arguments: list[str]) -> None:
    """Shell completion: Hydra's script calls `snntha -sc query=bash` with the line typed so far in COMP_LINE.

    The sub-command is completed here; after `train`, Hydra answers as if that word were not there.
    """
    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if not arguments or not arguments[0].startswith("query="):
        train(["-sc", *arguments])
    elif len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
        print("\n".join(name for name in COMMANDS if name.startswith("".join(words[1:]))))
    elif words[1] == "train":
        os.environ["COMP_LINE"] = re.sub(r"^\s*(\S+)\s+train", r"\1", line)
        train(["-sc", *arguments])
    elif words[1] in COMMANDS:
        print("\n".join(completions(words[1], "" if line.endswith(" ") else words[-1])))
