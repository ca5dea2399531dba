"""The ways of running an exported network that `snntha verify` compares: runtime, integers, C, ONNX and NIR."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from snntha import nir
from snntha.errors import NotInstalled, UserError
from snntha.export import c, elsewhere, onnx
from snntha.export.nir import TARGETS
from snntha.export.nir import to_bytes as nir_bytes
from snntha.export.strict import CannotSay
from snntha.runtime import plain
from snntha.runtime.compiled import Compiled
from snntha.runtime.integer import BITS
from snntha.runtime.model import Model
from snntha.runtime.network import FrozenNetwork, Images, Spikes

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


def ways(network: FrozenNetwork, model: Path, folder: Path, simulators: Path | None) -> Iterator[Way]:
    """Everything here that can run the network or an export of it.

    Args:
        network: of the packed file.
        model: the packed file; exports beside it whose names begin like its name are replayed.
        folder: for exports that are not there, which are made.
        simulators: holds environments, named by the simulator that is installed in each.

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
    pythons = {target: elsewhere.python_of(simulators / target) for target in TARGETS} if simulators else {}
    targets = ["snntorch", *(target for target, python in pythons.items() if python and target != "snntorch")]
    for kind, export in _exports(floats, model, folder, targets):
        shown = "made for this" if export.parent == folder else f"*{export.name.removeprefix(model.stem)}"
        if kind in in_integers:
            yield Way(f"C, {kind}", _in_c(export, folder, network), allowed=0, like=in_integers[kind], file=shown)
        elif kind == "onnx":
            yield Way("ONNX, onnxruntime", partial(onnx.simulate, export, floats), allowed, file=shown)
        else:
            python = pythons.get(kind)
            simulate = nir.simulate if python is None else partial(elsewhere.simulate, python)
            name = "nirtorch" if kind == "exact" else kind
            yield Way(f"NIR, {name}", partial(simulate, export, floats), allowed, file=shown)


def _exports(network: FrozenNetwork, model: Path, folder: Path, targets: list[str]) -> Iterator[tuple[str, Path]]:
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
        **{name: lambda path, name=name: path.write_bytes(nir_bytes(network, name)) for name in targets},
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
