"""The packed file: one safetensors file with a bit a weight. docs/export.md describes it byte by byte.

A file that is read is untrusted: names, types, sizes, ranges and versions are checked against the header before an
array is read, and nothing in it is ever run.
"""

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from snntha import topology
from snntha.errors import UserError
from snntha.runtime.network import Encoding, FrozenLayer, FrozenNetwork
from snntha.topology import LayerShape

FORMAT = 1
HEADER_BYTES = 1 << 20  # at most
_TEXT = 1000  # characters of a name or topology, at most
_ARRAY_BYTES = 1 << 30  # of one array, at most
_INPUTS = 1 << 20  # at most, and as many neurons of one layer
_STEPS = 1 << 16
DELAY_BITS = 6  # at most
_EXACT = 1 << 24  # float32 sums of +1 and -1 are exact below
_CHOICES = {
    "weights": ("binary", "float32"),
    "fires": ("at_threshold", "above_threshold"),
    "quantize": (None, "int8", "int16"),
}


class BadFile(UserError):
    """A file that is no packed network, is damaged, or is of another version."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} is not a packed network that can be used: {reason}; export it anew")


def to_bytes(network: FrozenNetwork) -> bytes:
    """The file's content; equal networks give equal bytes."""
    tensors: dict[str, np.ndarray] = {}
    for number, layer in enumerate(network.layers):
        if layer.beta.size > 1:
            tensors[f"{number}.beta"] = np.asarray(layer.beta)
            tensors[f"{number}.neuron"] = np.array([layer.threshold], np.float32)
        else:
            tensors[f"{number}.neuron"] = np.array([layer.beta, layer.threshold], np.float32)
        tensors[f"{number}.weight"] = pack_signs(layer.weight) if layer.binary else layer.weight
        arrays = {"bias": layer.bias_N, "scale": layer.scale_C, "shift": layer.shift_C}
        tensors |= {f"{number}.{name}": array for name, array in arrays.items() if array is not None}
        if layer.recurrent_NM is not None:
            own = layer.recurrent_NM
            tensors[f"{number}.recurrent"] = pack_signs(own) if layer.binary else own
        if layer.delay_I is not None:
            tensors[f"{number}.delay"] = _pack_delays(layer.delay_I, layer.delay_bits)
    about = {
        "format": FORMAT,
        "topology": network.topology,
        "input": asdict(network.encoding),
        "classes": network.classes,
        "weights": "binary" if network.layers[0].binary else "float32",
        "fires": "above_threshold" if network.layers[0].strict else "at_threshold",
        "quantize": network.quantize,
        "trained": network.trained,
    }
    if any(layer.delay_bits for layer in network.layers):
        about["delay_bits"] = [layer.delay_bits for layer in network.layers]
    return save(tensors, {"snntha": json.dumps(about)})


