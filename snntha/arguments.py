"""The sub-commands and their arguments: one table, from which they are read, explained, completed and carried out.

The keys of `snntha train` are not here: they are the configuration's, and Hydra reads them.
"""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snntha.errors import UserError, did_you_mean, expected

_WORDS = {int: "a whole number", float: "a number"}


@dataclass
class Argument:
    """One argument; its form is `key=HINT`, `key=one|other`, `--flag=HINT`, `--flag` or, for a positional, `NAME`."""

    form: str
    about: str
    kind: type = str  # str, Path, int, float or bool
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

    @property
    def choices(self) -> tuple[str, ...]:
        """What is allowed; empty: anything of its kind."""
        if not self.as_key:
            return self.listed
        from snntha.config import CHOICES  # brings Hydra, which takes longer than a prediction

        return CHOICES[self.as_key]

    def read(self, text: str) -> Any:
        """The value of a text; raises UserError with what was expected. No text is as good as no argument."""
        if self.many:
            return [self._read_one(entry) for entry in text.split(",") if entry] or self.default
        return self._read_one(text) if text else self.default

    def _read_one(self, text: str) -> Any:
        if self.choices and text not in self.choices:
            raise UserError(f"{self.name}={text}: {expected(text, self.choices)}")
        try:
            value = text == "true" if self.kind is bool else self.kind(os.path.expanduser(text))
        except ValueError:
            value = None
        if value is None or (self.at_least is not None and not value >= self.at_least):
            bound = "" if self.at_least is None else f", {self.at_least} or more"
            raise UserError(f"{self.name}={text}: expected {_WORDS[self.kind]}{bound}")
        return value


@dataclass(frozen=True)
class Command:
    """A sub-command: how it is called in short, what it does, the function for it, and its arguments."""

    example: str
    summary: str
    function: str  # takes what `parse` gives, and prints or returns what shall be printed
    arguments: tuple[Argument, ...] = ()
    more: str = ""  # what else --help says of it


_ROOT = Argument("dataset.root=FOLDER", "where the data lie, if not where the configuration says")
_SEED = Argument("trial=K", "which seed of the run, from 0", int, 0, at_least=0)
_RUN = Argument("run=FOLDER", "folder of a run", Path, key="folder", required=True)
_CHECKPOINT = Argument("checkpoint=best|last", "which weights", default="best")
_CASES = ("mnist", "fashion_mnist", "dvs_gesture", "shd")

COMMANDS = {
    "train": Command("train [key=value ...] [-m]", "train, and write a run folder under outputs/", "snntha.cli:train"),
    "eval": Command(
        "eval run=FOLDER",
        "test accuracy, firing rates and dead neurons of a run",
        "snntha.run:evaluate_run",
        (
            _RUN,
            _CHECKPOINT,
            _SEED,
            _ROOT,
        ),
    ),
    "report": Command(
        "report [FOLDER ...]",
        "tables of runs beside the published ones; --html FILE writes a page",
        "snntha.report:report",
        (
            Argument("FOLDER", "runs, or folders that hold runs", Path, [Path("outputs")], "folders", many=True),
            Argument("--format=rich|markdown|csv|json|latex", "how to print", key="form"),
            Argument("--table=results|cost|layers|lightweight|problems", "only this one", key="only"),
            Argument("--html=FILE", "write one page that opens without a network", Path),
        ),
    ),
    "plot": Command(
        "plot [run=FOLDER,...]",
        "figures and animations of runs; alone: which there are",
        "snntha.plots:run_command",
        (
            Argument("run=FOLDER", "folders of runs, with commas between", Path, default=[], many=True),
            Argument("figure=NAME", "which, with commas between; none: all that suit the runs", default=[], many=True),
            Argument("output=FOLDER", "for the pictures; none: the run's plots/, of several outputs/plots", Path),
            _SEED,
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
        "export run=FOLDER",
        "a run's network as a packed file, C, NIR or ONNX",
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
        ),
    ),
    "predict": Command(
        "predict model=FILE INPUT...",
        "classes of images and recordings from a packed file",
        "snntha.runtime.command:run_command",
        (
            Argument("model=FILE", "packed file of snntha export", Path, required=True),
            Argument("INPUT", "files, folders, or - for standard input", Path, [], "inputs", many=True),
            Argument("--json", "a JSON object a line", bool, False, "as_json"),
            Argument("--stream", "answer while events come, a line each, on standard input", bool, False),
        ),
        "reads PNG, IDX and .npy images; .npy, HDF5 (as SHD) and AEDAT recordings; needs no PyTorch",
    ),
    "cost": Command(
        "cost run=FOLDER",
        "bits, operations and energy of a run's network",
        "snntha.export.cost:run_command",
        (
            _RUN,
            Argument("samples=N", "of the test set, on which operations are counted", int, 100, at_least=1),
            _CHECKPOINT,
            _SEED,
            _ROOT,
        ),
    ),
    "verify": Command(
        "verify model=FILE run=FOLDER",
        "replay golden inputs through every export",
        "snntha.export.verify:run_command",
        (
            Argument("model=FILE", "packed file of snntha export", Path, required=True),
            _RUN,
            Argument("samples=N", "of the test set, for the accuracies", int, 500, at_least=1),
            _CHECKPOINT,
            _SEED,
            _ROOT,
        ),
        "runtime, integers, C, ONNX and NIR where installed; exit status 1 if one differs that must not",
    ),
    "search": Command(
        "search [STUDY]",
        "progress, best trials and pictures of a hyperparameter search",
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
        "speed and memory of a training step against a snnTorch loop",
        "snntha.bench.command:run_command",
        (
            Argument("case=NAME", "networks, with commas between; none: all", default=[], many=True, listed=_CASES),
            Argument("run=FOLDER", "instead: the network of a run as it is now, on its data", Path),
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
    "data": Command(
        "data",
        "which data sets are present, and how to get the others",
        "snntha.cli:data_table",
        (Argument("dataset=NAME", "only this one", as_key="dataset.name"), _ROOT),
    ),
    "list": Command("list", "data sets and modes with their published accuracy", "snntha.cli:published_table"),
}

HELP = "\n".join(
    [
        "snntha trains binarized spiking networks with threshold annealing (Eshraghian & Lu, 2022).\n",
        *(f"  {'snntha ' + command.example:<37}{command.summary}" for command in COMMANDS.values()),
        "\nTry now, without a download:",
        "  snntha train debug=smoke             scikit-learn's digits, a run of seconds",
        "  snntha train                         the same, trained until it is good",
        "  snntha train --help                  all keys",
    ]
)


def usage(name: str) -> str:
    """What `snntha NAME --help` prints: how to call it, what it does, and each argument."""
    command = COMMANDS[name]
    words = [argument.form if argument.required else f"[{argument.form}]" for argument in command.arguments]
    lines = [textwrap.fill(" ".join([f"snntha {name}", *words]), 110, subsequent_indent=" " * 8), command.summary]
    if command.more:
        lines.append(command.more)
    width = max((len(argument.form) for argument in command.arguments), default=0)
    for argument in command.arguments:
        default = argument.default[0] if argument.default and argument.many else argument.default
        shown = f" (default: {str(default).replace('True', 'true')})" if default else ""
        lines.append(f"  {argument.form:<{width}}  {argument.about}{shown}")
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
            texts.append(positional.kind(os.path.expanduser(word)))
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
            found += [key + choice for choice in argument.choices if word.startswith(key)] or [key]
    return [text for text in found if text.startswith(word)]
