"""Golden inputs: test samples with the spikes that training's evaluation gives, kept beside an export.

`snntha verify` replays them through every way of running the network, also where the data are not at hand.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from snntha.data.batch import Batch, Split
from snntha.errors import UserError
from snntha.kernels.spec import Events, Static
from snntha.network import SpikingNetwork
from snntha.runtime.network import Encoding, FrozenNetwork, Images, Spikes
from snntha.runtime.packed import check_header

FORMAT = 1
_SAMPLES = 1 << 12  # at most


@dataclass(frozen=True)
class Golden:
    """A batch of test samples and what every layer does with it."""

    inputs: Images | Spikes
    labels_B: np.ndarray  # int64
    spikes: list[np.ndarray]  # of each layer, bool (T, B, N)


def record(network: SpikingNetwork, thresholds: list[float], batch: Batch, encoding: Encoding) -> Golden:
    """What training's evaluation does with a batch that has labels."""
    assert batch.labels_B is not None
    return Golden(to_numpy(batch, encoding), batch.labels_B.numpy(), spikes_of(network, thresholds, batch))


@torch.no_grad()
def spikes_of(network: SpikingNetwork, thresholds: list[float], batch: Batch) -> list[np.ndarray]:
    """Spikes_TBN of each layer, bool, by training's evaluation."""
    layers = network(batch.inputs, thresholds, record=True).layers
    return [layer.spikes_TBX.flatten(2).bool().cpu().numpy() for layer in layers if layer.spikes_TBX is not None]


def to_numpy(batch: Batch, encoding: Encoding) -> Images | Spikes:
    """A batch of training as the runtime takes it."""
    inputs = batch.inputs
    if isinstance(inputs, Static):
        grey_BX = (inputs.image_BX * encoding.white).round().to(torch.uint8).numpy()
        return Images(grey_BX, encoding.white, inputs.time_steps)
    return Spikes(inputs.indptr.numpy(), inputs.index.numpy(), inputs.time_steps, inputs.batch, inputs.shape)


def to_torch(inputs: Images | Spikes) -> Batch:
    """The other way round; without labels."""
    if isinstance(inputs, Images):
        return Batch(Static(torch.from_numpy(inputs.grey_BX).float() / inputs.white, inputs.time_steps), None)
    rows = torch.from_numpy(inputs.indptr), torch.from_numpy(inputs.index)
    return Batch(Events(*rows, inputs.time_steps, inputs.batch, inputs.shape), None)


def spread(split: Split, samples: int) -> torch.Tensor:
    """Positions spread evenly over a split, so that all classes may be among them."""
    return torch.linspace(0, len(split) - 1, min(samples, len(split))).round().long()


def path_beside(model: Path) -> Path:
    """`digits.golden.safetensors` of `digits.safetensors`."""
    return model.with_suffix(f".golden{model.suffix}")


def to_bytes(golden: Golden) -> bytes:
    """The file's content."""
    inputs = golden.inputs
    arrays = {"labels": golden.labels_B}
    if isinstance(inputs, Images):
        arrays["grey"] = inputs.grey_BX
    else:
        arrays |= {"indptr": inputs.indptr, "index": inputs.index}
    for number, spikes_TBN in enumerate(golden.spikes):
        arrays[f"{number}.spikes"] = np.packbits(spikes_TBN, bitorder="little")
    about = {"format": FORMAT, "samples": inputs.batch}
    return save(arrays, {"snntha_golden": json.dumps(about)})


def read(path: Path, network: FrozenNetwork) -> Golden:
    """The golden inputs of a network; raises UserError where the file is missing, damaged, or another network's."""
    if not path.is_file():
        raise UserError(f"{path} is missing: snntha export writes it beside the packed file")
    encoding = network.encoding
    try:
        check_header(path)
        with safe_open(path, framework="np") as file:
            about = json.loads((file.metadata() or {})["snntha_golden"])
            batch = about["samples"]
            if about["format"] != FORMAT or type(batch) is not int or not 1 <= batch <= _SAMPLES:
                raise ValueError(f"format {about['format']}, {batch} samples")
            steps = encoding.time_steps
            sizes = [-(-steps * batch * layer.shape.neurons // 8) for layer in network.layers]
            expected = {f"{number}.spikes": ("U8", [size]) for number, size in enumerate(sizes)}
            expected["labels"] = "I64", [batch]
            if encoding.kind == "image":
                expected["grey"] = "U8", [batch, *encoding.shape]
            else:
                expected["indptr"] = "I64", [steps * batch + 1]
                expected["index"] = "I32", list(file.get_slice("index").get_shape())
            for name, wanted in expected.items():
                part = file.get_slice(name)
                if (found := (part.get_dtype(), list(part.get_shape()))) != wanted:
                    raise ValueError(f"{name} is {found}, expected {wanted}")
            arrays = {name: file.get_tensor(name) for name in expected}
        inputs = _inputs(arrays, encoding, batch)
        spikes = []
        for number, layer in enumerate(network.layers):
            shape = steps, batch, layer.shape.neurons
            bits = np.unpackbits(arrays[f"{number}.spikes"], count=int(np.prod(shape)), bitorder="little")
            spikes.append(bits.reshape(shape).astype(bool))
        return Golden(inputs, arrays["labels"], spikes)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} does not hold golden inputs of this network ({error}): export it anew") from error


def _inputs(arrays: dict[str, np.ndarray], encoding: Encoding, batch: int) -> Images | Spikes:
    if encoding.kind == "image":
        if arrays["grey"].max(initial=0) > encoding.white:
            raise ValueError(f"a grey value above {encoding.white}")
        return Images(arrays["grey"], encoding.white, encoding.time_steps)
    indptr, index = arrays["indptr"], arrays["index"]
    if indptr[0] != 0 or indptr[-1] != len(index) or (np.diff(indptr) < 0).any():
        raise ValueError("rows of events that do not follow each other")
    if index.min(initial=0) < 0 or index.max(initial=0) >= encoding.inputs:
        raise ValueError(f"an event outside the {encoding.inputs} inputs")
    return Spikes(indptr, index, encoding.time_steps, batch, encoding.shape)
