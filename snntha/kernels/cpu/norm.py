"""BatchNorm of convolution currents (numba): the sums over a time step, in float64 as in the reference.

More axis legend: R the B * H * W values of one channel at one time step, K the values (t, c) of all steps and channels;
currents are channels-last, (R, T, C), here (R, K).
"""

import numpy as np
from numba import njit, prange

BLOCK = 1600  # values of a row that a task adds up: the sums stay in the fastest cache


@njit(parallel=True, cache=True, nogil=True)
def statistics(currents_RK, moments_2K):
    """Fill moments_2K: mean and biased variance."""
    rows, width = currents_RK.shape
    for block in prange((width + BLOCK - 1) // BLOCK):
        first, end = block * BLOCK, min((block + 1) * BLOCK, width)
        mean_K, squares_K = np.zeros(end - first), np.zeros(end - first)
        for row in range(rows):
            currents_K = currents_RK[row, first:end]
            for k in range(len(currents_K)):
                mean_K[k] += currents_K[k]
        mean_K /= rows
        for row in range(rows):
            currents_K = currents_RK[row, first:end]
            for k in range(len(currents_K)):
                squares_K[k] += (currents_K[k] - mean_K[k]) ** 2
        moments_2K[0, first:end] = mean_K
        moments_2K[1, first:end] = squares_K / rows


@njit(parallel=True, cache=True, nogil=True)
def gradient_sums(currents_RK, grad_RK, sums_2K):
    """Fill sums_2K: gradients of scale and shift."""
    rows, width = currents_RK.shape
    for block in prange((width + BLOCK - 1) // BLOCK):
        first, end = block * BLOCK, min((block + 1) * BLOCK, width)
        scale_K, shift_K = np.zeros(end - first), np.zeros(end - first)
        for row in range(rows):
            currents_K, grad_K = currents_RK[row, first:end], grad_RK[row, first:end]
            for k in range(len(currents_K)):
                scale_K[k] += np.float64(grad_K[k]) * currents_K[k]
                shift_K[k] += grad_K[k]
        sums_2K[0, first:end] = scale_K
        sums_2K[1, first:end] = shift_K


@njit(parallel=True, cache=True, nogil=True)
def pass_statistics(currents_RK, scale_K, offset_K, slope_K, grad_RK):
    """grad = grad * scale + offset + current * slope, the last two through mean and variance."""
    for row in prange(len(grad_RK)):
        currents_K, grad_K = currents_RK[row], grad_RK[row]
        for k in range(len(grad_K)):
            grad_K[k] = grad_K[k] * scale_K[k] + offset_K[k] + currents_K[k] * slope_K[k]
