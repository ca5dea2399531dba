"""Event-driven convolution and average pooling on the CPU (numba): currents and both gradients.

A k x k convolution (no padding, stride 1) followed by p x p average pooling is one convolution with stride p and a
kernel of K = k + p - 1 taps a side, whose entries are sums of p * p shifted copies of the small kernel; its sums are
divided by p * p at the end. For +-1 weights every sum is an exact integer, so the result is bit for bit that of
convolving first and pooling afterwards.

Axis legend: T time step, B sample, H and W a picture's rows and columns, I input and O output channel, K kernel taps.
Pictures are channels-last. Spikes come as CSR rows `t * B + b` of flat indices `(y * W + x) * I + i`, ascending,
repeated for counts above one (`spec.Events`). Arrays are C-contiguous. An output has (H - K) // stride + 1 rows: what
is left over at the bottom and on the right is dropped, as `avg_pool2d` does.

Pixel y reaches the outputs oy = ceil((y - K + 1) / stride) ... floor(y / stride), through the taps y - oy * stride. As
neighbouring outputs see an event through every stride-th tap, kernels are repacked to make these taps neighbours too:
each event then adds a few contiguous runs. Every output cell belongs to one task and is summed in a fixed order, so no
result depends on the number of threads.
"""

from functools import lru_cache

import numpy as np
from numba import njit, prange

from snntha.kernels.cpu.vector import LANES, fill, load, multiply_add, store

CURRENT_TASKS = 64  # task i takes rows i, i + 64, ...
GRADIENT_TASKS = 16  # of the weight gradient; each sums into a kernel of its own, and these are added up at the end
TILE_STEPS = 6  # time steps that share a loaded kernel value in the input gradient; `_add_panel` is written for six


def conv_currents(
    indptr: np.ndarray,
    index: np.ndarray,
    kernel_KKIO: np.ndarray,
    stride: int,
    divisor: int,
    in_hw: tuple[int, int],
    currents_TBHWO: np.ndarray,
) -> None:
    """Fill currents_TBHWO (float32): current[oy, ox] = sum over events of kernel[y - oy stride, x - ox stride, i]
    / divisor, where stride is the pool's size and divisor its area.

    An int8 kernel is summed in int16 if the fullest row cannot overflow it (an event adds at most one kernel entry to
    an output), else in int32; both are exact. A float32 kernel is summed in float32, in the order of the events.
    """
    out_hw = _output_size(in_hw, kernel_KKIO, stride, currents_TBHWO)
    routes, steps = _routes(in_hw, out_hw, kernel_KKIO.shape, stride)
    outputs = kernel_KKIO.shape[3]
    cells = out_hw[0] * out_hw[1]
    packed = _pack(kernel_KKIO, stride).astype(_accumulator(kernel_KKIO, indptr))
    sums = np.zeros((CURRENT_TASKS, cells, _padded(outputs)), packed.dtype)
    currents = currents_TBHWO.reshape(-1, cells, outputs)
    _conv_currents(indptr, index, routes, steps, packed, np.float32(divisor), sums, currents)


def conv_weight_gradient(
    indptr: np.ndarray,
    index: np.ndarray,
    grad_currents_TBHWO: np.ndarray,
    stride: int,
    divisor: int,
    in_hw: tuple[int, int],
    grad_kernel_KKIO: np.ndarray,
) -> None:
    """Fill grad_kernel_KKIO (float32): grad[ky, kx, i] = sum over events of grad_currents[oy, ox] / divisor.

    Rows are dealt out to GRADIENT_TASKS tasks whatever the number of threads, and their sums are added in order.
    """
    out_hw = _output_size(in_hw, grad_kernel_KKIO, stride, grad_currents_TBHWO)
    routes, steps = _routes(in_hw, out_hw, grad_kernel_KKIO.shape, stride)
    backwards = np.ascontiguousarray(routes[:, [1, 0, 2, 3]])  # from outputs to kernel
    partial = np.zeros((GRADIENT_TASKS, _pack(grad_kernel_KKIO, stride).size), np.float32)
    grads = _pad_outputs(grad_currents_TBHWO)
    rows = grads.reshape(-1, out_hw[0] * out_hw[1] * grads.shape[-1])
    _conv_weight_gradient(indptr, index, backwards, steps[::-1], rows, partial)
    _unpack(partial.sum(0) / np.float32(divisor), stride, grad_kernel_KKIO)


def input_gradient_kernel(kernel_KKIO: np.ndarray, divisor: int) -> np.ndarray:
    """The kernel as `conv_input_gradient` wants it: float32 panels (ky, panel, O, LANES), divided by divisor.

    A panel is LANES neighbours of the flat (kx, i), the last one padded with zeros.
    """
    size, _, channels, outputs = kernel_KKIO.shape
    rows = _pad_outputs(kernel_KKIO.transpose(0, 3, 1, 2).reshape(size, outputs, size * channels))
    panels = rows.reshape(size, outputs, -1, LANES).transpose(0, 2, 1, 3)
    return np.ascontiguousarray(panels, np.float32) / np.float32(divisor)


