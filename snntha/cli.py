"""The command `snntha` and its sub-commands.

Nothing here imports torch before the work itself starts, so that help, completion and a refused key are immediate.
"""

import os
import re
import sys
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from rich import print as show
from rich.table import Column, Table

from snntha import config as configuration
from snntha.arguments import COMMANDS, HELP, completions, parse, usage
from snntha.errors import UserError, did_you_mean
from snntha.published import published
from snntha.search.sweeper import StudySweeper

# Hydra's flags for many runs, and for a look without any.
NOT_ONE_RUN = {"-m", "--multirun", "--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}


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
        elif (shown := resolve_name(COMMANDS[command].function)(**parse(command, words))) is not None:
            show(shown)
    except _Reported:
        return 1
    except (UserError, HydraException, OmegaConfBaseException) as error:
        message = error if isinstance(error, UserError) else configuration.explain(error)
        print(f"snntha {command}: {message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # the reader, such as head, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


class _Reported(Exception):
    """A user's mistake in a job, whose message has been printed."""


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
            print(f"snntha train: {error}", file=sys.stderr)
            if HydraConfig.get().mode == RunMode.MULTIRUN:
                raise _Reported from error  # Hydra goes on with the other jobs and raises it at the end
            raise SystemExit(1) from error

    configuration.register()
    Plugins.instance().register(StudySweeper)
    configuration.check_names(arguments)
    for place, argument in enumerate(arguments):
        if argument.startswith("hparams=") and argument.endswith(".yaml"):  # a file, such as a search's best.yaml
            arguments[place] = f"hparams={configuration.add_hparams(Path(argument.removeprefix('hparams=')))}"
    keys = {argument.partition("=")[0] for argument in arguments}
    if {"search", "resume"} <= keys:
        raise UserError("resume= is for a single run: a search goes on where it stopped by its own command alone")
    multirun = ["-m"] if "search" in keys and not NOT_ONE_RUN & keys else []
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra shall raise its errors, not print them: main() does
    sys.argv = [command_line[0], *arguments, *multirun]
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
        before = configuration.from_yaml(folder / "config.yaml")
        if before.search is not None:
            raise UserError(
                f"resume={folder} is trial {before.search.trial} of a search: start the search's command again, "
                f"or train with hparams=best.yaml of its folder"
            )
        config = configuration.override(before, [text for text in typed if not text.startswith("resume=")])

    from snntha.closing import train_and_show

    return train_and_show(config, resume=folder)


def data_table(dataset: str | None, root: str | None) -> Table:
    """Which data sets are present, looked for in `root` instead of where the configuration says."""
    from snntha.data import status_table

    names = [dataset] if dataset else configuration.CHOICES["dataset.name"]
    roots = [f"dataset.root={root}"] if root else []
    return status_table([configuration.compose([f"dataset={name}", *roots]).dataset for name in names])


def published_table() -> Table:
    """Data sets x modes; a row is also the two choices that `snntha train` needs."""
    numbers = [Column(name, justify="right") for name in ("best", "mean", "sigma")]
    title, caption = "published test accuracy, percent", "5 trials, selected on the test set"
    table = Table("dataset", "mode", *numbers, title=title, caption=caption)
    for dataset in configuration.CHOICES["dataset.name"]:
        for mode in configuration.CHOICES["mode.name"]:
            accuracy = published(dataset, mode)
            table.add_row(dataset, mode, *([f"{value:.2f}" for value in accuracy] if accuracy else ["-"] * 3))
        table.add_section()
    return table


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
