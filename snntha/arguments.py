"""The sub-commands and their arguments: one table, from which they are read, explained, completed and carried out.

The keys of `snntha train` are not here: they are the configuration's, and Hydra reads them.
"""

import os
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snntha.catalog import OUTPUTS, folder_words, run_folder
from snntha.choices import CHOICES
from snntha.errors import UserError, did_you_mean, expected


@dataclass
class Argument:
    """One argument; its form is `key=HINT`, `key=one|other`, `--flag=HINT`, `--flag` or, for a positional, `NAME`."""

    form: str
    about: str
    kind: Callable[[str], Any] = str  # str, Path, int, float, bool or run_folder
    default: Any = None
    key: str = ""  # the parameter that takes the value, if not called as the argument is
    many: bool = False  # a list: with commas between, positionals as words of their own
    listed: tuple[str, ...] = ()  # the choices, if the form does not spell them out
    as_key: str = ""  # or the key of the configuration whose choices they are
    at_least: float | None = None  # of a number
    required: bool = False

    def __post_init__(self) -> None:
        self.name, _, hint = self.form.partition("=")
        self.key = self.key or self.name.lstrip("-").rpartition(".")[2].lower()
        self.listed = self.listed or (tuple(hint.split("|")) if "|" in hint else ())
        self.is_positional = self.name.isupper()
        self.is_switch = self.form.startswith("--") and not hint

    def kind_in_words(self) -> str:
        return "a whole number" if self.kind is int else "a number"

    @property
    def choices(self) -> tuple[str, ...]:
        """What is allowed; empty: anything of its kind."""
        return CHOICES[self.as_key] if self.as_key else self.listed

    def read(self, text: str) -> Any:
        """The value of a text; raises UserError with what was expected. No text is as good as no argument."""
        if self.many:
            return [self.read_one(entry) for entry in text.split(",") if entry] or self.default
        return self.read_one(text) if text else self.default

    def read_one(self, text: str) -> Any:
        if self.choices and text not in self.choices:
            raise UserError(f"{self.name}={text}: {expected(text, self.choices)}")
        try:
            value = text == "true" if self.kind is bool else self.kind(os.path.expanduser(text))
        except UserError:
            raise
        except ValueError:
            value = None
        if value is None or (self.at_least is not None and not value >= self.at_least):
            bound = "" if self.at_least is None else f", {self.at_least} or more"
            raise UserError(f"{self.name}={text}: expected {self.kind_in_words()}{bound}")
        return value


@dataclass(frozen=True)
class Command:
    """A sub-command: how it is called in short, what it does, the function for it, and its arguments."""

    example: str
    summary: str
    function: str  # takes what `parse` gives, and prints or returns what shall be printed
    arguments: tuple[Argument, ...] = ()
    more: str = ""  # what else --help says of it


WIDTH, MOST_OF_FORM = 80, 32  # characters of a line of help, and of an argument's form beside what it is
_ROOT = Argument("dataset.root=FOLDER", "where the data lie, if not where the configuration says")
_TARGET = Argument(
    "dataset._target_=MODULE:CLASS", "of your own data: no run's folder is trusted with it", key="own_class"
)
_SEED = Argument("trial=K", "which seed of the run, from 0", int, 0, at_least=0)
_RUN = Argument("run=RUN", "a run: its folder, its short id, or last", run_folder, key="folder", required=True)
_CHECKPOINT = Argument("checkpoint=best|last", "which weights", default="best")
_CASES = ("mnist", "fashion_mnist", "dvs_gesture", "shd")

