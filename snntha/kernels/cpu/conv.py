"""Convolution and average pooling of spikes on the CPU (numba): currents and both gradients.

A k x k convolution (no padding, stride 1) followed by p x p average pooling is one convolution with stride p and a
kernel of K = k + p - 1 taps a side, whose entries are sums of p * p shifted copies of the small kernel; its sums are
divided by p * p at the end. For +-1 weights every sum is an exact integer, so the result is bit for bit that of
convolving first and pooling afterwards.

Axis legend: T time step, B sample, H and W a picture's rows and columns, I input and O output channel, K taps of the
folded kernel, R its rows (ky, kx, i) flattened. Pictures are channels-last: input (y, x, i) has the flat index
(y * W + x) * I + i. Arrays are C-contiguous. An output has (H - K) // stride + 1 rows: what is left over at the bottom
and on the right is dropped, as `avg_pool2d` does.

In both event-driven kernels the sum over the events stays in registers: an output pixel sees, for each of its K rows of
taps, one run of neighbouring inputs, so one piece of the list of events. Every sum belongs to one task and is added up
in a fixed order, so no result depends on the number of threads.
"""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numba import njit

from snntha.kernels.cpu.events import FOUR, SUMS, Spikes
from snntha.kernels.cpu.strip import GradientSource
from snntha.kernels.cpu.sums import add_rows, add_steps
from snntha.kernels.cpu.threads import run
from snntha.kernels.cpu.vector import (
    LANES,
    PAIR,
    TILE,
    at,
    fill,
    load,
    load_pair,
    multiply_add,
    store,
    zero_tile,
)
from snntha.kernels.cpu.workspace import workspace
from snntha.topology import LayerShape

TASKS = 16  # of the weight gradient, each with a kernel of its own, and at least so many of the currents
PATTERNS_FROM = 0.33  # of the inputs and steps: where patterns cost less than events, see docs/kernels.md
TILE_STEPS = 6  # time steps that share a loaded kernel value in the input gradient; `_add_panel` is written for six


class Geometry(NamedTuple):
    """Sizes of one convolution with its pooling folded in."""

    taps: int  # K
    stride: int  # the side of the pool
    height: int  # of the input
    width: int
    channels: int

    @classmethod
    def of(cls, shape: LayerShape) -> "Geometry":
        channels, height, width = shape.input_shape
        return cls(shape.kernel + shape.pool - 1, shape.pool, height, width, channels)

    @property
    def output(self) -> tuple[int, int]:
        """Rows and columns of the output."""
        return (self.height - self.taps) // self.stride + 1, (self.width - self.taps) // self.stride + 1

    @property
    def divisor(self) -> int:
        return self.stride**2


def narrowest(kernel_KKIO: np.ndarray, binary: bool, pool: int) -> np.ndarray:
    """A folded float32 kernel as int8, where its weights were +-1 and int8 holds the sum of a pool of them."""
    return kernel_KKIO.astype(np.int8) if binary and pool**2 <= np.iinfo(np.int8).max else kernel_KKIO


def patterns_from(kernel_KKIO: np.ndarray) -> float:
    """The share of inputs and steps from which spikes are better handed over as patterns: never where channels do not
    come in fours, where int8 does not hold the sum of four, or where rounding would depend on it."""
    fours = kernel_KKIO.shape[2] % FOUR == 0 and kernel_KKIO.dtype == np.int8
    return PATTERNS_FROM if fours and FOUR * int(np.abs(kernel_KKIO).max()) <= np.iinfo(np.int8).max else math.inf


class ConvolutionAbove(NamedTuple):
    """What the layer below a convolution needs: the gradients of its currents, and the kernel they went through."""

    grads_BHWTO: np.ndarray
    panels_QOL: np.ndarray  # of `input_kernel`
    start_Q: np.ndarray
    stride: int


Above = GradientSource | ConvolutionAbove


