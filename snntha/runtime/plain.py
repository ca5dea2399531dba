"""Spikes of a frozen network in plain numpy: what every other way of running it must agree with.

Layer after layer, all rows (time steps and samples) of a layer at once, then a loop over time. For +1 and -1 weights
every sum is an exact integer, so the spikes are bit for bit those of training's evaluation.

Axis legend: as in `kernels.spec`; R a row, time step and sample in one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from snntha.neuron import fires, integrate
from snntha.runtime.network import FrozenLayer, Images, Spikes
from snntha.topology import LayerShape

_PATCH_BYTES = 1 << 24  # of a convolution's patches at once


@dataclass
class State:
    """Of a layer's neurons between two time steps."""

    membrane_BN: np.ndarray
    fired_BN: np.ndarray  # bool


class Layer(Protocol):
    """What running needs: `FloatLayer` here, `integer.IntegerLayer` for hardware without floats."""

    shape: LayerShape
    delay_I: np.ndarray | None

    def image_currents(self, images: Images) -> np.ndarray:
        """Currents_BN of the first layer for pictures, the same at every step."""
        ...

    def currents(self, values_RX: np.ndarray) -> np.ndarray:
        """Currents_RN of spikes or counts, whole numbers in any dtype."""
        ...

    def start(self, batch: int) -> State:
        """At rest."""
        ...

    def fire(self, state: State, current_BN: np.ndarray) -> None:
        """One time step, in place."""
        ...


def run(layers: Sequence[Layer], inputs: Images | Spikes) -> list[np.ndarray]:
    """Spikes_TBN of each layer, bool, neurons ordered as PyTorch flattens (C, H, W)."""
    steps, batch = inputs.time_steps, inputs.batch
    fired_TBN = np.empty(0)
    all_spikes = []
    for number, layer in enumerate(layers):
        if number == 0 and isinstance(inputs, Images):
            current_BN = layer.image_currents(inputs)
            currents_TBN = np.broadcast_to(current_BN, (steps, *current_BN.shape))
        else:
            values_RX = fired_TBN.reshape(steps * batch, -1) if number else inputs.counts_RX()  # pyright: ignore
            if layer.delay_I is not None:
                values_RX = arrived(values_RX.reshape(steps, batch, -1), layer.delay_I).reshape(steps * batch, -1)
            currents_TBN = layer.currents(values_RX).reshape(steps, batch, -1)
        fired_TBN = np.empty(currents_TBN.shape, bool)
        state = layer.start(batch)
        for t in range(steps):
            layer.fire(state, currents_TBN[t])
            fired_TBN[t] = state.fired_BN
        all_spikes.append(fired_TBN)
    return all_spikes


def arrived(values_TBI: np.ndarray, delay_I: np.ndarray) -> np.ndarray:
    """Spikes or counts as they arrive: those of input i delay_I[i] steps later, none after the last step."""
    source_TI = np.arange(len(values_TBI))[:, None] - delay_I.astype(np.int64)
    moved_TBI = np.take_along_axis(values_TBI, np.maximum(source_TI, 0)[:, None], axis=0)
    return np.where(source_TI[:, None] >= 0, moved_TBI, 0).astype(values_TBI.dtype)


class DelayLine:
    """The same for one sample, step by step: remembers as many steps as the longest delay takes."""

    def __init__(self, delay_I: np.ndarray):
        self._delay_I = delay_I
        self._past_SI = np.zeros((int(delay_I.max()) + 1, len(delay_I)), np.int32)

    def step(self, values_RX: np.ndarray) -> np.ndarray:
        """What arrives in the step in which these values (1, *shape) are sent, (1, I)."""
        self._past_SI = np.roll(self._past_SI, 1, axis=0)
        self._past_SI[0] = values_RX.ravel()
        return np.take_along_axis(self._past_SI, self._delay_I[None].astype(np.int64), axis=0)


class FloatLayer:
    """A frozen layer in float32, as it was trained."""

    def __init__(self, layer: FrozenLayer):
        self.shape = layer.shape
        self.delay_I = layer.delay_I
        self.layer = layer
        self._beta_N = layer.beta_N

    def image_currents(self, images: Images) -> np.ndarray:
        return self._normalised(image_sums(self.layer, images.values_BX))

    def currents(self, values_RX: np.ndarray) -> np.ndarray:
        return self._normalised(weight_sums(self.shape, self.layer.weight, values_RX))

    def _normalised(self, sums_RN: np.ndarray) -> np.ndarray:
        layer = self.layer
        if layer.bias_N is not None:
            return sums_RN + layer.bias_N
        sums_RN /= np.float32(layer.area)
        if layer.scale_C is None or layer.shift_C is None:
            return sums_RN
        by_channel = sums_RN.reshape(len(sums_RN), len(layer.scale_C), -1)
        return (by_channel * layer.scale_C[:, None] + layer.shift_C[:, None]).reshape(sums_RN.shape)

    def start(self, batch: int) -> State:
        size = batch, self.shape.neurons
        return State(np.zeros(size, np.float32), np.zeros(size, bool))

    def fire(self, state: State, current_BN: np.ndarray) -> None:
        layer = self.layer
        if layer.recurrent_NM is not None:
            current_BN = current_BN + own_sums(layer.recurrent_NM, state)
        state.membrane_BN = integrate(state.membrane_BN, current_BN, state.fired_BN, self._beta_N, layer.threshold)
        state.fired_BN = fires(state.membrane_BN, layer.threshold, layer.strict)