COMMANDS = {
    "train": Command("train [key=value ...] [-m]", "train, and write a run folder", "snntha.cli:train"),
    "eval": Command(
        "eval run=RUN|model=NAME",
        "test accuracy, firing rates, dead neurons",
        "snntha.export.evaluate:run_command",
        (
            Argument("run=RUN", "a run: its folder, its short id, or last", run_folder, key="folder"),
            Argument("model=NAME", "instead: a packed file, or a model that comes with snntha", Path),
            _CHECKPOINT,
            _SEED,
            _ROOT,
            Argument("--json", "one JSON object instead of tables", bool, False, "as_json"),
            _TARGET,
        ),
    ),
    "compare": Command(
        "compare RUN RUN ...",
        "what differs: keys, accuracies, curves",
        "snntha.compare:run_command",
        (
            Argument("RUN", "folders, short ids, or last", run_folder, [], "folders", many=True),
            Argument("output=FOLDER", "for the picture of the curves; none: outputs/plots", Path),
        ),
    ),
    "runs": Command(
        "runs [RUN ...]",
        "list, sort, tag and remove runs",
        "snntha.runs:run_command",
        (
            Argument("RUN", "folders, short ids, or last; none: all", run_folder, [], "folders", many=True),
            Argument("sort=begun|accuracy|data|state", "the last line is the newest or best", default="begun"),
            Argument("tag=WORD", "give it to the runs that are named"),
            Argument("untag=WORD", "take it away from them"),
            Argument("--remove", "delete the runs that are named, after a question", bool, False),
            Argument("--yes", "without the question", bool, False),
            Argument("dir=FOLDER", "that holds the runs", Path, OUTPUTS, "parent"),
        ),
        "a run is tagged smoke or overfit where its configuration says so: the report leaves it out of the results",
    ),
    "report": Command(
        "report [RUN ...]",
        "results beside the published ones; a page",
        "snntha.report:report",
        (
            Argument("RUN", "runs, or folders that hold runs", run_folder, [OUTPUTS], "folders", many=True),
            Argument("--table=results|accuracy|cost|layers|lightweight|problems|all", "which", default="results"),
            Argument("--format=rich|markdown|csv|json|latex", "how to print; csv: one table", key="form"),
            Argument("--html=FILE", "write one page that opens without a network", Path),
        ),
    ),
    "plot": Command(
        "plot [run=RUN,...]",
        "figures and animations of runs",
        "snntha.plots:run_command",
        (
            Argument("run=RUN", "folders, short ids or last, with commas between", run_folder, default=[], many=True),
            Argument("figure=NAME", "which, with commas between; none: all that suit the runs", default=[], many=True),
            Argument("output=FOLDER", "for the pictures; none: the run's plots/, of several outputs/plots", Path),
            Argument("trial=K", "one seed of the run, from 0; none: all, where there is room", int, at_least=0),
            Argument("iterations=0,100,400", "of figure=temporal", int, default=[], many=True, at_least=0),
            Argument("frames=N", "of an animation, at most", int, 100, at_least=1),
            Argument("beta=X", "of figure=neuron, in place of the run's", float, at_least=0),
            Argument("slope=X", "of figure=surrogate, in place of the run's", float, at_least=0),
            Argument("start=X", "threshold of both figures at the start, in place of the run's", float),
            Argument("final=X", "and at the end", float),
        ),
        "figures are written as PNG and SVG, animations as GIF and, with ffmpeg, MP4",
    ),
    "export": Command(
        "export run=RUN",
        "a packed file, C, NIR or ONNX of a run",
        "snntha.export.command:run_command",
        (
            _RUN,
            Argument("format=packed|c|nir|onnx", "of the file", default="packed", key="form"),
            Argument("output=FILE", "to write; none: in the run's exports/", Path),
            Argument("quantize=int8|int16", "of membrane, threshold and leak; none: float32, of C int16"),
            Argument("profile=exact|portable", "of NIR: our reset in full, or LIF for an importer", default="exact"),
            Argument("target=snntorch|spikingjelly|norse|sinabs", "which importer", default="snntorch"),
            Argument("strict=weights|thresholds|multiplier_free", "refuse a network that is not"),
            Argument("golden=N", "test samples with their spikes, written beside a packed file", int, 16, at_least=0),
            _CHECKPOINT,
            _SEED,
            _ROOT,
            _TARGET,
        ),
    ),
    "predict": Command(
        "predict model=FILE INPUT...",
        "classes of images and recordings",
        "snntha.runtime.command:run_command",
        (
            Argument(
                "model=FILE", "packed file of snntha export, or a model that comes with snntha", Path, required=True
            ),
            Argument("INPUT", "files, folders, or - for standard input", Path, [], "inputs", many=True),
            Argument("--json", "a JSON object a line", bool, False, "as_json"),
            Argument("--stream", "answer while events come, a line each, on standard input", bool, False),
        ),
        "reads PNG, IDX and .npy images; .npy, HDF5 (as SHD) and AEDAT recordings; needs no PyTorch",
    ),
    "cost": Command(
        "cost run=RUN",
        "bits, operations and energy of a network",
        "snntha.export.cost:run_command",
        (
            _RUN,
            Argument("samples=N", "of the test set, on which operations are counted", int, 100, at_least=1),
            _CHECKPOINT,
            _SEED,
            _ROOT,
            _TARGET,
        ),
    ),
    "verify": Command(
        "verify model=FILE run=RUN",
        "replay golden inputs through every export",
        "snntha.export.verify:run_command",
        (
            Argument("model=FILE", "packed file of snntha export", Path, required=True),
            _RUN,
            Argument("samples=N", "of the test set, all of it where it has no more", int, 500, at_least=1),
            Argument("ways=WORD,WORD", "only those with one of these in their name", str, [], "chosen", many=True),
            Argument("simulators=FOLDER", "with an environment for each, FOLDER/sinabs and so on", Path),
            _CHECKPOINT,
            _SEED,
            _ROOT,
            _TARGET,
        ),
        "runtime, integers, C, ONNX and NIR where installed; exit status 1 if one differs that must not",
    ),
    "search": Command(
        "search [STUDY]",
        "progress and best trials of a search",
        "snntha.search.command:run_command",
        (
            Argument("STUDY", "name or folder; several with commas between: compared in one picture", default=""),
            Argument("storage=URL", "of the studies; none: the study.db of each folder", default=""),
            Argument("dir=FOLDER", "that holds the studies' folders", Path, Path("outputs/search"), "parent"),
            Argument("pictures=true|false", "whether to draw", bool, True),
        ),
        "writes trials.csv, pictures/ and best.yaml, for snntha train hparams=FILE; alone: which studies there are",
    ),
    "bench": Command(
        "bench [--json]",
        "a training step against a snnTorch loop",
        "snntha.bench.command:run_command",
        (
            Argument("case=NAME", "networks, with commas between; none: all", default=[], many=True, listed=_CASES),
            Argument("run=RUN", "instead: the network of a run as it is now, on its data", run_folder),
            Argument("mode=NAME", "as in snntha train", default="annealed", as_key="mode.name"),
            Argument("backend=NAME", "as in snntha train", default="auto", as_key="backend"),
            Argument("repeats=N", "steps that are timed", int, 5, at_least=1),
            Argument("threads=N", "of this machine; none: all", int, at_least=1),
            Argument("sweeps=true|false", "instead: how time grows with size, steps, batch and activity", bool, False),
            Argument("picture=FILE.png", "of the sweeps", Path),
            Argument("--json", "one JSON object instead of tables", bool, False, "as_json"),
        ),
        "the published networks in one run: time, peak memory, floor of this machine, an epoch, where the time goes",
    ),
    "reproduce": Command(
        "reproduce [CELL ...]",
        "train cells of the paper's tables",
        "snntha.reproduce.command:run_command",
        (
            Argument("CELL", "all, a group, or how a name begins", default=[], key="words", many=True),
            Argument("dataset.root=FOLDER", "of the data; several with commas between", Path, [], "roots", True),
            Argument("epochs=N", "instead of the plan's", int, at_least=1),
            Argument("trials=N", "seeds, instead of the plan's", int, at_least=1),
            Argument("fidelity=paper|code", "instead of the plan's"),
            Argument("selection=validation|test", "instead of the plan's"),
            Argument("threads=N", "of this machine; none: all", int, at_least=1),
            Argument("run=FOLDER", "take it over as the cell it is of", Path),
            Argument("outputs=FOLDER", "for runs", Path, Path("outputs/reproduce")),
            Argument("results=FOLDER", "for records without weights", Path, Path("results")),
        ),
        "goes on where it was stopped, leaves out cells without data; alone: lists them",
    ),
    "data": Command(
        "data",
        "data sets: present, or how to get them",
        "snntha.cli:data_table",
        (Argument("dataset=NAME", "only this one", as_key="dataset.name"), _ROOT),
    ),
    "list": Command("list", "data sets, modes, published accuracies", "snntha.cli:published_table"),
    "help": Command(
        "help [COMMAND]",
        "this text, or what a command takes",
        "snntha.arguments:help_of",
        (Argument("COMMAND", "which", default=""),),
    ),
    "doctor": Command("doctor", "versions, threads, kernels, caches, data", "snntha.doctor:table"),
}

