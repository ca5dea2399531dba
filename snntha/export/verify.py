"""`snntha verify`: golden inputs replayed through every way of running an exported network, against training."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich import print as show
from rich.table import Column, Table

from snntha import nir
from snntha.errors import NotInstalled, UserError
from snntha.export import c, golden, onnx
from snntha.export.command import open_test_set
from snntha.export.freeze import load_network
from snntha.export.nir import to_bytes as nir_bytes
from snntha.export.strict import CannotSay
from snntha.runtime import packed, plain
from snntha.runtime.compiled import Compiled
from snntha.runtime.integer import BITS
from snntha.runtime.model import Model
from snntha.runtime.network import FrozenNetwork, Images, Spikes

AT_ONCE = 50  # samples
_LAST_BIT = 1e-4

Simulator = Callable[[Images | Spikes], list[np.ndarray]]  # spikes_TBN of each layer


@dataclass(frozen=True)
class Way:
    """One way of running the network, and what it must agree with."""

    name: str
    run: Simulator
    allowed: float  # share of spikes that may differ: 0 where the arithmetic is the same, 1 for another one
    like: Simulator | None = None  # None: training's evaluation
    file: str = ""  # the export that is replayed


@dataclass
class Found:
    """What a way did: on golden inputs spike by spike, on the test set by class."""

    differing: int
    spikes: int  # that could differ: neurons x steps x samples
    first: tuple[int, int, int, int] | None  # layer, step (both from 1), neuron, sample (from 0)
    correct: int = 0
    samples: int = 0


def run_command(
    model: Path, folder: Path, samples: int, checkpoint: str, trial: int, root: str | None, own_class: str | None
) -> None:
    """Print for each way the share of spikes that differ, where first, and the accuracy.

    Raises:
        UserError: a way that must be exact differs, so that the exit status is 1; or a file is missing or damaged.
    """
    network = packed.read(model)
    recorded = golden.read(golden.path_beside(model), network)
    trained, thresholds = load_network(folder, trial, checkpoint)
    try:
        split = open_test_set(folder, root, own_class)
    except UserError as error:
        print(f"accuracy on the golden inputs alone: {error}")
        split = None

    def training(inputs: Images | Spikes) -> list[np.ndarray]:
        return golden.spikes_of(trained, thresholds, golden.to_torch(inputs))

    bad, found = [], {}
    with TemporaryDirectory() as temporary:
        for way in (Way("training's evaluation", training, allowed=0), *ways(network, model, Path(temporary))):
            wanted = recorded.spikes if way.like is None else way.like(recorded.inputs)
            try:
                result = compare(wanted, way.run(recorded.inputs))
            except NotInstalled as error:
                print(f"{way.name} left out: {error}")
                continue
            batches = [(recorded.inputs, recorded.labels_B)]
            if split is not None:
                positions = golden.spread(split, samples).split(AT_ONCE)
                parts = map(split.batch, positions)
                batches = ((golden.to_numpy(part, network.encoding), _labels(part)) for part in parts)
            for inputs, labels_B in batches:
                count_BN = way.run(inputs)[-1].sum(0)
                result.correct += int((count_BN.argmax(1) == labels_B).sum())
                result.samples += len(labels_B)
            found[way] = result
            if result.differing > way.allowed * result.spikes:
                bad.append(way.name)
    show(_table(found, recorded.inputs.batch))
    if bad:
        raise UserError(f"{'; '.join(bad)}: spikes differ that must be equal")


def ways(network: FrozenNetwork, model: Path, folder: Path) -> Iterator[Way]:
    """Everything here that can run the network or an export of it.

    Args:
        network: of the packed file.
        model: the packed file; exports beside it whose names begin like its name are replayed.
        folder: for exports that are not there, which are made.

    Raises:
        UserError: an export beside it is damaged.
    """
    floats = replace(network, quantize=None)
    by_hand = [plain.FloatLayer(layer) for layer in network.layers]
    binary = network.layers[0].binary
    yield Way("runtime, numpy", lambda inputs: plain.run(by_hand, inputs), allowed=0 if binary else 1, file="the model")
    yield Way("runtime, kernels", Compiled(floats.layers).spikes, allowed=0, file="the model")
    in_integers = {name: Model(replace(network, quantize=name)).spikes for name in BITS} if binary else {}
    for name, run in in_integers.items():
        yield Way(f"{name}, numpy", run, allowed=1, file="the model")
    allowed = _LAST_BIT if binary else 1  # of other programs, which may add in another order
    for kind, export in _exports(floats, model, folder):
        shown = "made for this" if export.parent == folder else f"*{export.name.removeprefix(model.stem)}"
        if kind in in_integers:
            yield Way(f"C, {kind}", _in_c(export, folder, network), allowed=0, like=in_integers[kind], file=shown)
        elif kind == "onnx":
            yield Way("ONNX, onnxruntime", partial(onnx.simulate, export, floats), allowed, file=shown)
        else:
            name = "nirtorch" if kind == "exact" else kind
            yield Way(f"NIR, {name}", partial(nir.simulate, export, floats), allowed, file=shown)


def _exports(network: FrozenNetwork, model: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Kinds and files of the exports beside a model, and those made in `folder` of the kinds that are not there."""
    beside = sorted(path for path in model.parent.iterdir() if path.name.startswith(model.stem))
    kinds = set()
    for path in beside:
        if path.suffix in (".c", ".onnx", ".nir"):
            with _left_out(path.name):
                kind = _kind(path)
                kinds.add(kind)
                yield kind, path
    makers: dict[str, Callable[[Path], object]] = {
        "onnx": lambda path: path.write_bytes(onnx.build(network).SerializeToString()),
        "exact": lambda path: path.write_bytes(nir_bytes(network, None)),
        "snntorch": lambda path: path.write_bytes(nir_bytes(network, "snntorch")),
    }
    if network.layers[0].binary:
        for name in BITS:
            makers[name] = lambda path, name=name: path.write_text(c.source(replace(network, quantize=name)))
    for kind, make in makers.items():
        if kind not in kinds:
            with _left_out(kind):
                make(folder / kind)
                yield kind, folder / kind


