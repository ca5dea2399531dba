"""A quantized network as C99: one file, fixed arrays of packed words, no library, no memory that is asked for.

The text begins with the network's arrays, written here, and goes on with engine.c. It agrees with `runtime.integer` bit
for bit.
"""

import math
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from snntha.errors import NotInstalled, UserError
from snntha.export.strict import refuse_beyond
from snntha.runtime.integer import BITS, SHIFTS, IntegerLayer, quantize
from snntha.runtime.network import FrozenNetwork, Images, Spikes

PROGRAM = "network"  # what is compiled, for tests
_HOST = ("cc",)
_CORTEX_M = ("arm-none-eabi-gcc", "-mcpu=cortex-m4", "-mthumb")
_WORD = 32
_FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-pedantic")


def source(network: FrozenNetwork) -> str:
    """The C file of a network that has `quantize`; raises UserError for one that has no integers."""
    assert network.quantize is not None
    refuse_beyond(network, "c")
    layers, encoding = quantize(network), network.encoding
    if (kernel := max(layer.shape.kernel for layer in layers)) > _WORD:
        raise UserError(f"format=c: a convolution of {kernel} x {kernel}; rows of at most {_WORD} fit into a word")
    bits = BITS[network.quantize]
    planes = encoding.white.bit_length() if encoding.kind == "image" else 8
    numbers = range(len(layers))
    parts = [
        _comment(network),
        "#include <stdint.h>\n",
        *(f"#define SNNTHA_{key} {value}" for key, value in _constants(network).items()),
        "#define SNNTHA_IMAGE 1" if encoding.kind == "image" else "",
        _api(encoding.kind == "image"),
        f"typedef int{bits}_t membrane_t;",
        f"#define MEMBRANE_MIN ({-(2 ** (bits - 1))})\n#define MEMBRANE_MAX {2 ** (bits - 1) - 1}",
        f"#define STRICT {int(layers[0].strict)} /* 1: fires above the threshold, not at it */",
        f"#define PLANES {planes} /* bits of an input value */",
        f"#define SHIFTS {SHIFTS} /* of a leak, at most */\n",
        *(text for number in numbers for text in _arrays(number, layers[number])),
        _STRUCT,
        "static const struct layer layers[SNNTHA_LAYERS] = {",
        *(_row(number, layer) for number, layer in enumerate(layers)),
        "};\n",
        "static uint32_t input_planes[PLANES * ((SNNTHA_INPUTS + 31) / 32 + 1)];",
        *_scratch(layers),
        f"static int32_t image_currents[{layers[0].shape.neurons}];" if encoding.kind == "image" else "",
    ]
    return "\n".join(filter(None, parts)) + "\n" + Path(__file__).with_name("engine.c").read_text()


def compile_program(text: str, folder: Path, *flags: str) -> Path:
    """The program that reads samples and prints spikes; raises UserError without a compiler, and where it complains."""
    path = folder / "network.c"
    path.write_text(text)
    return _compile([str(path), "-DSNNTHA_MAIN", *flags, "-o", str(folder / PROGRAM)], folder / PROGRAM)


