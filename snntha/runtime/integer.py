"""A frozen network in whole numbers: int8 or int16 membranes and thresholds, leaks by shifts, no multiplication.

This is the definition for hardware without floats; the C export agrees with it bit for bit. For each output channel
(each layer, if dense) the float network is divided by the size of one weight's contribution, so that a current is a sum
of +1 and -1, and then scaled by a power of two so that the threshold takes a quarter to half of the largest membrane:

    current = round_shift((sum << left) + bias, right)
    u = saturate(u - leak(u) + current - z threshold),  leak(u) = sum of +-round_shift(u, shift)

What a recurrent layer's own spikes add is shifted and rounded apart: current + round_shift(own sum << left, right).

BatchNorm's scale so becomes a threshold for each channel, and its sign flips the channel's weights.
"""

from dataclasses import dataclass
from functools import cache
from itertools import combinations, product

import numpy as np

from snntha.errors import UserError
from snntha.runtime.network import FrozenLayer, FrozenNetwork, Images
from snntha.runtime.plain import State, own_sums, weight_sums
from snntha.topology import LayerShape

BITS = {"int8": 8, "int16": 16}
SHIFTS = 3  # of a leak, at most
_HEADROOM = 4  # the membrane's range, in thresholds: sums that inhibit or excite more saturate
_LARGEST_SUM = 2**29  # twice that and a membrane fit into 32 bits
_LARGEST_COUNT = 255  # events of one input in one time step


@dataclass(frozen=True)
class Leak:
    """u - leak(u) for beta = 1 - sum of sign / 2^shift; no terms: beta is 1."""

    terms: tuple[tuple[int, int], ...]  # (sign, shift)

    @property
    def beta(self) -> float:
        """What is represented."""
        return 1 - sum(sign / 2**shift for sign, shift in self.terms)


