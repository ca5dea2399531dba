"""BatchNorm of convolution currents (numba): the sums over a time step, in float64 as in the reference.

More axis legend: R the B * H * W values of one channel at one time step, S time step or one entry that holds at every
step; currents are channels-last, (T, R, C).
"""

import numpy as np
from numba import njit, prange


@njit(parallel=True, cache=True, nogil=True)
def statistics(currents_TRC, moments_2TC):
    """Fill moments_2TC: mean and biased variance of each step and channel."""
    steps, rows, channels = currents_TRC.shape
    for t in prange(steps):
        mean = np.zeros(channels)
        for row in range(rows):
            for channel in range(channels):
                mean[channel] += currents_TRC[t, row, channel]
        mean /= rows
        squares = np.zeros(channels)
        for row in range(rows):
            for channel in range(channels):
                squares[channel] += (currents_TRC[t, row, channel] - mean[channel]) ** 2
        moments_2TC[0, t] = mean
        moments_2TC[1, t] = squares / rows


@njit(parallel=True, cache=True, nogil=True)
def gradient_sums(currents_TRC, grad_TRC, sums_2TC):
    """Fill sums_2TC: gradients of scale and shift of each step and channel."""
    steps, rows, channels = currents_TRC.shape
    for t in prange(steps):
        scale, shift = np.zeros(channels), np.zeros(channels)
        for row in range(rows):
            for channel in range(channels):
                grad = np.float64(grad_TRC[t, row, channel])
                scale[channel] += grad * currents_TRC[t, row, channel]
                shift[channel] += grad
        sums_2TC[0, t] = scale
        sums_2TC[1, t] = shift


@njit(parallel=True, cache=True, nogil=True)
def pass_statistics(currents_TRC, scale_SC, offset_SC, slope_SC, grad_TRC):
    """grad = grad * scale + offset + current * slope, the last two through mean and variance."""
    steps, rows, channels = currents_TRC.shape
    for t in prange(steps):
        step = min(np.intp(t), len(scale_SC) - 1)
        scale, offset, slope = scale_SC[step], offset_SC[step], slope_SC[step]
        for row in range(rows):
            for channel in range(channels):
                through = grad_TRC[t, row, channel] * scale[channel] + offset[channel]
                grad_TRC[t, row, channel] = through + currents_TRC[t, row, channel] * slope[channel]