@contextmanager
def _left_out(what: str) -> Iterator[None]:
    """Say what cannot be tried here."""
    try:
        yield
    except (NotInstalled, CannotSay) as error:
        print(f"{what} left out: {error}")


def _kind(path: Path) -> str:
    """int8 or int16 of a C file, onnx, exact, or the importer that a NIR file is for."""
    if path.suffix == ".onnx":
        return "onnx"
    if path.suffix == ".nir":
        return nir.says(nir.read(path), "snntha_target") or "exact"
    integers = re.search(r"^typedef (int8|int16)_t membrane_t;$", path.read_text(errors="replace"), re.MULTILINE)
    if integers is None:
        raise UserError(f"{path} is no C file of snntha export: export it anew, or move it away")
    return integers[1]


def _in_c(export: Path, folder: Path, network: FrozenNetwork) -> Simulator:
    def run(inputs: Images | Spikes) -> list[np.ndarray]:
        own = folder / f"{export.name}.compiled"
        if not own.exists():
            own.mkdir()
            c.compile_program(export.read_text(), own)
        return c.run_program(own / c.PROGRAM, network, inputs)

    return run


def compare(wanted: list[np.ndarray], own: list[np.ndarray]) -> Found:
    """Spikes_TBN of each layer against others; the first that differs is the earliest step of the earliest layer."""
    first, differing = None, 0
    for number, (one, other) in enumerate(zip(wanted, own, strict=True)):
        differ_TBN = one != other
        differing += int(differ_TBN.sum())
        if first is None and differ_TBN.any():
            step, sample, neuron = map(int, np.unravel_index(differ_TBN.argmax(), differ_TBN.shape))
            first = number + 1, step + 1, neuron, sample
    return Found(differing, sum(spikes.size for spikes in wanted), first)


def _labels(batch: golden.Batch) -> np.ndarray:
    assert batch.labels_B is not None
    return batch.labels_B.numpy()


def _table(found: dict[Way, Found], samples: int) -> Table:
    table = Table(
        *("", "file"),
        Column("differ", justify="right"),
        "first",
        Column("accuracy %", justify="right"),
        title=f"spikes of {samples} golden inputs",
        caption=(
            f"C differs from its integers, all others from the golden spikes; first: layer, step, neuron (sample); "
            f"accuracy of {next(iter(found.values())).samples} samples"
        ),
    )
    for way, result in found.items():
        first = "-" if result.first is None else "{}, {}, {} ({})".format(*result.first)
        share = f"{result.differing / result.spikes:.4%}" if result.differing else "0"
        table.add_row(way.name, way.file, share, first, f"{100 * result.correct / result.samples:.2f}")
    return table
