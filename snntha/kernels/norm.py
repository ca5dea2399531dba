"""BatchNorm of convolution currents on the CPU (numba): the sums over a time step, in float64 as in the reference.

Axis legend: R the B * H * W values of one channel at one time step; currents are channels-last, (T, R, C).
"""

from dataclasses import replace

import numpy as np
import torch
from numba import njit, prange

from snntha.kernels import reference
from snntha.kernels.spec import BatchNorm


class Normalisation:
    """One layer's BatchNorm in one minibatch: scale and shift of each step, and the way back through its statistics."""

    def __init__(self, norm: BatchNorm, currents_TRC: np.ndarray):
        self.training = norm.training
        self.count = currents_TRC.shape[1]
        if norm.training:
            statistics = np.empty((2, len(currents_TRC), currents_TRC.shape[2]))
            _statistics(currents_TRC, statistics)
            mean_SC, var_SC = torch.from_numpy(statistics)
            reference.update_running(norm, mean_SC, var_SC, self.count)
        else:
            mean_SC, var_SC = norm.running_mean_C.double()[None], norm.running_var_C.double()[None]
        leaves = [mean_SC, var_SC, norm.scale_C, norm.shift_C]
        self.leaves = mean_SC, var_SC, scale_C, shift_C = [leaf.detach().requires_grad_() for leaf in leaves]
        with torch.enable_grad():
            self.outputs = reference.affine(replace(norm, scale_C=scale_C, shift_C=shift_C), mean_SC, var_SC)
        self.scale_SC, self.shift_SC = (output.detach().numpy() for output in self.outputs)

    def backward(self, currents_TRC: np.ndarray, grad_TRC: np.ndarray) -> list[np.ndarray]:
        """Turn the gradient of the normalised currents, in place, into that of the currents; also scale's, shift's."""
        sums = np.empty((2, len(grad_TRC), grad_TRC.shape[2]))
        _gradient_sums(currents_TRC, grad_TRC, sums)
        if not self.training:
            sums = sums.sum(1, keepdims=True)
        grads = torch.autograd.grad(self.outputs, self.leaves, torch.from_numpy(sums).float().unbind())
        mean_SC = self.leaves[0].detach().numpy()
        grad_mean_SC, grad_var_SC, grad_scale_C, grad_shift_C = (grad.numpy() for grad in grads)
        slope_SC = 2 * grad_var_SC / self.count if self.training else np.zeros_like(mean_SC)
        offset_SC = grad_mean_SC / self.count - slope_SC * mean_SC if self.training else np.zeros_like(mean_SC)
        _pass_statistics(currents_TRC, self.scale_SC, offset_SC.astype("f4"), slope_SC.astype("f4"), grad_TRC)
        return [grad_scale_C, grad_shift_C]


@njit(parallel=True, cache=True, nogil=True)
def _statistics(currents_TRC, statistics):
    """Mean and biased variance of each step and channel."""
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
        statistics[0, t] = mean
        statistics[1, t] = squares / rows


@njit(parallel=True, cache=True, nogil=True)
def _gradient_sums(currents_TRC, grad_TRC, sums):
    """Gradients of scale and shift of each step and channel."""
    steps, rows, channels = currents_TRC.shape
    for t in prange(steps):
        scale, shift = np.zeros(channels), np.zeros(channels)
        for row in range(rows):
            for channel in range(channels):
                grad = np.float64(grad_TRC[t, row, channel])
                scale[channel] += grad * currents_TRC[t, row, channel]
                shift[channel] += grad
        sums[0, t] = scale
        sums[1, t] = shift


@njit(parallel=True, cache=True, nogil=True)
def _pass_statistics(currents_TRC, scale_SC, offset_SC, slope_SC, grad_TRC):
    """grad = grad * scale + offset + current * slope, the last two through mean and variance."""
    steps, rows, channels = currents_TRC.shape
    for t in prange(steps):
        step = min(np.intp(t), len(scale_SC) - 1)
        scale, offset, slope = scale_SC[step], offset_SC[step], slope_SC[step]
        for row in range(rows):
            for channel in range(channels):
                through = grad_TRC[t, row, channel] * scale[channel] + offset[channel]
                grad_TRC[t, row, channel] = through + currents_TRC[t, row, channel] * slope[channel]