@dataclass
class IntegerLayer:
    """A layer in whole numbers; `plain.run` runs it. Arrays with one entry hold for all neurons."""

    shape: LayerShape
    weight: np.ndarray  # int8 +1 and -1
    left_C: np.ndarray  # int32, of the sum
    right_C: np.ndarray  # int32, of sum and bias
    bias_C: np.ndarray  # int32; one a neuron if dense
    threshold_C: np.ndarray  # int32
    leaks: tuple[Leak, ...]  # one for all neurons, or one for each channel
    strict: bool
    bits: int  # of the membrane
    delay_I: np.ndarray | None  # uint8, steps
    recurrent_NM: np.ndarray | None  # int8 +1 and -1

    def __post_init__(self) -> None:
        """Signs and shifts of the leaks' terms, one of each a neuron; a sign of 0 where a leak has fewer."""
        most = max(len(leak.terms) for leak in self.leaks)
        padded = [[*leak.terms, *[(0, 0)] * (most - len(leak.terms))] for leak in self.leaks]
        terms_KC2 = np.array(padded, np.int64).reshape(len(padded), most, 2).swapaxes(0, 1)
        self._terms = [(self.per_neuron(term_C2[:, 0]), self.per_neuron(term_C2[:, 1])) for term_C2 in terms_KC2]

    @property
    def limits(self) -> tuple[int, int]:
        """The smallest and the largest membrane."""
        return -(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1

    def image_currents(self, images: Images) -> np.ndarray:
        return self.currents(images.grey_BX)

    def currents(self, values_RX: np.ndarray) -> np.ndarray:
        sums_RN = weight_sums(self.shape, self.weight, values_RX).astype(np.int64)
        left, right, bias = (self.per_neuron(values) for values in (self.left_C, self.right_C, self.bias_C))
        return round_shift((sums_RN << left) + bias, right).astype(np.int32)

    def start(self, batch: int) -> State:
        size = batch, self.shape.neurons
        return State(np.zeros(size, np.int32), np.zeros(size, bool))

    def fire(self, state: State, current_BN: np.ndarray) -> None:
        membrane, threshold = state.membrane_BN, self.per_neuron(self.threshold_C)
        if self.recurrent_NM is not None:
            left, right = self.per_neuron(self.left_C), self.per_neuron(self.right_C)
            current_BN = current_BN + round_shift(own_sums(self.recurrent_NM, state).astype(np.int64) << left, right)
        for sign, shift in self._terms:
            membrane = membrane - sign * round_shift(state.membrane_BN, shift)
        low, high = self.limits
        state.membrane_BN = np.clip(membrane + current_BN - np.where(state.fired_BN, threshold, 0), low, high)
        state.fired_BN = state.membrane_BN >= threshold + self.strict

    def per_neuron(self, values_C: np.ndarray) -> np.ndarray:
        """One entry a neuron."""
        return np.repeat(values_C, self.shape.neurons // len(values_C))


def round_shift(value: np.ndarray, shift: np.ndarray | int) -> np.ndarray:
    """value / 2^shift, rounded to the nearest whole number, halves up; a shift of 0 leaves it."""
    return (value + ((1 << shift) >> 1)) >> shift


def quantize(network: FrozenNetwork) -> list[IntegerLayer]:
    """The layers of a binary network in the integers that its `quantize` names; raises UserError if they have none."""
    assert network.quantize is not None
    bits = BITS[network.quantize]
    inputs = [network.encoding.white or 1, *[1] * (len(network.layers) - 1)]  # what one unit of input is divided by
    largest = [network.encoding.white or _LARGEST_COUNT, *[1] * (len(network.layers) - 1)]
    return [_quantize(*row, bits) for row in zip(range(len(inputs)), network.layers, inputs, largest, strict=True)]


def representable(bits: int, beta: float) -> Leak:
    """The leak of at most SHIFTS shifts that is nearest to beta: 1 - 2^-a +- 2^-b +- 2^-c with a < b < c < bits.

    Of two that are as near, the one with fewer shifts. A shift by `bits` or more leaves nothing of a membrane.
    """
    leaks, betas = _leaks(bits)
    return leaks[np.abs(betas - beta).argmin()]


@cache
def _leaks(bits: int) -> tuple[list[Leak], np.ndarray]:
    """All leaks, those with fewer shifts first, and their betas."""
    leaks = [Leak(())] + [
        Leak(tuple(zip((1, *signs), shifts, strict=True)))
        for count in range(1, SHIFTS + 1)
        for shifts in combinations(range(bits), count)
        for signs in product((1, -1), repeat=count - 1)
    ]
    return leaks, np.array([leak.beta for leak in leaks])


def _quantize(number: int, layer: FrozenLayer, divisor: int, largest: int, bits: int) -> IntegerLayer:
    shape, weight, bias = layer.shape, layer.weight, layer.bias_N
    if not layer.binary:
        raise UserError("quantize=: the weights are floats; train a mode with binary ones, such as mode=annealed")
    scale_C, shift_C = layer.scale_C, layer.shift_C
    if scale_C is None or shift_C is None:
        scale_C, shift_C = np.ones(1), np.zeros(1) if bias is None else bias
    unit_C = np.abs(scale_C.astype(np.float64)) / (layer.area * divisor)
    if layer.threshold <= 0 or not unit_C.all():
        raise UserError(f"quantize=: layer {number + 1} has a threshold or a BatchNorm scale of 0")
    if shape.kind == "conv":
        weight = weight * np.where(scale_C < 0, -1, 1).astype(np.int8)[:, None, None, None]
    fan_in = shape.weights // shape.output_shape[0] * layer.area
    fits = np.log2(_LARGEST_SUM / (fan_in * largest))
    exponent_C = np.floor(np.log2(2 ** (bits - 1) / _HEADROOM * 2 / (layer.threshold / unit_C)))
    exponent_C = np.minimum(exponent_C, np.floor(fits)).astype(np.int32)
    left_C, right_C = np.maximum(exponent_C, 0), np.maximum(-exponent_C, 0)
    threshold_C = np.rint(layer.threshold / unit_C * 2.0**exponent_C)
    bias_C = np.rint(shift_C / unit_C * 2.0**left_C)
    if (np.abs(bias_C) + 2.0**right_C).max() >= _LARGEST_SUM or threshold_C.min() < 1:
        raise UserError(f"quantize=: layer {number + 1} has numbers that do not fit into 32 bits")
    left_C, right_C, bias_C, threshold_C = (array.astype(np.int32) for array in (left_C, right_C, bias_C, threshold_C))
    leaks = tuple(representable(bits, float(beta)) for beta in np.atleast_1d(layer.beta))
    return IntegerLayer(
        shape,
        weight,
        left_C,
        right_C,
        bias_C,
        threshold_C,
        leaks,
        layer.strict,
        bits,
        layer.delay_I,
        layer.recurrent_NM,
    )