def conv_currents(spikes: Spikes, kernel_KKIO: np.ndarray, geometry: Geometry, currents_BHWTO: np.ndarray) -> None:
    """Fill currents_BHWTO (float32): current[oy, ox] = sum over events of kernel[y - oy stride, x - ox stride, i]
    / divisor.

    Each pattern of four channels adds the sum of their weights. An int8 kernel is summed in int16 if the fullest step
    cannot overflow it (an event adds at most one kernel entry to an output), else in int32; both are exact. A float32
    kernel is summed in float32, in the order of the events.
    """
    outputs = kernel_KKIO.shape[3]
    expected = (spikes.batch, *geometry.output, spikes.time_steps, outputs)
    assert currents_BHWTO.shape == expected, f"currents {currents_BHWTO.shape}; expected {expected}"
    if spikes.patterns:
        kernel_KKIO = _pattern_sums(kernel_KKIO)
        geometry = geometry._replace(channels=kernel_KKIO.shape[2])
    pixel_I = np.arange(geometry.height * geometry.width).repeat(geometry.channels)
    most, sums = spikes.fullest_step, np.empty(0, np.float32)
    if kernel_KKIO.dtype == np.int8:
        largest = int(np.abs(kernel_KKIO.astype(np.int16)).max())
        sums = np.empty(0, np.int16 if largest * most <= np.iinfo(np.int16).max else np.int32)
        most = np.iinfo(np.int8).max // largest
    blocks = -(-TASKS // spikes.batch)
    weights_GRJ = _tiles(kernel_KKIO, TILE)
    tasks = spikes.batch * blocks
    run(_currents, tasks, spikes.events, pixel_I, weights_GRJ, geometry, most, sums, blocks, currents_BHWTO)


def conv_weight_gradient(
    spikes: Spikes, grad_currents_BHWTO: np.ndarray, geometry: Geometry, grad_kernel_KKIO: np.ndarray
) -> None:
    """Fill grad_kernel_KKIO (float32): grad[ky, kx, i] = sum over events of grad_currents[oy, ox] / divisor.

    Samples are dealt out to TASKS tasks whatever the number of threads, and their sums are added in order.
    """
    events, patterns = spikes.by_input(), spikes.patterns
    rows, outputs = geometry.taps**2 * geometry.channels, grad_kernel_KKIO.shape[3]
    tasks = min(TASKS, len(grad_currents_BHWTO))
    partial_AGRD = np.zeros((tasks, -(-outputs // PAIR), rows, PAIR), np.float32)
    steps = np.arange(grad_currents_BHWTO.shape[3])
    row_T = steps // FOUR * SUMS + (1 << steps % FOUR) if patterns else steps
    run(_weight_gradient, tasks, events, grad_currents_BHWTO, geometry, row_T, patterns, partial_AGRD)
    workspace.give("steps", events.step)
    grad_GRD = partial_AGRD.sum(0) / np.float32(geometry.divisor)
    grad_kernel_KKIO[:] = grad_GRD.transpose(1, 0, 2).reshape(*grad_kernel_KKIO.shape[:3], -1)[..., :outputs]


def input_kernel(weight_OIkk: np.ndarray, geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """The kernel as `conv_input_gradients` wants it: panels_QOL of LANES columns, divided by the pool's area, and where
    the products of output pixel (0, 0) with each go. Weights are those before the pooling was folded in.

    The gradient of an input is that of its pool's currents through the k x k kernel: the taps c, c + p, ... of a row
    (or column) reach one class of inputs each, so the products are added up for p * p classes apart, k * k of them
    where the folded kernel has K * K. An input is then the sum of its p * p classes. The last panel of a row and class
    is padded with zeros.
    """
    number_QOL, start_Q = _panels(weight_OIkk.shape, geometry)
    weights = np.append(np.float32(0), weight_OIkk / np.float32(geometry.divisor))
    return weights[number_QOL], start_Q


@lru_cache(maxsize=64)
def _panels(shape: tuple[int, int, int, int], geometry: Geometry) -> tuple[np.ndarray, np.ndarray]:
    """For each place of the panels the number of its weight, from 1, or 0 for padding; and where panels begin."""
    outputs, channels, taps, _ = shape
    number_OIkk = np.arange(1, np.prod(shape) + 1).reshape(shape)
    stride = geometry.stride
    rows, length = _class_size(geometry.height, geometry.width, channels, stride)
    panels, starts = [], []
    for ky in range(taps):
        for column in range(min(stride, taps)):
            line = number_OIkk[:, :, ky, column::stride].transpose(0, 2, 1).reshape(outputs, -1)  # O, (kx, i)
            panels.append(_tiles(line, LANES))
            start = ((ky % stride * stride + column) * rows + 1 + ky // stride) * length + channels
            starts.append(start + LANES * np.arange(len(panels[-1])))
    return np.concatenate(panels), np.concatenate(starts)


def conv_input_gradients(above: ConvolutionAbove, first: int, grad_spikes_BTHWI: np.ndarray) -> None:
    """Fill grad_spikes_BTHWI (float32) of the samples from `first` on; rows behind the steps stay as they are.

    grad_spikes[y, x, i] = sum over (oy, ox, o) of grad_currents[oy, ox, o] folded kernel[y - oy stride, x - ox stride,
    i, o] / divisor: a dense product, for a few time steps at once so that each loaded kernel value is used several
    times.
    """
    grads_BHWTO = above.grads_BHWTO[first : first + len(grad_spikes_BTHWI)]
    run(_input_gradients, len(grads_BHWTO), grads_BHWTO, *above[1:], grad_spikes_BTHWI)


@njit(cache=True, nogil=True)
def _input_gradients(first_sample, end_sample, grads_BHWTO, panels_QOL, start_Q, stride, grad_spikes_BTHWI):
    for b in range(first_sample, end_sample):
        _input_gradient(grads_BHWTO[b], panels_QOL, start_Q, stride, grad_spikes_BTHWI[b])


@njit(cache=True, nogil=True)
def _input_gradient(grad_currents_HWTO, panels_QOL, start_Q, stride, grad_spikes_THWI):
    _, height, width, channels = grad_spikes_THWI.shape
    out_height, out_width, steps, outputs = grad_currents_HWTO.shape
    rows, length = _class_size(height, width, channels, stride)
    grads = np.zeros((TILE_STEPS, out_height, out_width, outputs), np.float32)
    products = np.empty((TILE_STEPS, stride * stride * rows, length), np.float32)
    line = np.empty(length, np.float32)
    for first in range(0, steps, TILE_STEPS):
        filled = min(TILE_STEPS, steps - first)
        for step in range(filled):
            for oy in range(out_height):
                for ox in range(out_width):
                    for output in range(outputs):
                        grads[step, oy, ox, output] = grad_currents_HWTO[oy, ox, first + step, output]
        products[:] = 0
        for panel in range(len(panels_QOL)):
            _add_panel(grads, panels_QOL[panel], start_Q[panel], channels, products)
        for step in range(filled):
            _add_classes(products[step], stride, line, grad_spikes_THWI[first + step])


@njit(cache=True, nogil=True)
def _add_panel(grads, panel_OL, start, channels, products):
    """Multiply one panel with the gradients (TILE_STEPS, OH, OW, O) and add the products where they belong.

    The running sums of TILE_STEPS time steps stay in registers.
    """
    _, lines, length = products.shape
    for oy in range(grads.shape[1]):
        for ox in range(grads.shape[2]):
            sum0 = sum1 = sum2 = sum3 = sum4 = sum5 = fill(np.float32(0))
            for output in range(len(panel_OL)):
                taps = load(panel_OL, output * LANES)
                sum0 = multiply_add(grads[0, oy, ox, output], taps, sum0)
                sum1 = multiply_add(grads[1, oy, ox, output], taps, sum1)
                sum2 = multiply_add(grads[2, oy, ox, output], taps, sum2)
                sum3 = multiply_add(grads[3, oy, ox, output], taps, sum3)
                sum4 = multiply_add(grads[4, oy, ox, output], taps, sum4)
                sum5 = multiply_add(grads[5, oy, ox, output], taps, sum5)
            first = start + oy * length + ox * channels
            _add_to(products, first, sum0)
            _add_to(products, first + lines * length, sum1)
            _add_to(products, first + 2 * lines * length, sum2)
            _add_to(products, first + 3 * lines * length, sum3)
            _add_to(products, first + 4 * lines * length, sum4)
            _add_to(products, first + 5 * lines * length, sum5)


@njit(cache=True, nogil=True)
def _add_classes(products, stride, line, grad_spikes_HWI):
    """grad_spikes[stride m + r, stride n + s, i] = sum of products[class, m + 1 or m, n + 1 or n, i]: the lower one for
    the classes behind r (or s)."""
    height, width, channels = grad_spikes_HWI.shape
    rows, length = _class_size(height, width, channels, stride)
    for y in range(height):
        for s in range(stride):
            pixels = (width - s + stride - 1) // stride
            for lane in range(0, pixels * channels, LANES):
                total = fill(np.float32(0))
                for row_class in range(stride):
                    row = y // stride + (1 if row_class <= y % stride else 0)
                    for column_class in range(stride):
                        column = channels if column_class <= s else 0
                        first = ((row_class * stride + column_class) * rows + row) * length + column
                        total = total + load(products, first + lane)
                store(line, lane, total)
            for pixel in range(pixels):
                for channel in range(channels):
                    grad_spikes_HWI[y, pixel * stride + s, channel] = line[pixel * channels + channel]


@njit(cache=True, nogil=True)
def _class_size(height, width, channels, stride):
    """Rows and elements of a row that the products of one class of inputs take, with one row and pixel in front, and
    room for the last panel's padding behind each row."""
    return (height - 1) // stride + 2, ((width - 1) // stride + 2) * channels + LANES


@njit(cache=True, nogil=True, error_model="numpy")
def _currents(first_task, end_task, events, pixel_I, weights_GRJ, geometry, most, sums, blocks, currents_BHWTO):
    """Tasks are (sample, block of time steps). `sums` tells the dtype of the sums, `most` how many weights fit into one
    of the weights' own dtype."""
    _, out_height, out_width, steps, outputs = currents_BHWTO.shape
    taps, stride, channels = geometry.taps, geometry.stride, geometry.channels
    divisor = np.float32(stride * stride)
    first_P = np.empty(geometry.height * geometry.width + 1, np.int64)
    sums_J = np.empty(TILE, sums.dtype)
    for task in range(first_task, end_task):
        b, block = task // blocks, task % blocks
        for t in range(steps * block // blocks, steps * (block + 1) // blocks):
            _find_pixels(events, b, t, pixel_I, first_P)
            for tile in range(len(weights_GRJ)):
                width = min(TILE, outputs - tile * TILE)
                for oy in range(out_height):
                    for ox in range(out_width):
                        total = zero_tile(sums)
                        for ky in range(taps):
                            pixel = (oy * stride + ky) * geometry.width + ox * stride
                            shift = (ky * taps - pixel) * channels  # from an input to its row of weights
                            first, end = first_P[pixel], first_P[pixel + taps]
                            total = add_rows(events.inputs, first, end, shift, weights_GRJ[tile], most, total, sums)
                        store(sums_J, 0, total)
                        for output in range(width):
                            current = np.float32(sums_J[output]) / divisor
                            currents_BHWTO[b, oy, ox, t, tile * TILE + output] = current


@njit(forceinline=True)
def _find_pixels(events, b, t, pixel_I, first_P):
    """The events of step t that lie in pixel p or behind it begin at first_P[p]."""
    first, end = at(events.first_BT[b], t), at(events.first_BT[b], t + 1)
    for pixel in range(len(first_P)):
        first_P[pixel] = first
    for event in range(first, end):
        first_P[pixel_I[events.inputs[event]] + 1] = event + 1
    for pixel in range(1, len(first_P)):
        first_P[pixel] = max(first_P[pixel], first_P[pixel - 1])


@njit(cache=True, nogil=True)
def _weight_gradient(first_task, end_task, events, grads_BHWTO, geometry, row_T, patterns, partial_AGRD):
    """Task a adds up samples a, a + A, ... Step t stands in row_T[t] of the table that the events point into."""
    batch, out_height, out_width, steps, outputs = grads_BHWTO.shape
    tasks, pairs, rows, _ = partial_AGRD.shape
    run = geometry.taps * geometry.channels
    work = out_height * out_width * pairs
    grads_RD = np.zeros((row_T[-1] + SUMS, PAIR), np.float32)
    for task in range(first_task, end_task):
        for number in range((batch - task + tasks - 1) // tasks * work):
            b, cell, pair = task + number // work * tasks, number % work // pairs, number % pairs
            oy, ox, width = cell // out_width, cell % out_width, min(PAIR, outputs - pair * PAIR)
            for t in range(steps):
                for output in range(width):
                    grads_RD[row_T[t], output] = grads_BHWTO[b, oy, ox, t, pair * PAIR + output]
            if patterns:
                _add_subsets(grads_RD, (steps + FOUR - 1) // FOUR)
            first_I = events.first_BI[b]
            for ky in range(geometry.taps):
                first_input = ((oy * geometry.stride + ky) * geometry.width + ox * geometry.stride) * geometry.channels
                for row in range(run):
                    first, end = at(first_I, first_input + row), at(first_I, first_input + row + 1)
                    if first < end:
                        target = ((task * pairs + pair) * rows + ky * run + row) * PAIR
                        total = load_pair(partial_AGRD, target)
                        store(partial_AGRD, target, add_steps(events.step, first, end, grads_RD, total))


@njit(cache=True, nogil=True)
def _add_subsets(rows_RD, groups):
    """Fill the sums of two and more of a group's FOUR rows, which stand at 1, 2, 4 and 8 of its SUMS."""
    for first in range(0, groups * SUMS, SUMS):
        for pattern in range(1, SUMS):
            lowest = pattern & -pattern
            if pattern > lowest:
                rest = load_pair(rows_RD, (first + pattern - lowest) * PAIR)
                store(rows_RD, (first + pattern) * PAIR, load_pair(rows_RD, (first + lowest) * PAIR) + rest)


@njit(cache=True, nogil=True)
def _add_to(values, first, vector):
    """values.flat[first : first + LANES] += vector."""
    store(values, first, load(values, first) + vector)


def _pattern_sums(kernel_KKIO: np.ndarray) -> np.ndarray:
    """The sums of every subset of FOUR neighbouring channels, as the channels of a larger kernel."""
    taps, _, channels, outputs = kernel_KKIO.shape
    fours = kernel_KKIO.reshape(taps, taps, channels // FOUR, FOUR, outputs)
    sums = np.zeros((*fours.shape[:3], SUMS, outputs), kernel_KKIO.dtype)
    for bit in range(FOUR):
        sums[..., 1 << bit : 2 << bit, :] = sums[..., : 1 << bit, :] + fours[..., bit, None, :]
    return sums.reshape(taps, taps, -1, outputs)


def _tiles(values: np.ndarray, width: int) -> np.ndarray:
    """The last axis cut into tiles, the others flattened: (tiles, rows, width), padded with zeros."""
    rows = values.reshape(-1, values.shape[-1])
    missing = -rows.shape[1] % width
    tiles = np.pad(rows, ((0, 0), (0, missing))).reshape(len(rows), -1, width)
    return np.ascontiguousarray(tiles.transpose(1, 0, 2))