def read(path: Path) -> FrozenNetwork:
    """The network in a packed file.

    Raises:
        UserError: no such file, or a damaged or hostile one, or one of another version.
    """
    try:
        check_header(path)
        with safe_open(path, framework="np") as file:
            about = _about(file.metadata() or {})
            encoding = _encoding(about["input"])
            shapes = topology.parse(_text(about, "topology"), encoding.shape)
            _check_sizes(shapes, encoding)
            delay_bits = _delay_bits(about, shapes, encoding)
            expected = _tensors(shapes, _choice(about, "weights") == "binary", delay_bits, set(file.keys()))
            for name, wanted in expected.items():
                part = file.get_slice(name)
                if (found := (part.get_dtype(), tuple(part.get_shape()))) != wanted:
                    raise ValueError(f"{name} is {found}, expected {wanted}")
            tensors = {name: file.get_tensor(name) for name in expected}
        rows = enumerate(zip(shapes, delay_bits, strict=True))
        classes, strict = _classes(about, shapes[-1].neurons), _choice(about, "fires") == "above_threshold"
        return FrozenNetwork(
            about["topology"],
            tuple(_layer(shape, number, tensors, bits, strict) for number, (shape, bits) in rows),
            encoding,
            classes,
            _choice(about, "quantize"),
            _typed(about, "trained", dict),
        )
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error
    except (SafetensorError, UserError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise BadFile(path, " ".join(str(error).split())[:300] or type(error).__name__) from error


def check_header(path: Path) -> None:
    """Raises ValueError unless the file begins with a safetensors header of a sensible length."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if not 2 <= size <= HEADER_BYTES or path.stat().st_size < 8 + size:
            raise ValueError(f"its header would take {size} bytes")


def pack_signs(weight: np.ndarray) -> np.ndarray:
    """uint8: bit i % 8 of byte i // 8 is 1 where the i-th weight, in C order, is +1; the last byte ends with zeros."""
    return np.packbits(weight.ravel() > 0, bitorder="little")


def _unpack_signs(packed: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    bits = np.unpackbits(packed, count=math.prod(shape), bitorder="little")
    return (2 * bits.astype(np.int8) - 1).reshape(shape)


def _pack_delays(delay_I: np.ndarray, bits: int) -> np.ndarray:
    """uint8: `bits` bits a delay, the lowest first, one delay after the other; the last byte ends with zeros."""
    return np.packbits(delay_I[:, None] >> np.arange(bits, dtype=np.uint8) & 1, bitorder="little")


def _unpack_delays(packed: np.ndarray, inputs: int, bits: int) -> np.ndarray:
    digits = np.unpackbits(packed, count=inputs * bits, bitorder="little").reshape(inputs, bits)
    return (digits << np.arange(bits, dtype=np.uint8)).sum(1, dtype=np.uint8)


def weight_shape(shape: LayerShape) -> tuple[int, ...]:
    """Of a layer's weights, unpacked."""
    if shape.kind == "dense":
        return shape.neurons, shape.inputs
    return shape.output_shape[0], shape.input_shape[0], shape.kernel, shape.kernel


def _about(metadata: dict[str, str]) -> dict[str, Any]:
    about = json.loads(metadata["snntha"]) if "snntha" in metadata else None
    if not isinstance(about, dict):
        raise ValueError("it has no metadata of snntha")
    if about.get("format") != FORMAT:
        raise ValueError(f"it has format {about.get('format')!r}, this version of snntha reads {FORMAT}")
    return about


def _typed(values: dict[str, Any], key: str, kind: type) -> Any:
    value = values.get(key)
    if type(value) is not kind:
        raise ValueError(f"{key} is {str(value)[:50]!r}, expected {kind.__name__}")
    return value


def _text(values: dict[str, Any], key: str) -> str:
    text = _typed(values, key, str)
    if len(text) > _TEXT:
        raise ValueError(f"{key} has {len(text)} characters, at most {_TEXT} are allowed")
    return text


def _number(values: dict[str, Any], key: str, low: int, high: int) -> int:
    number = _typed(values, key, int)
    if not low <= number <= high:
        raise ValueError(f"{key} is {number}, expected {low} to {high}")
    return number


def _choice(about: dict[str, Any], key: str) -> Any:
    if (value := about.get(key)) not in _CHOICES[key]:
        raise ValueError(f"{key} is {str(value)[:50]!r}, expected one of {_CHOICES[key]}")
    return value


def _encoding(values: Any) -> Encoding:
    if not isinstance(values, dict) or values.get("kind") not in get_args(Encoding.__annotations__["kind"]):
        raise ValueError("input has no kind, image or events")
    shape = _typed(values, "shape", list)
    if len(shape) not in (1, 3) or not all(type(extent) is int and 1 <= extent <= _INPUTS for extent in shape):
        raise ValueError(f"input shape {str(shape)[:50]}; expected 1 or 3 whole numbers")
    image = values["kind"] == "image"
    events = 0 if image else 1
    encoding = Encoding(
        values["kind"],
        tuple(shape),
        _number(values, "time_steps", 1, _STEPS),
        white=_number(values, "white", 1 - events, 255),
        bin_us=_number(values, "bin_us", events, 10**9),
        duration_us=_number(values, "duration_us", events, 10**12),
        unit_us=_number(values, "unit_us", events, 10**9),
        sensor=_number(values, "sensor", 0, 1 << 14),
        resize=values.get("resize") is True,
    )
    if image and (len(shape) != 3 or encoding.inputs > _INPUTS):
        raise ValueError(f"input shape {shape}: an image has channels, rows and columns")
    if encoding.duration_us > encoding.bin_us * encoding.time_steps:
        raise ValueError("duration_us is longer than the time steps")
    if encoding.sensor and (len(shape) != 3 or encoding.sensor < shape[2] or shape[0] != 2):
        raise ValueError(f"a sensor of {encoding.sensor} columns cannot be summed to {shape}")
    if len(shape) == 3 and not image and not encoding.sensor:
        raise ValueError(f"input shape {shape} needs a sensor")
    return encoding


def _delay_bits(about: dict[str, Any], shapes: list[LayerShape], encoding: Encoding) -> list[int]:
    """Bits of a delay in each layer; a file without delays does not name them."""
    if "delay_bits" not in about:
        return [0] * len(shapes)
    bits = _typed(about, "delay_bits", list)
    if len(bits) != len(shapes) or not all(type(count) is int and 0 <= count <= DELAY_BITS for count in bits):
        raise ValueError(f"delay_bits {str(bits)[:50]}; expected for each layer a number from 0 to {DELAY_BITS}")
    if any(count and shape.kind != "dense" for count, shape in zip(bits, shapes, strict=True)):
        raise ValueError("a convolution with delays")
    if bits[0] and encoding.kind == "image":
        raise ValueError("delays of an image, which is the same at every step")
    return bits


def _check_sizes(shapes: list[LayerShape], encoding: Encoding) -> None:
    if shapes[0].recurrent and encoding.kind == "image":
        raise ValueError("a recurrent layer that sees an image")
    white = encoding.white or 1
    for shape in shapes:
        fan_in = shape.weights // shape.output_shape[0] * shape.pool**2
        if max(shape.inputs, shape.neurons) > _INPUTS or 4 * shape.weights > _ARRAY_BYTES or fan_in * white >= _EXACT:
            raise ValueError(f"a layer of {shape.inputs} inputs, {shape.neurons} neurons, {shape.weights} weights")
        white = 1


def _tensors(
    shapes: list[LayerShape], binary: bool, delay_bits: list[int], names: set[str]
) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Dtype and shape of every tensor that the topology asks for; raises ValueError unless these are the names."""
    expected: dict[str, tuple[str, tuple[int, ...]]] = {}
    for number, (shape, bits) in enumerate(zip(shapes, delay_bits, strict=True)):
        if bits:
            expected[f"{number}.delay"] = "U8", (-(-shape.inputs * bits // 8),)
        if f"{number}.beta" in names:
            expected |= {f"{number}.beta": ("F32", (shape.output_shape[0],)), f"{number}.neuron": ("F32", (1,))}
        else:
            expected[f"{number}.neuron"] = "F32", (2,)
        arrays = {"weight": weight_shape(shape)}
        if shape.recurrent:
            arrays["recurrent"] = shape.neurons, shape.neurons
        for name, size in arrays.items():
            expected[f"{number}.{name}"] = ("U8", (-(-math.prod(size) // 8),)) if binary else ("F32", size)
        if shape.kind == "dense":
            expected[f"{number}.bias"] = "F32", (shape.neurons,)
        elif f"{number}.scale" in names:
            expected |= {f"{number}.{name}": ("F32", (shape.output_shape[0],)) for name in ("scale", "shift")}
    if differing := sorted(names ^ set(expected)):
        raise ValueError(f"its arrays are not those of its topology: {', '.join(differing[:5])[:200]}")
    return expected


def _classes(about: dict[str, Any], neurons: int) -> tuple[str, ...]:
    classes = _typed(about, "classes", list)
    if len(classes) != neurons or not all(isinstance(name, str) and len(name) <= _TEXT for name in classes):
        raise ValueError(f"classes has {len(classes)} entries, the last layer {neurons} neurons: expected a name each")
    return tuple(classes)


def _layer(
    shape: LayerShape, number: int, tensors: dict[str, np.ndarray], delay_bits: int, strict: bool
) -> FrozenLayer:
    own = {name: tensors[f"{number}.{name}"] for name in ("bias", "scale", "shift") if f"{number}.{name}" in tensors}
    *beta, threshold = tensors[f"{number}.neuron"]
    beta = tensors[f"{number}.beta"] if not beta else beta[0]
    if not (np.all((beta >= 0) & (beta <= 1)) and np.isfinite(threshold)):
        raise ValueError(f"layer {number} has beta {np.ravel(beta)[:5]} and threshold {threshold}")
    weight, recurrent = tensors[f"{number}.weight"], tensors.get(f"{number}.recurrent")
    if not all(np.isfinite(array).all() for array in (*own.values(), weight, recurrent) if array is not None):
        raise ValueError(f"layer {number} has numbers that are not finite")
    if weight.dtype == np.uint8:
        weight = _unpack_signs(weight, weight_shape(shape))
        recurrent = None if recurrent is None else _unpack_signs(recurrent, (shape.neurons, shape.neurons))
    return FrozenLayer(
        shape,
        weight,
        own.get("bias"),
        own.get("scale"),
        own.get("shift"),
        beta,
        np.float32(threshold),
        strict,
        _unpack_delays(tensors[f"{number}.delay"], shape.inputs, delay_bits) if delay_bits else None,
        recurrent,
    )
