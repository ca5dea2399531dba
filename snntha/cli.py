"""The command `snntha` and its sub-commands, and what their errors mean.

Nothing here imports torch before the work itself starts, so that help, completion and a refused key are immediate; and
nothing imports Hydra but what reads a configuration, so that `snntha predict` answers at once.
"""

import io
import os
import re
import shlex
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from datetime import datetime
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any

import snntha
from snntha import parallel
from snntha.arguments import COMMANDS, HELP, completions, parse, usage
from snntha.errors import PRINTABLE, UserError, did_you_mean

if TYPE_CHECKING:
    from omegaconf import DictConfig
    from rich.table import Table

SWEEP = "hydra.sweep.dir="  # of a multirun
# Hydra's flags for many runs, and for a look without any.
NOT_ONE_RUN = {"-m", "--multirun", "--cfg", "-c", "--info", "-i", "--help", "-h", "--hydra-help"}


def main() -> int:
    """Entry point; returns the exit status: 0, 1 after one message on stderr, 128 + n for signal n (Ctrl-C: 130)."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed, as by `>&-`
            setattr(sys, name, open(os.devnull, mode))
        if isinstance(stream := getattr(sys, name), io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for what is not UTF-8, and a terminal that knows ASCII only
    command = (sys.argv[1:] or ["--help"])[0]
    try:
        with _ended_by(signal.SIGTERM, signal.SIGHUP):
            call(command, sys.argv[2:])
            sys.stdout.flush()
    except KeyboardInterrupt as error:
        return 128 + (error.args or (signal.SIGINT,))[0]
    except (BrokenPipeError, SystemExit) as end:
        if isinstance(end, SystemExit) and not isinstance(end.__context__, BrokenPipeError):
            raise
        with suppress(OSError):  # the reader, such as head, has seen enough
            print(f"snntha {command}: stopped, nobody reads its output any more", file=sys.stderr)
        _discard_output()
        return 128 + signal.SIGPIPE
    except (Exception, _JobFailed) as raised:
        error = raised.__cause__ if isinstance(raised, _JobFailed) else raised
        if (message := explain(error)) is None:
            raise
        with suppress(OSError):  # stderr may be gone, too
            print(f"snntha {command}: {message}", file=sys.stderr)
        _discard_output()
        return 1
    return 0


@contextmanager
def _ended_by(*signals: signal.Signals) -> Iterator[None]:
    """Let these do what Ctrl-C does, unless they are ignored, as by nohup."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt(number)

    before = {kind: signal.signal(kind, interrupt) for kind in signals if signal.getsignal(kind) != signal.SIG_IGN}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def _discard_output() -> None:
    """Where standard output cannot be written, let nothing more be written to it: Python would when it ends."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def call(command: str, words: list[str]) -> None:
    """Carry out a sub-command with its arguments, or print help."""
    if command in ("--help", "-h"):
        print(HELP)
    elif command in ("--version", "-V"):
        print(f"snntha {snntha.__version__}")
    elif command in ("-sc", "--shell-completion"):
        complete(words)
    elif command not in COMMANDS:
        raise UserError(f"unknown command {command!r}{did_you_mean(command, COMMANDS)}\n\n{HELP}")
    elif command == "train":
        train(words)
    elif {"--help", "-h"} & set(words):
        print(usage(command))
    elif (shown := resolve_name(COMMANDS[command].function)(**parse(command, words))) is not None:
        from rich import print as show

        print(shown) if isinstance(shown, str) else show(shown)


def explain(error: BaseException | None) -> str | None:
    """What to tell of an error that the user, or the machine's owner, can mend; None of one that is ours."""
    if isinstance(error, UserError):
        text = str(error)
    elif isinstance(error, Exception) and _comes_from(error, "hydra", "omegaconf"):
        from snntha import config as configuration

        text = configuration.explain(error)
    elif isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "allocate memory" in str(error)):
        text = "not enough memory: make hparams.batch_size, dataset.time_steps or model.topology smaller"
    elif isinstance(error, OSError):
        text = f"{error.filename or 'reading or writing'}: {error.strerror or error}"
    else:
        return None
    return text.translate(PRINTABLE)