def own_sums(recurrent_NM: np.ndarray, state: State) -> np.ndarray:
    """Sums_BN of the recurrent weights of what fired in the step before, float32."""
    return state.fired_BN.astype(np.float32) @ recurrent_NM.T.astype(np.float32)


def weight_sums(shape: LayerShape, weight: np.ndarray, values_RX: np.ndarray) -> np.ndarray:
    """Sums_RN of the weights of all that fired, float32; of a convolution summed over each pool, by one larger kernel.

    Exact for +1 and -1 weights below 2^24, which `packed` makes sure of.
    """
    rows = len(values_RX)
    if shape.kind == "dense":
        return values_RX.reshape(rows, -1).astype(np.float32) @ weight.T.astype(np.float32)
    values_RX = values_RX.reshape(rows, *shape.input_shape).astype(np.float32)
    kernel_KKIO = fold_pooling(weight.astype(np.float32), shape.pool)
    side, _, channels, outputs = kernel_KKIO.shape
    taps = kernel_KKIO.transpose(2, 0, 1, 3).reshape(-1, outputs)
    sums_RX = np.empty((rows, *shape.output_shape), np.float32)
    at_once = max(1, _PATCH_BYTES // (4 * shape.neurons // outputs * len(taps)))
    for first in range(0, rows, at_once):
        part = values_RX[first : first + at_once]
        windows = np.lib.stride_tricks.sliding_window_view(part, (side, side), (2, 3))[
            :, :, :: shape.pool, :: shape.pool
        ]
        patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, len(taps))
        sums = (patches @ taps).reshape(len(part), *shape.output_shape[1:], outputs)
        sums_RX[first : first + at_once] = sums.transpose(0, 3, 1, 2)
    return sums_RX.reshape(rows, -1)


def fold_pooling(weight_OIkk: np.ndarray, pool: int) -> np.ndarray:
    """As `kernels.cpu_layers.fold_pooling`, which needs PyTorch for its gradient."""
    ends = [(dy, pool - 1 - dy, dx, pool - 1 - dx) for dy in range(pool) for dx in range(pool)]
    shifts = [np.pad(weight_OIkk, ((0, 0), (0, 0), (up, down), (left, right))) for up, down, left, right in ends]
    return np.ascontiguousarray(sum(shifts[1:], shifts[0]).transpose(2, 3, 1, 0))


def _pool_sums(sums_RCHW: np.ndarray, pool: int) -> np.ndarray:
    """Sums over pool x pool, added row by row as PyTorch does; what is left over at the end is dropped."""
    height, width = (extent // pool * pool for extent in sums_RCHW.shape[2:])
    total = np.zeros_like(sums_RCHW[:, :, :height:pool, :width:pool])
    for y in range(pool):
        for x in range(pool):
            total = total + sums_RCHW[:, :, y:height:pool, x:width:pool]
    return total


def image_sums(layer: FrozenLayer, values_BX: np.ndarray) -> np.ndarray:
    """Sums_BN of weights times grey values, float32, in PyTorch's order: channel by channel, tap by tap, then the pool.

    For pictures of one channel and +1 and -1 weights this is bit for bit what training computed. Float weights it
    multiplies and adds in one operation, which float64 here comes near to.
    """
    shape, weight = layer.shape, layer.weight
    if shape.kind == "dense":
        return values_BX.reshape(len(values_BX), -1) @ weight.T.astype(np.float32)
    outputs, channels, side, _ = weight.shape
    height, width = (extent - side + 1 for extent in shape.input_shape[1:])
    wide = np.float32 if layer.binary else np.float64
    sums = np.zeros((len(values_BX), outputs, height, width), np.float32)
    for channel in range(channels):
        for y in range(side):
            for x in range(side):
                taps = weight[:, channel, y, x, None, None].astype(wide)
                sums = (sums + values_BX[:, None, channel, y : y + height, x : x + width] * taps).astype(np.float32)
    return _pool_sums(sums, shape.pool).reshape(len(values_BX), -1)