@njit(cache=True, nogil=True)
def conv_input_gradient(grad_currents_TBHWO, panels, stride, b, grad_spikes_THWI):
    """Fill grad_spikes_THWI (float32) of sample b; to be called inside a prange over samples.

    grad_spikes[y, x, i] = sum over (oy, ox, o) of grad_currents[oy, ox, o] kernel[y - oy stride, x - ox stride, i, o]
    / divisor: a dense product, for a few time steps at once so that each loaded kernel value is used several times.
    `panels` comes from `input_gradient_kernel`.
    """
    steps, height, width, channels = grad_spikes_THWI.shape
    _, batch, out_height, out_width, outputs = grad_currents_TBHWO.shape
    grad_currents = grad_currents_TBHWO.reshape(steps, batch, -1)
    grad_spikes = grad_spikes_THWI.reshape(steps, height, -1)
    grads = np.zeros((TILE_STEPS, out_height, out_width, outputs), np.float32)
    grads_by_step = grads.reshape(TILE_STEPS, -1)
    lines = np.empty((TILE_STEPS, height, width * channels + LANES), np.float32)  # the last panel's padding sticks out
    for start in range(0, steps, TILE_STEPS):
        filled = min(TILE_STEPS, steps - start)
        for step in range(filled):
            grads_by_step[step] = grad_currents[start + step, b]
        lines[:] = 0
        for ky in range(len(panels)):
            for panel in range(panels.shape[1]):
                _add_panel(grads, panels[ky, panel], ky, panel * LANES, stride, stride * channels, lines)
        for step in range(filled):
            for y in range(height):
                grad_spikes[start + step, y] = lines[step, y, : width * channels]


@njit(cache=True, nogil=True)
def _add_panel(grads, panel, ky, first_column, row_stride, column_stride, lines):
    """Multiply one panel (O, LANES) with the gradients (TILE_STEPS, OH, OW, O) and add the products where they belong.

    The running sums of TILE_STEPS time steps stay in registers.
    """
    _, height, length = lines.shape
    for oy in range(grads.shape[1]):
        for ox in range(grads.shape[2]):
            sum0 = sum1 = sum2 = sum3 = sum4 = sum5 = fill(np.float32(0))
            for output in range(len(panel)):
                taps = load(panel, output * LANES)
                sum0 = multiply_add(grads[0, oy, ox, output], taps, sum0)
                sum1 = multiply_add(grads[1, oy, ox, output], taps, sum1)
                sum2 = multiply_add(grads[2, oy, ox, output], taps, sum2)
                sum3 = multiply_add(grads[3, oy, ox, output], taps, sum3)
                sum4 = multiply_add(grads[4, oy, ox, output], taps, sum4)
                sum5 = multiply_add(grads[5, oy, ox, output], taps, sum5)
            first = (oy * row_stride + ky) * length + ox * column_stride + first_column
            _add_to(lines, first, sum0)
            _add_to(lines, first + height * length, sum1)
            _add_to(lines, first + 2 * height * length, sum2)
            _add_to(lines, first + 3 * height * length, sum3)
            _add_to(lines, first + 4 * height * length, sum4)
            _add_to(lines, first + 5 * height * length, sum5)


@njit(parallel=True, cache=True, nogil=True, error_model="numpy")
def _conv_currents(indptr, index, routes, steps, packed, divisor, sums, currents):
    """Rows dealt out to len(sums) tasks; `sums[task]` is the scratch of one, (cells, padded outputs)."""
    cells, outputs = currents.shape[1:]
    for task in prange(len(sums)):
        cell_sums = sums[task]
        for row in range(task, len(currents), len(sums)):
            cell_sums[:] = 0
            _follow_routes(index[indptr[row] : indptr[row + 1]], routes, steps, cell_sums, packed)
            for cell in range(cells):
                for output in range(outputs):
                    currents[row, cell, output] = np.float32(cell_sums[cell, output]) / divisor


@njit(parallel=True, cache=True, nogil=True)
def _conv_weight_gradient(indptr, index, routes, steps, grads, partial):
    """partial[task] collects the rows task, task + len(partial), ... in the packed layout."""
    for task in prange(len(partial)):
        for row in range(task, len(grads), len(partial)):
            _follow_routes(index[indptr[row] : indptr[row + 1]], routes, steps, partial[task], grads[row])


@njit(cache=True, nogil=True)
def _follow_routes(events, routes, steps, target, source):
    """For each event add its runs of `source` to `target`, both addressed flat.

    A route is (first target element, first source element, number of runs, elements of a run); `steps` leads from one
    run to the next.
    """
    for event in events:
        to = routes[event, 0]
        come = routes[event, 1]
        elements = routes[event, 3]
        for _ in range(routes[event, 2]):
            for lane in range(0, elements, LANES):
                _add_to(target, to + lane, load(source, come + lane))
            to += steps[0]
            come += steps[1]


