"""Every reader of files and parser of texts, with sound contents, and what it promises of any other content.

`test_fuzz` tries damaged contents with hypothesis, `fuzz` what leads into unseen code.
"""

import gzip
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
from frozen_runs import DIGITS, DVS, SHD
from frozen_runs import write_run as write_frozen
from PIL import Image
from recordings import dataset, write_dvs_gesture, write_idx, write_mnist, write_shd
from report_folders import write_run

from snntha.arguments import COMMANDS, parse
from snntha.binning import Binning, bin_events
from snntha.data import FILE_SETS, load
from snntha.errors import ConfigError, UserError
from snntha.export import golden
from snntha.export.freeze import encoding, freeze, load_network
from snntha.folder import RunFolder, SeedPaths, State, read_epochs
from snntha.records import SeedRecord, load_tensors
from snntha.report import build_tables, collect
from snntha.runtime import packed
from snntha.runtime.inputs import read_all, to_batch
from snntha.topology import parse as parse_topology


@dataclass(frozen=True)
class Reader:
    """One reader; `read` returns where a content is read or refused in the words that are promised, and raises else."""

    sound: list[bytes]
    read: Callable[[bytes], None]


def topology(folder: Path) -> Reader:
    shapes = [(700,), (1, 8, 8), (2, 32, 32), (0,), ()]

    def read(content: bytes) -> None:
        shape, text = shapes[content[0] % len(shapes)] if content else (), content[1:].decode("latin-1")
        try:
            layers = parse_topology(text, shape)
        except UserError as error:
            assert str(error).startswith(f"model.topology={text!r}")
        else:
            assert layers[-1].kind == "dense" and all(layer.neurons > 0 for layer in layers)

    return Reader(
        [b"\0" + b"700Dense20", b"\1" + b"16Conv3-AP2-144Dense10", b"\2" + b"4Conv3-AP2-900Dense9Dense11"], read
    )


def arguments(folder: Path) -> Reader:
    commands = sorted(set(COMMANDS) - {"train"})

    def read(content: bytes) -> None:
        name, *words = content.decode("utf-8", "surrogateescape").split("\0")
        command = name if name in commands else commands[len(name) % len(commands)]
        with suppress(UserError):
            assert set(parse(command, words)) == {argument.key for argument in COMMANDS[command].arguments}

    return Reader(
        [b"eval\0run=x\0trial=1", b"report\0x\0--html\0y", b"plot\0figure=neuron\0beta=0.5\0iterations=1,2"], read
    )


def data_file(name: str, folder: Path, path: Path, *sound: bytes) -> Reader:
    """A data set of which one file is replaced: read and, if they are events, binned."""
    changes = dataset(name, folder)
    kind = FILE_SETS[name]

    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            found = kind.find(changes)
            if not found.present:
                assert str(path) in found.report or path.name in found.report
            elif changes.bin_ms is None:
                kind.read(found)
            else:
                for recording in kind.read(found, "train", changes):
                    bin_events(recording, Binning.of(changes, 100), math.prod(changes.input_shape))
        except UserError as error:
            assert f"dataset={name}" in str(error) or "dataset." in str(error)

    return Reader([path.read_bytes(), *sound], read)


def idx_images(folder: Path) -> Reader:
    path = write_mnist(folder, train=20, test=10, packed=False) / "train-images-idx3-ubyte"
    return data_file("mnist", folder, path, gzip.compress(path.read_bytes(), mtime=0))


def idx_labels(folder: Path) -> Reader:
    path = write_mnist(folder, train=20, test=10, packed=False) / "t10k-labels-idx1-ubyte"
    return data_file("mnist", folder, path, gzip.compress(path.read_bytes(), mtime=0))


def hdf5(folder: Path) -> Reader:
    write_shd(folder, classes=2, spikes=40, train_each=1, test_each=1)
    return data_file("shd", folder, folder / "SHD" / "shd_train.h5")


def npy(folder: Path) -> Reader:
    write_dvs_gesture(folder, train_users=(1,), test_users=(2,), lightings=("lab",), classes=2, duration_ms=40)
    return data_file("dvs_gesture", folder, folder / "DVSGesture" / "ibmGestureTrain" / "user01_lab" / "1.npy")


def metrics(folder: Path) -> Reader:
    def read(content: bytes) -> None:
        text = content.decode(errors="replace")
        epochs, lines = read_epochs(text)
        assert len(epochs) + len(lines) == len(text.splitlines())

    return Reader([b'{"epoch": 1, "train_loss": 0.5}\n{"epoch": 2}\n\0\0'], read)


def configuration(folder: Path) -> Reader:
    write_run(folder / "run", [50.0])
    path = folder / "run" / "config.yaml"
    sound = path.read_bytes()

    def read(content: bytes) -> None:
        path.write_bytes(content)
        run = RunFolder(folder / "run")
        with suppress(ConfigError):
            run.load_config()
        assert run.config or run.problems
        assert isinstance(run.layers, list) and run.state in get_args(State)

    return Reader([sound], read)