HELP = "\n".join(
    [
        "snntha trains binarized spiking networks with threshold annealing\n(Eshraghian & Lu, 2022).\n",
        *(f"  {'snntha ' + command.example:<35} {command.summary}" for command in COMMANDS.values()),
        "\nTry now, without a download:",
        "  snntha train debug=smoke            handwritten digits, a run of seconds",
        "  snntha train                        the same, trained until it is good",
        "  snntha train --help [KEY]           all keys, or what one means",
    ]
)


def help_of(command: str) -> str:
    """What `snntha help COMMAND` prints."""
    if command and command not in COMMANDS:
        raise UserError(f"{command}: {expected(command, COMMANDS)}")
    return usage(command) if command else HELP


def usage(name: str) -> str:
    """What `snntha NAME --help` prints: how to call it, what it does, and each argument."""
    command = COMMANDS[name]
    words = [argument.form if argument.required else f"[{argument.form}]" for argument in command.arguments]
    lines = [textwrap.fill(" ".join([f"snntha {name}", *words]), WIDTH, subsequent_indent=" " * 8), command.summary]
    if command.more:
        lines.append(textwrap.fill(command.more, WIDTH))
    width = min(MOST_OF_FORM, max((len(argument.form) for argument in command.arguments), default=0))
    for argument in command.arguments:
        default = argument.default[0] if argument.default and argument.many else argument.default
        shown = f" (default: {str(default).replace('True', 'true')})" if default else ""
        about = textwrap.wrap(argument.about + shown, WIDTH - width - 4)
        beside = len(argument.form) <= width
        lines.append(f"  {argument.form:<{width}}  {about.pop(0) if beside else ''}".rstrip())
        lines += [" " * (width + 4) + line for line in about]
    return "\n".join(lines)