@njit(cache=True, nogil=True)
def _add_to(values, first, vector):
    """values.flat[first : first + LANES] += vector."""
    store(values, first, load(values, first) + vector)


@lru_cache(maxsize=64)
def _routes(
    in_hw: tuple[int, int], out_hw: tuple[int, int], kernel_shape: tuple[int, int, int, int], stride: int
) -> tuple[np.ndarray, tuple[int, int]]:
    """What each input reaches: int32 (H * W * I, 4), a row as in `_follow_routes`, and the steps from run to run.

    The target is the output (oy, ox, padded o), the source the packed kernel. A run goes along ox, runs along oy.
    """
    size, _, channels, outputs = kernel_shape
    outputs = _padded(outputs)
    slots = -(-size // stride)
    y, x, channel = np.ogrid[: in_hw[0], : in_hw[1], :channels]
    first_y, count_y = _reached(y, out_hw[0], size, stride)
    first_x, count_x = _reached(x, out_hw[1], size, stride)
    target = (first_y * out_hw[1] + first_x) * outputs
    slot = first_x - x // stride + slots - 1
    source = ((((y - first_y * stride) * stride + x % stride) * channels + channel) * slots + slot) * outputs
    columns = np.broadcast_arrays(target, source, count_y, count_x * outputs)
    routes = np.stack(columns, -1).reshape(-1, 4).astype(np.int32)
    routes.flags.writeable = False
    return routes, (out_hw[1] * outputs, -stride * stride * channels * slots * outputs)


def _reached(position: np.ndarray, out_extent: int, size: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Along one axis: the first output that an input position reaches, and how many."""
    first = np.maximum(-((size - 1 - position) // stride), 0)
    last = np.minimum(position // stride, out_extent - 1)
    return first, np.maximum(last - first + 1, 0)


def _output_size(
    in_hw: tuple[int, int], kernel_KKIO: np.ndarray, stride: int, currents_TBHWO: np.ndarray
) -> tuple[int, int]:
    """Rows and columns of the output; asserts that the arrays fit: vectors are read without bounds checks."""
    out_hw = tuple((extent - kernel_KKIO.shape[0]) // stride + 1 for extent in in_hw)
    expected = (*out_hw, kernel_KKIO.shape[3])
    assert currents_TBHWO.shape[2:] == expected, f"currents {currents_TBHWO.shape[2:]}; expected {expected}"
    assert currents_TBHWO.flags.c_contiguous, "currents must be C-contiguous"
    return out_hw


def _accumulator(kernel_KKIO: np.ndarray, indptr: np.ndarray) -> type[np.generic]:
    """The narrowest dtype in which sums are exact; float32 for a float32 kernel."""
    if kernel_KKIO.dtype != np.int8:
        return np.float32
    largest = int(np.abs(kernel_KKIO.astype(np.int16)).max()) * int(np.diff(indptr).max())
    return np.int16 if largest <= np.iinfo(np.int16).max else np.int32


def _pack(kernel_KKIO: np.ndarray, stride: int) -> np.ndarray:
    """The kernel as (ky, kx % stride, i, slot, padded o), where slot = ceil(K / stride) - 1 - kx // stride.

    The last slots may stand for taps beyond the kernel: zeros that no route leads to.
    """
    size, _, channels, _ = kernel_KKIO.shape
    slots = -(-size // stride)
    kernel = np.pad(_pad_outputs(kernel_KKIO), ((0, 0), (0, slots * stride - size), (0, 0), (0, 0)))
    by_slot = kernel.reshape(size, slots, stride, channels, -1)[:, ::-1]
    return np.ascontiguousarray(by_slot.transpose(0, 2, 3, 1, 4))


def _unpack(packed: np.ndarray, stride: int, kernel_KKIO: np.ndarray) -> None:
    """The inverse of `_pack`, into kernel_KKIO."""
    size, _, channels, outputs = kernel_KKIO.shape
    slots = -(-size // stride)
    by_slot = packed.reshape(size, stride, channels, slots, -1)[:, :, :, ::-1]
    kernel = by_slot.transpose(0, 3, 1, 2, 4).reshape(size, slots * stride, channels, -1)
    kernel_KKIO[:] = kernel[:, :size, :, :outputs]


def _pad_outputs(values: np.ndarray) -> np.ndarray:
    """The last axis padded with zeros to whole vectors."""
    missing = _padded(values.shape[-1]) - values.shape[-1]
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, missing)]) if missing else values


def _padded(outputs: int) -> int:
    """The next multiple of LANES."""
    return -(-outputs // LANES) * LANES