def _comes_from(error: Exception, *packages: str) -> bool:
    """Whether one of these defines the error, or what it is a kind of; asked so, none of them has to be imported."""
    return any(kind.__module__.partition(".")[0] in packages for kind in type(error).__mro__)


class _JobFailed(BaseException):
    """Carries a job's error, its cause, past Hydra, which would print the overrides first."""


def train(arguments: list[str]) -> None:
    """Hand the arguments to Hydra, which composes the configuration and calls the job, once or (`-m`) several times."""
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.core.plugins import Plugins
    from hydra.types import RunMode

    from snntha import config as configuration
    from snntha.catalog import run_folder
    from snntha.search.sweeper import StudySweeper

    command_line = sys.argv

    def job(cfg: "DictConfig") -> Any:
        configuration.register()  # a launcher may have brought the job into a process of its own
        sys.argv = command_line  # what the run's record shows
        try:
            return _run(cfg)
        except Exception as error:
            if cfg.search is not None or (message := explain(error)) is None:
                raise  # a search prints and records it
            if HydraConfig.get().mode == RunMode.RUN:
                raise _JobFailed from error
            print(f"snntha train: {message}", file=sys.stderr)
            raise UserError("some of the jobs failed") from error  # Hydra raises it when the others have ended

    help_wanted = bool({"--help", "-h"} & set(arguments))
    if help_wanted and (asked := [word for word in arguments if "=" not in word and not word.startswith("-")]):
        print(configuration.meaning(asked, [word for word in arguments if "=" in word]))
        return
    configuration.register()
    Plugins.instance().register(StudySweeper)
    keys = {argument.partition("=")[0] for argument in arguments}
    several = bool({"-m", "--multirun"} & keys) and "search" not in keys
    if several and (looks := NOT_ONE_RUN & keys - {"-m", "--multirun"}):
        raise UserError(f"{' '.join(looks)} looks at one configuration: leave out -m")
    for place, argument in enumerate(arguments):
        if argument.startswith("hparams=") and argument.endswith(".yaml"):  # a file, such as a search's best.yaml
            path = Path(argument.removeprefix("hparams=")).expanduser()
            arguments[place] = f"hparams={configuration.add_hparams(path)}"
        elif argument.startswith("resume=") and (text := argument.removeprefix("resume=")):
            arguments[place] = f"resume={run_folder(text)}"
    arguments = configuration.as_texts(arguments, several)
    sweep = next((word.partition("=")[2] for word in arguments if word.startswith(SWEEP)), None)
    if several and sweep is None:  # named here, so that its jobs can be found when they have ended
        sweep = f"outputs/multirun/{datetime.now():%Y-%m-%d_%H-%M-%S}"
        arguments.append(SWEEP + sweep)
    if parallel.processes() > 1 and (several or "search" in keys):
        raise UserError("torchrun trains one run with several processes: leave out -m and search, or torchrun")
    if {"search", "resume"} <= keys:
        raise UserError("resume= is for a single run: a search goes on where it stopped by its own command alone")
    multirun = ["-m"] if "search" in keys and not NOT_ONE_RUN & keys else []
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra shall raise its errors, not print them: main() does
    sys.argv = [command_line[0], *arguments, *multirun]
    try:
        hydra.main(config_path=str(configuration.conf_folder()), config_name="train")(job)()
    finally:
        if several and sweep:
            from snntha.jobs import print_jobs

            print_jobs(Path(sweep))


