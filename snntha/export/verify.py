"""`snntha verify`: golden inputs replayed through every way of running an exported network, against training."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich import print as show
from rich.table import Column, Table

from snntha.errors import UserError
from snntha.export import c, golden, nir, onnx
from snntha.export.command import open_test_set
from snntha.export.freeze import load_network
from snntha.runtime import packed, plain
from snntha.runtime.compiled import Compiled
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


@dataclass
class Found:
    """What a way did: on golden inputs spike by spike, on the test set by class."""

    differing: int
    spikes: int  # that could differ: neurons x steps x samples
    first: tuple[int, int, int, int] | None  # layer, step (both from 1), neuron, sample (from 0)
    correct: int = 0
    samples: int = 0


def run_command(model: Path, folder: Path, samples: int, checkpoint: str, trial: int, root: str | None) -> None:
    """Print for each way the share of spikes that differ, where first, and the accuracy.

    Raises:
        UserError: a way that must be exact differs, so that the exit status is 1; or a file is missing or damaged.
    """
    network = packed.read(model)
    recorded = golden.read(golden.path_beside(model), network)
    trained, thresholds = load_network(folder, trial, checkpoint)
    try:
        split = open_test_set(folder, root)
    except UserError as error:
        print(f"accuracy on the golden inputs alone: {error}")
        split = None

    def training(inputs: Images | Spikes) -> list[np.ndarray]:
        return golden.spikes_of(trained, thresholds, golden.to_torch(inputs))

    bad, found = [], {}
    with TemporaryDirectory() as temporary:
        for way in (Way("training's evaluation", training, allowed=0), *ways(network, Path(temporary))):
            wanted = recorded.spikes if way.like is None else way.like(recorded.inputs)
            result = compare(wanted, way.run(recorded.inputs))
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


def ways(network: FrozenNetwork, folder: Path) -> Iterator[Way]:
    """Everything here that can run the network; what is not installed is said and left out."""
    floats = replace(network, quantize=None)
    by_hand = [plain.FloatLayer(layer) for layer in network.layers]
    binary = network.layers[0].binary
    yield Way("runtime, numpy", lambda inputs: plain.run(by_hand, inputs), allowed=0 if binary else 1)
    yield Way("runtime, kernels", Compiled(floats.layers).spikes, allowed=0)
    if not binary:
        return
    for integers in ("int16", "int8"):
        whole = replace(network, quantize=integers)
        in_numpy = Model(whole).spikes
        yield Way(f"{integers}, numpy", in_numpy, allowed=1)
        try:
            (folder / integers).mkdir()
            program = c.compile_program(c.source(whole), folder / integers)
        except UserError as error:
            print(f"C left out: {error}")
            continue

        def in_c(inputs: Images | Spikes, program: Path = program) -> list[np.ndarray]:
            return c.run_program(program, network, inputs)

        yield Way(f"{integers}, C", in_c, allowed=0, like=in_numpy)
    try:
        content = onnx.build(floats).SerializeToString()
        yield Way("ONNX, onnxruntime", partial(onnx.simulate, floats, content), allowed=_LAST_BIT)
    except UserError as error:
        print(f"ONNX left out: {error}")
    yield from _nir_ways(floats, folder)


def _nir_ways(network: FrozenNetwork, folder: Path) -> Iterator[Way]:
    """Both profiles. Their resets are added to the current before the membrane, so a last bit may differ."""
    exact, portable = folder / "exact.nir", folder / "portable.nir"
    try:
        nir.write(network, "exact", exact)
        yield Way("NIR exact, nirtorch", partial(nir.simulate, network, nir.read(exact)), allowed=_LAST_BIT)
        nir.write(network, "portable", portable)
        yield Way("NIR portable, snnTorch", partial(nir.simulate_snntorch, network, portable), allowed=_LAST_BIT)
    except UserError as error:
        print(f"NIR left out: {error}")


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
        *("", "against", Column("differ", justify="right"), "first: layer, step, neuron (sample)"),
        Column("accuracy %", justify="right"),
        title=f"spikes of {samples} golden inputs",
        caption=f"accuracy of {next(iter(found.values())).samples} samples",
    )
    for way, result in found.items():
        first = "-" if result.first is None else "{}, {}, {} ({})".format(*result.first)
        share = f"{result.differing / result.spikes:.4%}" if result.differing else "0"
        against = "golden" if way.like is None else "its integers"
        table.add_row(way.name, against, share, first, f"{100 * result.correct / result.samples:.2f}")
    return table
