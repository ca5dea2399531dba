"""A trained network as numbers: rows of numpy arrays, and how its input is made. Needs numpy alone.

`snntha.export.freeze` makes it from a checkpoint; files, runtime and every other export read it.
"""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from snntha.topology import LayerShape


@dataclass(frozen=True)
class Encoding:
    """How one sample becomes the network's input over time."""

    kind: Literal["image", "events"]
    shape: tuple[int, ...]  # (N,) or (C, H, W)
    time_steps: int
    white: int = 0  # image: the largest grey value; the current is grey / white, the same at every step
    bin_us: int = 0  # events: microseconds a time step
    duration_us: int = 0  # and what is later than that after the first event is dropped
    unit_us: int = 0  # of a recording whose times are plain numbers: 1,000,000 are seconds
    sensor: int = 0  # columns of the sensor whose pixels are summed to (C, H, W); 0: channels, no pixels
    resize: bool = False  # image: pictures of another size are scaled to (C, H, W)

    @property
    def inputs(self) -> int:
        return math.prod(self.shape)

    @property
    def pixel(self) -> int:
        """Rows and columns of the sensor that one input sums."""
        return -(-self.sensor // self.shape[-1])


@dataclass(frozen=True)
class FrozenLayer:
    """One spiking layer in evaluation mode, all float32.

    u_t = beta u_{t-1} + I_t - z_{t-1} threshold. Dense: I = sum of weights + bias. Convolution: I = (average-pooled sum
    of weights) * scale + shift. Arrays are ordered as PyTorch flattens (C, H, W).
    """

    shape: LayerShape
    weight: np.ndarray  # int8 +1 and -1, or float32; dense (N, I), convolution (O, I, K, K)
    bias_N: np.ndarray | None  # dense
    scale_C: np.ndarray | None  # convolution with BatchNorm, folded as `kernels.reference.affine` does
    shift_C: np.ndarray | None
    beta: np.float32 | np.ndarray  # of the layer, or (C,) of its channels, each neuron of a dense layer being one
    threshold: np.float32
    strict: bool  # fires above the threshold, not at it
    delay_I: np.ndarray | None = None  # uint8, steps after which spikes of each input arrive; dense
    recurrent_NM: np.ndarray | None = None  # like weight: what the layer's own spikes of the step before add; dense

    @property
    def beta_N(self) -> np.ndarray:
        """Of each neuron, ordered as PyTorch flattens."""
        return np.repeat(self.beta, self.shape.neurons // self.beta.size)

    @property
    def delay_bits(self) -> int:
        """Of one delay."""
        return 0 if self.delay_I is None else int(self.delay_I.max()).bit_length()

    @property
    def binary(self) -> bool:
        return self.weight.dtype == np.int8

    @property
    def area(self) -> int:
        """Values that the average pooling divides by."""
        return self.shape.pool**2


@dataclass(frozen=True)
class FrozenNetwork:
    """All layers, and what a stranger needs to use them."""

    topology: str  # the paper's notation
    layers: tuple[FrozenLayer, ...]
    encoding: Encoding
    classes: tuple[str, ...]
    quantize: Literal["int8", "int16"] | None = None  # run it in integers; `integer.quantize` makes them of the layers
    trained: dict[str, Any] = field(default_factory=dict)  # data set, mode, seed, accuracy in percent; None: unknown


@dataclass(frozen=True)
class Images:
    """A batch of grey pictures; grey_BX is uint8 0..white, (B, C, H, W)."""

    grey_BX: np.ndarray
    white: int
    time_steps: int

    @property
    def batch(self) -> int:
        return len(self.grey_BX)

    @property
    def values_BX(self) -> np.ndarray:
        """What the first layer sees, float32 in [0, 1]."""
        return self.grey_BX.astype(np.float32) / np.float32(self.white)


@dataclass(frozen=True)
class Spikes:
    """A batch of event recordings, rows as in `kernels.spec.Events`: row t * batch + b, inputs channels-last."""

    indptr: np.ndarray  # int64, (T * B + 1,)
    index: np.ndarray  # int32
    time_steps: int
    batch: int
    shape: tuple[int, ...]

    def counts_RX(self) -> np.ndarray:
        """Dense counts, int32 (T * B, *shape)."""
        size, rows = math.prod(self.shape), self.time_steps * self.batch
        row_of_event = np.repeat(np.arange(rows), np.diff(self.indptr))
        counts_RN = np.bincount(row_of_event * size + self.index, minlength=rows * size).astype(np.int32)
        if len(self.shape) == 1:
            return counts_RN.reshape(rows, size)
        channels, height, width = self.shape
        return counts_RN.reshape(rows, height, width, channels).transpose(0, 3, 1, 2)