def _run(cfg: "DictConfig") -> Any:
    """What Hydra hands to the sweeper: a run's score, or what became of a trial of a search."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    from snntha import config as configuration
    from snntha.folder import RunFolder

    if cfg.search is not None:
        from snntha.search.trial_job import run_trial

        return run_trial(cfg)

    from snntha.follow import follow

    typed = HydraConfig.get().overrides.task
    if cfg.resume is None:
        config, folder = follow(configuration.load(cfg, typed)), None
    else:
        folder = Path(cfg.resume)
        before = configuration.from_yaml(folder / "config.yaml")
        if before.search is not None:
            raise UserError(
                f"resume={folder} is trial {before.search.trial} of a search: start the search's command again, "
                f"or train with hparams=best.yaml of its folder"
            )
        changes = [text for text in typed if not text.startswith("resume=")]
        config = configuration.override(before, changes)
        longer = {"epochs", "patience", "trials"} & {text.partition("=")[0] for text in changes}
        if not longer and RunFolder(folder).state == "finished":
            eval_it = shlex.join(["snntha", "eval", f"run={folder}"])
            print(f"{folder} is finished: there is nothing to go on with; look at it with: {eval_it}")
            print("to train it for longer, raise epochs=, patience= or trials=; for another run leave out resume=")
            return None
    if HydraConfig.get().mode == RunMode.MULTIRUN:
        from snntha.jobs import note_job

        note_job(HydraConfig.get().sweep.dir, config.output_dir, typed)

    from snntha import layers
    from snntha.kernels.cpu.ahead import Compilation

    compiling = config.backend in ("auto", "numba") and config.device != "cuda" and parallel.rank() == 0
    compilation = Compilation(layers.resolve(config), images=configuration.is_images(config.dataset))
    with compilation if compiling else nullcontext():  # PyTorch is imported meanwhile, which takes half as long
        from snntha.closing import train_and_show

        return train_and_show(config, resume=folder, compilation=compilation)


def data_table(dataset: str | None, root: str | None) -> "Table":
    """Which data sets are present, looked for in `root` instead of where the configuration says."""
    from snntha import config as configuration
    from snntha.data import status_table

    names = [dataset] if dataset else configuration.READY
    roots = [f"dataset.root={root}"] if root else []
    return status_table([configuration.compose([f"dataset={name}", *roots]).dataset for name in names])


def published_table() -> "Table":
    """Data sets x modes; a row is also the two choices that `snntha train` needs."""
    from rich.table import Column, Table

    from snntha.choices import CHOICES, TUNED
    from snntha.published import published

    numbers = [Column(name, justify="right") for name in ("best", "mean", "sigma")]
    title, caption = "published test accuracy, percent", "5 trials, selected on the test set"
    table = Table("dataset", "mode", *numbers, title=title, caption=caption)
    for dataset in TUNED:
        for mode in CHOICES["mode.name"]:
            accuracy = published(dataset, mode)
            table.add_row(dataset, mode, *([f"{value:.2f}" for value in accuracy] if accuracy else ["-"] * 3))
        table.add_section()
    return table


def complete(arguments: list[str]) -> None:
    """Shell completion: Hydra's script calls `snntha -sc query=bash` with the line typed so far in COMP_LINE.

    The sub-command is completed here; after `train`, Hydra answers as if that word were not there.
    """
    from snntha.catalog import folder_words

    line = os.environ.get("COMP_LINE", "")
    words = line.split()
    if not arguments or not arguments[0].startswith("query="):
        train(["-sc", *arguments])
    elif len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
        print("\n".join(name for name in COMMANDS if name.startswith("".join(words[1:]))))
    elif words[1] == "train" and words[-1].startswith("resume=") and not line.endswith(" "):
        print("\n".join(f"resume={word}" for word in folder_words(words[-1].removeprefix("resume="))))
    elif words[1] == "train":
        os.environ["COMP_LINE"] = re.sub(r"^\s*(\S+)\s+train", r"\1", line)
        train(["-sc", *arguments])
    elif words[1] in COMMANDS:
        print("\n".join(completions(words[1], "" if line.endswith(" ") else words[-1])))
