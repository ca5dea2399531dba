"""Topologies in the paper's notation: `16Conv5-AP2-64Conv5-AP2-1024Dense10`, `700Dense3000Dense20`.

`16Conv5` is a convolution with 16 filters of 5x5, `AP2` an average pooling of 2x2 on its current, and
`1024Dense300Dense10` two dense layers from 1024 inputs over 300 neurons to 10. The inputs of a dense layer may be left
out, `Dense300Dense10`: they are the outputs of the layer before. An R behind its neurons makes a dense layer recurrent,
`700Dense512R-Dense20`.
"""

import math
import re
from dataclasses import dataclass
from typing import Literal

from snntha.errors import UserError

_CONV = re.compile(r"(\d{1,9})Conv(\d{1,9})")
_POOL = re.compile(r"AP(\d{1,9})")
_DENSE = re.compile(r"(\d{1,9})?(Dense\d{1,9}R?)+")
HIDDEN, MOST_FILTERS = 512, 64  # of networks by `default`
MOST_WEIGHTS = 2**31  # an index of 32 bits counts no more; as float32 they need 8 GB


@dataclass(frozen=True)
class LayerShape:
    """One spiking layer: a synapse (with its pooling) and the neurons behind it."""

    kind: Literal["conv", "dense"]
    input_shape: tuple[int, ...]  # (C, H, W) or (N,)
    output_shape: tuple[int, ...]
    kernel: int = 0  # conv only
    pool: int = 1  # conv only
    recurrent: bool = False  # dense only: its spikes of the step before are inputs, too, with weights of their own

    @property
    def inputs(self) -> int:
        return math.prod(self.input_shape)

    @property
    def neurons(self) -> int:
        return math.prod(self.output_shape)

    @property
    def weights(self) -> int:
        """Number of weights, biases not counted."""
        if self.kind == "dense":
            return (self.inputs + self.neurons * self.recurrent) * self.neurons
        return self.output_shape[0] * self.input_shape[0] * self.kernel**2


def parse(topology: str, input_shape: tuple[int, ...]) -> list[LayerShape]:
    """Spiking layers of a topology for samples of shape (N,) or (C, H, W).

    Raises UserError with the position for an unknown token and for sizes that do not fit.
    """
    shape = tuple(input_shape)
    layers: list[LayerShape] = []
    position = 0
    for token in topology.split("-"):

        def fail(problem: str, token: str = token, position: int = position) -> UserError:
            return UserError(f"model.topology={topology!r}: {token!r} at position {position}: {problem}")

        if conv := _CONV.fullmatch(token):
            shape = _convolve(layers, shape, filters=int(conv[1]), kernel=int(conv[2]), fail=fail)
        elif pool := _POOL.fullmatch(token):
            shape = _pool(layers, shape, pool=int(pool[1]), fail=fail)
        elif _DENSE.fullmatch(token):
            shape = _dense(layers, shape, *token.split("Dense"), fail=fail)
        else:
            raise fail(
                "unknown token; expected <filters>Conv<kernel>, AP<size> or <inputs>Dense<neurons>[R]; below 10^9"
            )
        if sum(layer.weights + layer.neurons for layer in layers) > MOST_WEIGHTS:
            raise fail("the network has more than 2^31 weights and neurons")
        position += len(token) + 1
    if layers[-1].kind != "dense":
        raise UserError(
            f"model.topology={topology!r} ends without a dense layer; append -{math.prod(shape)}Dense<classes>"
        )
    return layers


def default(input_shape: tuple[int, ...], classes: int) -> str:
    """A topology for samples of a shape: convolutions and pooling while there is room for them, then one dense layer.

    Channels (N,), and pictures that are too small, get one hidden layer.
    """
    tokens, filters = [], 16
    side = min(input_shape[1:], default=0)
    if 6 <= side < 10:
        tokens, filters, side = ["64Conv3-AP2"], 64, (side - 2) // 2
    while side >= 10 and filters <= MOST_FILTERS:
        tokens.append(f"{filters}Conv5-AP2")
        filters, side = 2 * filters, (side - 4) // 2
    return "-".join([*tokens, f"Dense{classes}" if tokens else f"Dense{HIDDEN}Dense{classes}"])


def _convolve(layers: list[LayerShape], shape: tuple[int, ...], filters: int, kernel: int, fail) -> tuple[int, ...]:
    if len(shape) != 3:
        raise fail(f"a convolution needs an input of shape (channels, height, width), here it is {shape}")
    if filters < 1 or kernel < 1:
        raise fail("needs at least one filter of size 1")
    _, height, width = shape
    if kernel > min(height, width):
        raise fail(f"a {kernel}x{kernel} kernel does not fit its {height}x{width} input")
    output = (filters, height - kernel + 1, width - kernel + 1)
    layers.append(LayerShape("conv", shape, output, kernel))
    return output


def _pool(layers: list[LayerShape], shape: tuple[int, ...], pool: int, fail) -> tuple[int, ...]:
    if not layers or layers[-1].kind != "conv" or layers[-1].pool > 1:
        raise fail("average pooling acts on the current of the convolution right before it")
    channels, height, width = shape
    if pool < 1 or pool > min(height, width):
        raise fail(f"{pool}x{pool} pooling does not fit its {height}x{width} input")
    conv = layers[-1]
    output = (channels, height // pool, width // pool)
    layers[-1] = LayerShape("conv", conv.input_shape, output, conv.kernel, pool)
    return output


def _dense(layers: list[LayerShape], shape: tuple[int, ...], inputs: str, *sizes: str, fail) -> tuple[int, ...]:
    if inputs and int(inputs) != math.prod(shape):
        raise fail(
            f"{int(inputs)} inputs do not fit: the layer before has {math.prod(shape)} outputs {shape}; leave the "
            f"number out, Dense{sizes[0]}, and it follows"
        )
    for size in sizes:
        neurons = int(size.removesuffix("R"))
        if neurons < 1:
            raise fail("every layer needs at least one neuron")
        layers.append(LayerShape("dense", shape, (neurons,), recurrent=size.endswith("R")))
        shape = (neurons,)
    return shape
