"""Layers whose currents are computed beforehand (numba): convolutions, and the constant current of static images.

A convolution's currents of all steps are kept. Its BatchNorm is x * scale + shift with one scale and shift for each
step and channel (`reference.affine`), applied while a tile is scanned. The backward pass of a sample computes its
membranes again.

More axis legend: S time step, or one entry that holds at every step; Q channels, repeated from the start so that each
strip finds those of its LANES neurons in a row.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from snntha.kernels.cpu.conv import conv_input_gradient
from snntha.kernels.cpu.strip import (
    STRIPS,
    copy_out,
    integrate_again,
    integrate_and_fire,
    integrate_back,
    spike_gradients,
    strip_at,
)
from snntha.kernels.cpu.vector import LANES, fill, load, load_row, store_row


class Currents(NamedTuple):
    """What a layer integrates: values_SBN * scale + shift, neurons channels-last."""

    values_SBN: np.ndarray
    scale_TQ: np.ndarray
    shift_TQ: np.ndarray
    channels: int

    @classmethod
    def of(cls, values_SBN: np.ndarray, scale_SC: np.ndarray, shift_SC: np.ndarray, time_steps: int) -> "Currents":
        channels = scale_SC.shape[1]
        channel_Q = np.arange(channels + LANES - 1) % channels
        step_T = np.arange(time_steps) % len(scale_SC)
        repeated = np.ix_(step_T, channel_Q)
        return cls(values_SBN, scale_SC[repeated], shift_SC[repeated], channels)


@njit(parallel=True, cache=True, nogil=True)
def scan(currents, neuron, drop, kept_BGTF, bits_BGTF, count_BP, membrane_TBN):
    """Integrate and fire; tasks are (sample, tile). membrane_TBN is filled if it has any steps."""
    batch, tiles, steps, _ = bits_BGTF.shape
    neurons = membrane_TBN.shape[2]
    for task in prange(batch * tiles):
        b, tile = task // tiles, task % tiles
        work_TL = np.empty((steps, LANES), np.float32)
        bias = fill(np.float32(0))
        for number in range(tile * STRIPS, min((tile + 1) * STRIPS, (neurons + LANES - 1) // LANES)):
            strip = strip_at(number, b, batch, neurons)
            _fill(currents, strip, work_TL)
            integrate_and_fire(work_TL, bias, work_TL, neuron, drop, strip, kept_BGTF, bits_BGTF, count_BP)
            if len(membrane_TBN) > 0:
                copy_out(work_TL, strip, membrane_TBN[:, b])


@njit(parallel=True, cache=True, nogil=True)
def scan_back(currents, neuron, drop, kept_BGTF, source, shape_HWC, grad_SBN):
    """Fill the gradient of what is integrated, or its sum over time where S is 1; tasks are samples."""
    batch, neurons = currents.values_SBN.shape[1:]
    steps = len(currents.scale_TQ)
    from_conv = len(source.conv_TBHWO) > 0
    for b in prange(batch):
        work_TL = np.empty((steps, LANES), np.float32)
        bias = fill(np.float32(0))
        grad_spikes_TL = np.zeros((steps, LANES), np.float32)
        grad_spikes_THWC = np.empty((steps * from_conv, shape_HWC[0], shape_HWC[1], shape_HWC[2]), np.float32)
        if from_conv:
            conv_input_gradient(
                source.conv_TBHWO, source.panels_QOL, source.start_Q, source.stride, b, grad_spikes_THWC
            )
        for number in range((neurons + LANES - 1) // LANES):
            strip = strip_at(number, b, batch, neurons)
            _fill(currents, strip, work_TL)
            integrate_again(work_TL, bias, work_TL, neuron, drop, strip, kept_BGTF)
            if from_conv:
                _copy_in(grad_spikes_THWC, strip, grad_spikes_TL)
            else:
                spike_gradients(source, strip, grad_spikes_TL)
            integrate_back(work_TL, grad_spikes_TL, source.membrane_TBP, neuron, drop, strip, kept_BGTF)
            if len(grad_SBN) == steps:
                copy_out(work_TL, strip, grad_SBN[:, b])
            else:
                for lane in range(strip.width):
                    grad_SBN[0, b, strip.first + lane] = work_TL[:, lane].sum()


@njit(forceinline=True)
def _fill(currents, strip, currents_TL):
    """The strip's currents, normalised; neurons that are missing in the last strip get zeros."""
    values_SBN, scale_TQ, shift_TQ = currents.values_SBN, currents.scale_TQ, currents.shift_TQ
    channel = strip.first % currents.channels
    for t in range(len(currents_TL)):
        row = (t if len(values_SBN) > 1 else 0) * strip.batch + strip.b
        first, first_scale = row * strip.neurons + strip.first, t * scale_TQ.shape[1] + channel
        if strip.width == LANES:
            scaled = load(values_SBN, first) * load(scale_TQ, first_scale)
            store_row(currents_TL, t, scaled + load(shift_TQ, first_scale))
        else:
            values, scale, shift = values_SBN.reshape(-1)[first:], scale_TQ[t, channel:], shift_TQ[t, channel:]
            for neuron in range(strip.width):
                currents_TL[t, neuron] = values[neuron] * scale[neuron] + shift[neuron]
            currents_TL[t, strip.width :] = 0


@njit(forceinline=True)
def _copy_in(grad_spikes_THWC, strip, grad_spikes_TL):
    """The strip's part of a sample's spike gradients."""
    grad_spikes_TN = grad_spikes_THWC.reshape(len(grad_spikes_TL), strip.neurons)
    if strip.width == LANES:
        source_TL = grad_spikes_TN[:, strip.first : strip.first + LANES]
        for t in range(len(grad_spikes_TL)):
            store_row(grad_spikes_TL, t, load_row(source_TL, t))
    else:
        for t in range(len(grad_spikes_TL)):
            grad_spikes_TL[t, : strip.width] = grad_spikes_TN[t, strip.first : strip.first + strip.width]