def run_program(program: Path, network: FrozenNetwork, inputs: Images | Spikes) -> list[np.ndarray]:
    """Spikes_TBN of each layer, bool, as `plain.run`."""
    steps, batch = inputs.time_steps, inputs.batch
    if isinstance(inputs, Images):
        content = inputs.grey_BX.tobytes()
    else:
        counts = np.minimum(inputs.counts_RX(), 255).astype(np.uint8).reshape(steps, batch, -1)
        content = counts.swapaxes(0, 1).tobytes()
    printed = subprocess.run([program], input=content, capture_output=True, check=True).stdout
    words = [-(-layer.shape.neurons // _WORD) * 4 for layer in network.layers]
    rows = np.frombuffer(printed, np.uint8).reshape(batch, steps, sum(words)).swapaxes(0, 1)
    parts = np.split(rows, np.cumsum(words)[:-1], axis=2)
    return [
        np.unpackbits(part, axis=2, count=layer.shape.neurons, bitorder="little").astype(bool)
        for part, layer in zip(parts, network.layers, strict=True)
    ]


def sizes(text: str) -> dict[str, dict[str, int]]:
    """Bytes of code, constants and memory on this machine and on a Cortex-M4, of those whose compiler is installed."""
    compilers = {"this machine": _HOST, "a Cortex-M4": _CORTEX_M}
    found = {name: _sizes(text, compiler) for name, compiler in compilers.items() if shutil.which(compiler[0])}
    return found if shutil.which("size") else {}


def _sizes(text: str, compiler: tuple[str, ...]) -> dict[str, int]:
    """Bytes of `code`, `constants` and `memory` (all of it static) of the object file."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "network.c")
        path.write_text(text)
        arguments = [str(path), "-c", "-Os", "-o", f"{folder}/network.o"]
        compiled = _compile(arguments, Path(folder, "network.o"), compiler)
        listed = subprocess.run(["size", "-A", compiled], capture_output=True, text=True, check=True).stdout
    found = {"code": 0, "constants": 0, "memory": 0}
    kinds = {".text": "code", ".rodata": "constants", ".data.rel.ro": "constants", ".bss": "memory", ".data": "memory"}
    for line in listed.splitlines():
        section, *values = line.split() or [""]
        kind = next((kind for prefix, kind in kinds.items() if section.startswith(prefix)), None)
        if kind is not None:
            found[kind] += int(values[0])
    return found


def _compile(arguments: list[str], made: Path, compiler: tuple[str, ...] = _HOST) -> Path:
    try:
        subprocess.run([*compiler, *_FLAGS, *arguments], capture_output=True, text=True, check=True)
    except FileNotFoundError as error:
        raise NotInstalled(f"no C compiler: {compiler[0]} is not installed") from error
    except subprocess.CalledProcessError as error:
        raise UserError(f"{compiler[0]} refuses the exported file: {error.stderr[:500]}") from error
    return made


def _comment(network: FrozenNetwork) -> str:
    leak = quantize(network)[0].leaks[0]
    lines = [
        "A binarized spiking network, exported by snntha.",
        f"topology {network.topology}, {network.quantize} membranes, beta {leak.beta:g} (trained with "
        f"{network.layers[0].beta:g})",
        f"classes: {', '.join(network.classes)}",
        *(f"{key}: {value}" for key, value in network.trained.items() if value is not None),
        "Input is ordered (channel, row, column); pictures are grey values from 0 to the white of training.",
    ]
    # Names come from a file that may be a stranger's: nothing in them shall end the comment.
    return "/* " + "\n * ".join(re.sub(r"[^\w .,:;()/+-]", "_", line) for line in lines) + "\n */"


def _constants(network: FrozenNetwork) -> dict[str, int]:
    return {
        "LAYERS": len(network.layers),
        "STEPS": network.encoding.time_steps,
        "INPUTS": network.encoding.inputs,
        "CLASSES": len(network.classes),
    }


def _api(image: bool) -> str:
    step = "void snntha_step(void);" if image else "void snntha_step(const uint8_t *counts); /* events of each input */"
    begin = "void snntha_image(const uint8_t *grey); /* begins a sample */" if image else ""
    return "\n".join(
        filter(
            None,
            [
                "\nvoid snntha_reset(void); /* begins a sample */",
                begin,
                step,
                "const uint32_t *snntha_spikes(unsigned layer); /* bit n % 32 of word n / 32: neuron n fired */",
                "unsigned snntha_class(void); /* with the highest count */",
                "uint32_t snntha_count[SNNTHA_CLASSES]; /* spikes of each output neuron so far */\n",
            ],
        )
    )


def _arrays(number: int, layer: IntegerLayer) -> list[str]:
    shape, neurons = layer.shape, layer.shape.neurons
    rows = layer.weight.reshape(shape.output_shape[0], -1) > 0
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % _WORD)))
    words = np.packbits(padded, axis=1, bitorder="little").view("<u4").ravel()
    return [
        _array("uint32_t", f"weight_{number}", [f"0x{word:08x}u" for word in words]),
        _array("int32_t", f"bias_{number}", layer.bias_C),
        _array("membrane_t", f"threshold_{number}", layer.threshold_C),
        _array("uint8_t", f"left_{number}", layer.left_C),
        _array("uint8_t", f"right_{number}", layer.right_C),
        f"static membrane_t membrane_{number}[{neurons}];",
        f"static uint32_t fired_{number}[{-(-neurons // _WORD) + 1}];\n",
    ]


def _array(kind: str, name: str, values: Sequence | np.ndarray) -> str:
    texts = list(map(str, values))
    lines = (", ".join(texts[first : first + 8]) for first in range(0, len(texts), 8))
    return f"static const {kind} {name}[{len(texts)}] = {{\n    " + ",\n    ".join(lines) + "\n};"


_STRUCT = """struct layer {
    uint32_t inputs, neurons;
    uint32_t in_channels, in_height, in_width, kernel, pool; /* kernel 0: dense */
    uint32_t out_channels, out_height, out_width;
    uint32_t per_unit, per_bias; /* neurons that share an entry */
    const uint32_t *weight;
    const int32_t *bias;
    const membrane_t *threshold;
    const uint8_t *left, *right;
    uint32_t leaks;
    int8_t leak_sign[SHIFTS];
    uint8_t leak_shift[SHIFTS];
    membrane_t *membrane;
    uint32_t *fired;
};
"""


def _row(number: int, layer: IntegerLayer) -> str:
    shape = layer.shape
    inputs, outputs = ((*extents, 1, 1)[:3] for extents in (shape.input_shape, shape.output_shape))
    sizes = [shape.inputs, shape.neurons, *inputs, shape.kernel, shape.pool, *outputs]
    sizes += [shape.neurons // len(layer.threshold_C), shape.neurons // len(layer.bias_C)]
    names = [f"{name}_{number}" for name in ("weight", "bias", "threshold", "left", "right")]
    (leak,) = layer.leaks
    signs, shifts = zip(*[*leak.terms, *[(0, 0)] * SHIFTS][:SHIFTS], strict=True)
    row = f"{len(leak.terms)}, {{{', '.join(map(str, signs))}}}, {{{', '.join(map(str, shifts))}}}"
    return f"    {{{', '.join(map(str, sizes))}, {', '.join(names)}, {row}, membrane_{number}, fired_{number}}},"


def _scratch(layers: Sequence[IntegerLayer]) -> list[str]:
    """Of convolutions, as large as the largest needs it."""
    channels = max(layer.shape.output_shape[0] if layer.shape.kernel else 1 for layer in layers)
    taps = max(math.prod(layer.weight.shape[1:]) if layer.shape.kernel else 1 for layer in layers)
    return [f"static int32_t channel_sums[{channels}];", f"static uint32_t patch[{-(-taps // _WORD) + 1}];"]
