"""The command `snntha` and its sub-commands.

Nothing here imports torch before the work itself starts, so that help, completion and a refused key are immediate.
"""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from snntha import config as configuration
from snntha.errors import UserError
from snntha.search.sweeper import StudySweeper

HELP = """\
snntha trains binarized spiking networks with threshold annealing (Eshraghian & Lu, 2022).

  snntha train [key=value ...] [-m]    train, and write a run folder under outputs/
  snntha eval run=FOLDER               test accuracy, firing rates and dead neurons of a run
  snntha report [FOLDER ...]           tables of runs beside the published ones; --html FILE writes a page
  snntha plot [run=FOLDER,...]         figures and animations of runs; alone: which there are
  snntha search [STUDY]                progress, best trials and pictures of a hyperparameter search
  snntha bench [--json]                speed and memory of a training step against a snnTorch loop
  snntha data                          which data sets are present, and how to get the others
  snntha list                          data sets and modes with their published accuracy

Try now, without a download:

  snntha train debug=smoke             scikit-learn's digits, a run of seconds
  snntha train                         the same, trained until it is good
  snntha train --help                  all keys"""
USAGE = {
    "eval": "snntha eval run=FOLDER [checkpoint=best|last] [trial=0] [dataset.root=FOLDER]\n"
    "Test accuracy, firing rates and dead neurons of a checkpoint, on the data where they lay or in dataset.root.",
    "plot": "snntha plot run=FOLDER[,FOLDER...] [figure=NAME,...] [output=FOLDER] [trial=0] [iterations=0,100,400]\n"
    "            [frames=100] [beta=...] [slope=...] [start=...] [final=...]\n"
    "Figures of one run or several as PNG and SVG, animations as GIF and, with ffmpeg, MP4. Without arguments: which.\n"
    "iterations are those of figure=temporal; frames is the most an animation has; beta, slope and the thresholds\n"
    "start and final are for figure=neuron and figure=surrogate, in place of the run's.",
    "search": "snntha search [STUDY[,STUDY...]] [storage=URL] [dir=outputs/search] [pictures=true|false]\n"
    "How a search goes or went: trials, the best ten, importances; writes trials.csv, pictures/ and best.yaml, which\n"
    "snntha train hparams=FILE takes as it is. STUDY is a name or a folder; several: their best values so far in one\n"
    "picture; alone: which there are.",
    "bench": "snntha bench [case=shd,...] [mode=annealed] [backend=auto] [repeats=5] [threads=N] [--json]\n"
    "snntha bench sweeps=true [picture=FILE.png]\n"
    "A training step of the published networks against the step-by-step snnTorch loop, in one run: time, peak memory,\n"
    "floor of this machine, time of an epoch and where the time goes. sweeps=true: how time grows with hidden width,\n"
    "time steps, batch size and input density on the SHD network.",
    "data": "snntha data [dataset=NAME] [dataset.root=FOLDER]\n"
    "What is present, where it was looked for, what is missing and how to get it.",
    "list": "snntha list\nData sets and modes with their published accuracy.",
}
MULTIRUN = {"-m", "--multirun"}  # Hydra's flags
INSPECTING = {"--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}
DEFAULTS: dict[str, dict[str, str]] = {  # what these sub-commands accept as key=value; train's keys are Hydra's
    "eval": {"run": "", "checkpoint": "best", "trial": "0", "dataset.root": ""},
    "plot": dict.fromkeys(
        ("run", "figure", "output", "trial", "iterations", "frames", "beta", "slope", "start", "final"), ""
    ),
    "search": {"storage": "", "dir": "outputs/search", "pictures": "true"},
    "bench": {
        "case": "",
        "mode": "annealed",
        "backend": "auto",
        "repeats": "5",
        "threads": "",
        "sweeps": "false",
        "picture": "",
    },
    "data": {"dataset": "", "dataset.root": ""},
    "list": {},
}


def main() -> int:
    """Entry point; returns the exit status: 0, 1 for a user's mistake, 130 for Ctrl-C."""
    command, *arguments = sys.argv[1:] or ["--help"]
    try:
        if command in ("--help", "-h"):
            print(HELP)
        elif command in ("-sc", "--shell-completion"):
            complete(arguments)
        elif command not in COMMANDS:
            raise UserError(f"unknown command {command!r}{configuration.did_you_mean(command, COMMANDS)}\n\n{HELP}")
        elif command in USAGE and {"--help", "-h"} & set(arguments):
            print(USAGE[command])
        else:
            COMMANDS[command](arguments)
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

    def job(cfg: DictConfig) -> float | None:
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


def _run(cfg: DictConfig) -> float | None:
    if cfg.search is not None:
        from snntha.search.job import run_trial

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


def evaluate(arguments: list[str]) -> None:
    values = _parse("eval", arguments)
    if not values["run"]:
        raise UserError(f"run= is missing: name the folder of a run\n{USAGE['eval']}")
    if values["checkpoint"] not in ("best", "last"):
        raise UserError(f"checkpoint={values['checkpoint']}: expected best | last")
    if not values["trial"].isdecimal():
        raise UserError(f"trial={values['trial']}: expected the number of a trial, from 0")

    from rich import print as show

    from snntha.evaluate import evaluate_run

    trial, root = int(values["trial"]), values["dataset.root"]
    show(evaluate_run(Path(values["run"]), trial=trial, checkpoint=values["checkpoint"], root=root or None))


def report(arguments: list[str]) -> None:
    from snntha.report.command import main as run_report

    run_report(arguments)


def plot(arguments: list[str]) -> None:
    values = _parse("plot", arguments)

    from snntha.plots.command import run_command

    run_command(values)


def search(arguments: list[str]) -> None:
    studies = [argument for argument in arguments if "=" not in argument]
    if len(studies) > 1:
        raise UserError(f"{' '.join(studies)}: name one study\n{USAGE['search']}")
    values = _parse("search", [argument for argument in arguments if "=" in argument])

    from snntha.search.command import run_command

    run_command("".join(studies), values)


def bench(arguments: list[str]) -> None:
    values = _parse("bench", [argument for argument in arguments if argument != "--json"])

    from snntha.bench.command import run_command

    run_command(values, as_json="--json" in arguments)


def data(arguments: list[str]) -> None:
    values = _parse("data", arguments)
    names = [values["dataset"]] if values["dataset"] else configuration.CHOICES["dataset.name"]
    root = [f"dataset.root={values['dataset.root']}"] if values["dataset.root"] else []
    datasets = [configuration.compose([f"dataset={name}", *root]).dataset for name in names]

    from rich import print as show

    from snntha.data import status_table

    show(status_table(datasets))


def list_published(arguments: list[str]) -> None:
    """Data sets x modes; a row is also the two choices that `snntha train` needs."""
    _parse("list", arguments)

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


COMMANDS: dict[str, Callable[[list[str]], None]] = {
    "train": train,
    "eval": evaluate,
    "report": report,
    "plot": plot,
    "search": search,
    "bench": bench,
    "data": data,
    "list": list_published,
}


def _parse(command: str, arguments: list[str]) -> dict[str, str]:
    """`key=value` arguments over the sub-command's defaults."""
    values = dict(DEFAULTS[command])
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if key not in values or not equals:
            near = configuration.did_you_mean(key, values)
            raise UserError(f"unknown argument {argument!r}{near}\n{USAGE[command]}")
        values[key] = value
    return values


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
    elif words[1] in DEFAULTS:
        print("\n".join(f"{key}=" for key in DEFAULTS[words[1]]))
