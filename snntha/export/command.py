"""`snntha export`: a run's network as a file for somewhere else."""

from dataclasses import replace
from pathlib import Path

from snntha import config as configuration
from snntha import data as datasets
from snntha.atomic import replacing
from snntha.data.batch import Split
from snntha.data.encoding import encoding
from snntha.errors import UserError
from snntha.export import c, nir, onnx
from snntha.export import golden as goldens
from snntha.export.freeze import freeze, load_network
from snntha.export.strict import Strictness, require
from snntha.export.strict import describe as how_strict
from snntha.folder import RunFolder
from snntha.runtime import packed
from snntha.runtime.network import FrozenNetwork

_SUFFIX = {"packed": ".safetensors", "c": ".c", "nir": ".nir", "onnx": ".onnx"}


def run_command(
    folder: Path,
    form: str,
    output: Path | None,
    quantize: str | None,
    golden: int,
    profile: str,
    target: str,
    strict: Strictness | None,
    checkpoint: str,
    trial: int,
    root: str | None,
    own_class: str | None,
) -> None:
    """Write the file, and say what it holds.

    Raises:
        UserError: no such run, or a network that the format cannot hold.
    """
    if form == "c":
        quantize = quantize or "int16"
    network = replace(freeze(folder, trial, checkpoint), quantize=quantize)
    if strict is not None:
        require(network, strict)
    reader = target if profile == "portable" else None
    if output is None:
        about = (quantize, (reader or profile) if form == "nir" else None)
        name = "_".join(filter(None, (network.trained["dataset"], network.trained["mode"], *about)))
        output = folder / "exports" / f"{name}{_SUFFIX[form]}"
    if form == "packed":
        size = _write(output, packed.to_bytes(network))
        print(f"{output}: {describe(network, size)}; {how_strict(network)}")
        if golden and output.is_file():  # no device or pipe
            _write_golden(folder, trial, checkpoint, output, golden, root, own_class)
    elif form in ("nir", "onnx") and quantize:
        raise UserError(f"quantize={quantize}: format={form} holds float32; leave it out")
    elif form == "onnx":
        size = _write(output, onnx.build(network).SerializeToString())
        print(f"{output}: {size:,} bytes, ONNX, one time step")
    elif form == "nir":
        size = _write(output, nir.to_bytes(network, reader))
        print(f"{output}: {size:,} bytes, NIR, {reader or profile}")
    else:
        text = c.source(network)
        _write(output, text.encode())
        print(f"{output}: compiled with -Os, all of its memory static")
        for machine, found in c.sizes(text).items():
            code, constants, memory = found["code"], found["constants"], found["memory"]
            print(f"  for {machine}: {code:,} bytes of code, {constants:,} of constants, {memory:,} of memory")


def describe(network: FrozenNetwork, size: int) -> str:
    """Bytes of the file, and what they are used for."""
    weights = sum(layer.shape.weights for layer in network.layers)
    bits = weights * (1 if network.layers[0].binary else 32)
    numbers = sum(
        array.size
        for layer in network.layers
        for array in (layer.bias_N, layer.scale_C, layer.shift_C)
        if array is not None
    )
    numbers += sum(layer.beta.size + 1 for layer in network.layers)  # and the threshold
    delay_bits = sum(layer.delay_bits * layer.shape.inputs for layer in network.layers)
    delays = f"delays in {delay_bits:,} bits, " if delay_bits else ""
    overhead = size - -(-bits // 8) - 4 * numbers - -(-delay_bits // 8)
    return (
        f"{size:,} bytes; {weights:,} weights in {bits:,} bits, {delays}{numbers:,} other numbers in {32 * numbers:,} "
        f"bits, {overhead:,} bytes around them"
    )


def open_test_set(folder: Path, root: str | None, own_class: str | None) -> Split | None:
    """The test set of a run, as training evaluates it; raises UserError where it is not there or another one."""
    record = RunFolder(folder)
    config = configuration.located(record.load_config(), root, own_class)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    record.check_data(data.fingerprint)
    return data.test


def _write_golden(
    folder: Path, trial: int, checkpoint: str, output: Path, samples: int, root: str | None, own_class: str | None
) -> None:
    try:
        split = open_test_set(folder, root, own_class)
    except UserError as error:
        print(f"no golden inputs for snntha verify: {error}")
        return
    assert split is not None
    network, thresholds = load_network(folder, trial, checkpoint)
    batch = split.batch(goldens.spread(split, samples))
    path = goldens.path_beside(output)
    _write(path, goldens.to_bytes(goldens.record(network, thresholds, batch, encoding(network.config.dataset))))
    print(f"{path}: {batch.inputs.batch} test samples and their spikes, for snntha verify")


def _write(path: Path, content: bytes) -> int:
    """Replace what a link leads to, not the link; returns the number of bytes."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path.resolve()) as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"output={path} cannot be written: {error.strerror or error}") from error
    return len(content)
