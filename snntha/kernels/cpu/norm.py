"""BatchNorm of convolution currents (numba): the sums over a time step, in float64 as in the reference.

More axis legend: R the B * H * W values of one channel at one time step, K the values (t, c) of all steps and channels;
currents are channels-last, (R, T, C), here (R, K).
"""

import numpy as np
from numba import njit

from snntha.kernels.cpu.threads import run

BLOCK = 1600  # values of a row that a task adds up: the sums stay in the fastest cache


def statistics(currents_RK: np.ndarray, moments_2K: np.ndarray) -> None:
    """Fill moments_2K (float64): mean and biased variance."""
    run(_statistics, -(-currents_RK.shape[1] // BLOCK), currents_RK, moments_2K)


def gradient_sums(currents_RK: np.ndarray, grad_RK: np.ndarray, sums_2K: np.ndarray) -> None:
    """Fill sums_2K (float64): gradients of scale and shift."""
    run(_gradient_sums, -(-currents_RK.shape[1] // BLOCK), currents_RK, grad_RK, sums_2K)


def pass_statistics(
    currents_RK: np.ndarray, scale_K: np.ndarray, offset_K: np.ndarray, slope_K: np.ndarray, grad_RK: np.ndarray
) -> None:
    """grad = grad * scale + offset + current * slope, the last two through mean and variance."""
    run(_pass_statistics, len(grad_RK), currents_RK, scale_K, offset_K, slope_K, grad_RK)


@njit(cache=True, nogil=True)
def _statistics(first_block, end_block, currents_RK, moments_2K):
    rows, width = currents_RK.shape
    for block in range(first_block, end_block):
        first, end = block * BLOCK, min((block + 1) * BLOCK, width)
        mean_K, squares_K = np.zeros(end - first), np.zeros(end - first)
        for row in range(rows):
            currents_K = currents_RK[row, first:end]
            for k in range(len(currents_K)):
                mean_K[k] += currents_K[k]
        for k in range(len(mean_K)):
            mean_K[k] /= rows
        for row in range(rows):
            currents_K = currents_RK[row, first:end]
            for k in range(len(currents_K)):
                squares_K[k] += (currents_K[k] - mean_K[k]) ** 2
        for k in range(end - first):
            moments_2K[0, first + k], moments_2K[1, first + k] = mean_K[k], squares_K[k] / rows


@njit(cache=True, nogil=True)
def _gradient_sums(first_block, end_block, currents_RK, grad_RK, sums_2K):
    rows, width = currents_RK.shape
    for block in range(first_block, end_block):
        first, end = block * BLOCK, min((block + 1) * BLOCK, width)
        scale_K, shift_K = np.zeros(end - first), np.zeros(end - first)
        for row in range(rows):
            currents_K, grad_K = currents_RK[row, first:end], grad_RK[row, first:end]
            for k in range(len(currents_K)):
                scale_K[k] += np.float64(grad_K[k]) * currents_K[k]
                shift_K[k] += grad_K[k]
        for k in range(end - first):
            sums_2K[0, first + k], sums_2K[1, first + k] = scale_K[k], shift_K[k]


@njit(cache=True, nogil=True)
def _pass_statistics(first_row, end_row, currents_RK, scale_K, offset_K, slope_K, grad_RK):
    for row in range(first_row, end_row):
        currents_K, grad_K = currents_RK[row], grad_RK[row]
        for k in range(len(grad_K)):
            grad_K[k] = grad_K[k] * scale_K[k] + offset_K[k] + currents_K[k] * slope_K[k]