def run_folder(folder: Path) -> Reader:
    """One of a run's files, which the first byte chooses: its reports have rows or say what is wrong."""
    write_run(folder / "run", [50.0])
    names = ("environment.json", "summary.json", "trial_0/metrics.jsonl", "trial_0/activity_end.pt", "config.yaml")
    paths = [folder / "run" / name for name in names]
    sound = [path.read_bytes() for path in paths]

    def read(content: bytes) -> None:
        path = paths[content[0] % len(paths)] if content else paths[0]
        before = path.read_bytes()
        path.write_bytes(content[1:])
        run = RunFolder(folder / "run")
        asked = (
            *(run.read, lambda: run.seed(0).column("train_loss"), lambda: run.state),
            lambda: load_tensors(SeedPaths(folder / "run/trial_0").activity_path("end")),
        )
        try:
            for ask in asked:
                try:
                    ask()
                except UserError as error:
                    assert str(folder) in str(error), error
            assert [table.name for table in build_tables(collect([folder]))][-1] == "problems"
        finally:
            path.write_bytes(before)

    return Reader([bytes([number]) + content for number, content in enumerate(sound)], read)


def checkpoint(folder: Path) -> Reader:
    """A checkpoint fills its network or is refused."""
    record = SeedRecord(write_frozen(folder / "run", *DIGITS) / "trial_0")
    path, network = record.checkpoint_path("best"), load_network(folder / "run", 0, "best")[0]

    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            record.load_checkpoint("best", network)
        except UserError as error:
            assert str(path) in str(error), error

    return Reader([path.read_bytes()], read)


def packed_file(folder: Path) -> Reader:
    path = folder / "packed.safetensors"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            network = packed.read(path)
        except UserError as error:
            assert str(path) in str(error) and len(str(error)) < 600, error
        else:
            assert packed.to_bytes(network)

    runs = [write_frozen(folder / str(number), *overrides) for number, overrides in enumerate((DIGITS, SHD, DVS))]
    return Reader([packed.to_bytes(freeze(run)) for run in runs], read)


def packed_header(folder: Path) -> Reader:
    """The same with a header of the right length before the numbers of a sound file."""
    whole = packed_file(folder)
    content = whole.sound[0]
    body = 8 + int.from_bytes(content[:8], "little")

    def read(header: bytes) -> None:
        whole.read(len(header).to_bytes(8, "little") + header + content[body:])

    return Reader([content[8:body]], read)


def golden_file(folder: Path) -> Reader:
    run = write_frozen(folder / "run", *DIGITS, "backend=reference")
    network, thresholds = load_network(run, 0, "best")
    data = load(network.config.dataset, selection="validation", seed=0)
    assert data.test is not None
    frozen, batch = freeze(run), data.test.batch(golden.spread(data.test, 3))
    path = folder / "golden.safetensors"

    def read(content: bytes) -> None:
        path.write_bytes(content)
        try:
            found = golden.read(path, frozen)
        except UserError as error:
            assert str(path) in str(error), error
        else:
            assert golden.to_bytes(found)

    return Reader([golden.to_bytes(golden.record(network, thresholds, batch, encoding(network.config)))], read)


def inputs(folder: Path) -> Reader:
    """What `snntha predict` reads, for a network of pictures, of channels or of a sensor, as the first byte says."""
    encodings = [freeze(write_frozen(folder / overrides[0], *overrides)).encoding for overrides in (DIGITS, SHD, DVS)]
    path = folder / "input"

    def read(content: bytes) -> None:
        path.write_bytes(content[1:])
        encoding = encodings[content[0] % 3] if content else encodings[0]
        try:
            samples = list(read_all([path], encoding))
        except UserError as error:
            assert str(path) in str(error), error
        else:
            if samples:
                to_batch([sample.values for sample in samples[:9]], encoding)

    write_mnist(folder, train=20, test=10, packed=False)
    write_shd(folder, classes=2, spikes=40, train_each=1, test_each=1)
    sound = [b"\1" + (folder / "SHD" / "shd_test.h5").read_bytes()]
    arrays = np.zeros((2, 8, 8), np.uint8), np.array([[0.1, 3], [0.2, 4]]), np.array([[3, 4, 1, 5], [3, 4, 0, 6]])
    for number, array in enumerate(arrays):
        np.save(path.with_suffix(".npy"), array)
        sound.append(bytes([number]) + path.with_suffix(".npy").read_bytes())
    Image.fromarray(arrays[0][0]).save(path, "PNG")
    sound += [b"\0" + path.read_bytes(), b"\0" + write_idx(path, arrays[0], packed=False).read_bytes()]
    for version in (b"2.0", b"3.1"):
        sound.append(b"\2#!AER-DAT" + version + b"\r\n# a line\r\n#!END-HEADER\r\n" + bytes(range(64)))
    return Reader(sound, read)


READERS: dict[str, Callable[[Path], Reader]] = {
    "topology": topology,
    "arguments": arguments,
    "idx images": idx_images,
    "idx labels": idx_labels,
    "hdf5": hdf5,
    "npy": npy,
    "metrics": metrics,
    "configuration": configuration,
    "run folder": run_folder,
    "checkpoint": checkpoint,
    "packed file": packed_file,
    "packed header": packed_header,
    "golden inputs": golden_file,
    "inputs of predict": inputs,
}