def parse(name: str, words: Sequence[str]) -> dict[str, Any]:
    """The arguments of a sub-command by their keys, converted; those that were not given have their default.

    Raises UserError where one is unknown, has no value or a wrong one, or is required and missing.
    """
    values = {argument.key: argument.default for argument in COMMANDS[name].arguments}
    positional = next((argument for argument in COMMANDS[name].arguments if argument.is_positional), None)
    arguments = {argument.name: argument for argument in COMMANDS[name].arguments if argument is not positional}
    words_left, texts = iter(words), []
    for word in words_left:
        typed, equals, text = word.partition("=")
        argument = arguments.get(typed)
        is_option = word.startswith("-") and word != "-"  # which stands for standard input
        if not word and positional:
            raise UserError(f"{positional.name} is empty, perhaps by an unset variable: leave it out or name one")
        elif argument is None and positional and not is_option and (not equals or "/" in typed):
            texts.append(positional.read_one(word))
        elif argument is None:
            raise UserError(f"unknown argument {word!r}{did_you_mean(typed, arguments)}\n{usage(name)}")
        elif argument.is_switch and not equals:
            values[argument.key] = True
        elif equals or (typed.startswith("--") and (text := next(words_left, ""))):
            values[argument.key] = argument.read(text)
        else:
            raise UserError(f"{word}: expected {argument.form}\n{usage(name)}")
    if positional is not None and texts:
        if len(texts) > 1 and not positional.many:
            raise UserError(f"{' '.join(texts)}: name one {positional.key}\n{usage(name)}")
        values[positional.key] = texts if positional.many else texts[0]
    for argument in arguments.values():
        if argument.required and values[argument.key] is None:
            raise UserError(f"{argument.name}= is missing: pass {argument.form}, the {argument.about}\n{usage(name)}")
    return values


def completions(name: str, word: str) -> list[str]:
    """What the beginning of a sub-command's argument may become: its keys, and the choices of one."""
    found = []
    for argument in COMMANDS[name].arguments:
        key = argument.name if argument.is_switch else f"{argument.name}="
        if not argument.is_positional:
            choices = argument.choices
            if argument.kind is run_folder and word.startswith(key):
                choices = folder_words(word.removeprefix(key))
            found += [key + choice for choice in choices if word.startswith(key)] or [key]
        elif argument.kind is run_folder and word:
            found += folder_words(word)
    return [text for text in found if text.startswith(word)]
