"""Layers whose currents are computed beforehand (numba): convolutions, and the constant current of static images.

A convolution's currents of all steps are kept. Its BatchNorm is x * scale + shift with one scale and shift for each
step and channel (`reference.affine`), applied while a tile is scanned. The backward pass of a sample computes its
membranes again.

More axis legend: S time step, or one entry that holds at every step; Q channels, repeated from the start so that each
tile finds those of its TILE neurons in a row.
"""

from typing import NamedTuple

import numpy as np
from numba import njit, prange

from snntha.kernels.conv import conv_input_gradient
from snntha.kernels.tile import copy_out, integrate_and_fire, integrate_back, place_of, spread
from snntha.kernels.vector import TILE, load_tile, store


class Currents(NamedTuple):
    """What a layer integrates: values_SBN * scale + shift, neurons channels-last."""

    values_SBN: np.ndarray
    scale_TQ: np.ndarray
    shift_TQ: np.ndarray
    channels: int

    @classmethod
    def of(cls, values_SBN: np.ndarray, scale_SC: np.ndarray, shift_SC: np.ndarray, time_steps: int) -> "Currents":
        channels = scale_SC.shape[1]
        channel_Q = np.arange(channels + TILE - 1) % channels
        step_T = np.arange(time_steps) % len(scale_SC)
        repeated = np.ix_(step_T, channel_Q)
        return cls(values_SBN, scale_SC[repeated], shift_SC[repeated], channels)


@njit(parallel=True, cache=True, nogil=True)
def scan(currents, cell, mask, words_BKT, count_BP, membrane_TBN):
    """Integrate and fire; tasks are (sample, tile). membrane_TBN is filled if it has any steps."""
    batch, tiles, steps = words_BKT.shape
    for task in prange(batch * tiles):
        b, tile = task // tiles, task % tiles
        place = place_of(tile, b, batch, membrane_TBN.shape[2])
        work_TJ = np.empty((steps, TILE), np.float32)
        count_J = count_BP[b, tile * TILE : (tile + 1) * TILE]
        _fill(currents, place, work_TJ)
        integrate_and_fire(work_TJ, cell, mask, place, words_BKT[b, tile], count_J)
        if len(membrane_TBN) > 0:
            copy_out(work_TJ, place, membrane_TBN)


@njit(parallel=True, cache=True, nogil=True)
def scan_back(currents, cell, mask, above, shape_HWC, grad_SBN):
    """Fill the gradient of what is integrated, or its sum over time where S is 1; tasks are samples."""
    batch, neurons = currents.values_SBN.shape[1:]
    steps = len(currents.scale_TQ)
    conv_above = len(above.conv_TBHWO) > 0
    for b in prange(batch):
        work_TJ = np.empty((steps, TILE), np.float32)
        grad_spikes_TJ = np.zeros((steps, TILE), np.float32)
        words_T = np.empty(steps, np.uint64)
        count_J = np.zeros(TILE, np.int32)
        grad_spikes_THWC = np.empty((steps * conv_above, shape_HWC[0], shape_HWC[1], shape_HWC[2]), np.float32)
        if conv_above:
            conv_input_gradient(above.conv_TBHWO, above.panels, above.stride, b, grad_spikes_THWC)
        for tile in range((neurons + TILE - 1) // TILE):
            place = place_of(tile, b, batch, neurons)
            _fill(currents, place, work_TJ)
            integrate_and_fire(work_TJ, cell, mask, place, words_T, count_J)
            if conv_above:
                _copy_in(grad_spikes_THWC, place, grad_spikes_TJ)
            else:
                spread(above, place, grad_spikes_TJ)
            integrate_back(work_TJ, grad_spikes_TJ, above.membrane_TBP, cell, mask, place)
            if len(grad_SBN) == steps:
                copy_out(work_TJ, place, grad_SBN)
            else:
                for neuron in range(place.width):
                    grad_SBN[0, b, place.first + neuron] = work_TJ[:, neuron].sum()


@njit(forceinline=True)
def _fill(currents, place, currents_TJ):
    """The tile's currents, normalised; neurons that are missing in the last tile get zeros."""
    values_SBN, scale_TQ, shift_TQ = currents.values_SBN, currents.scale_TQ, currents.shift_TQ
    channel = place.first % currents.channels
    for t in range(len(currents_TJ)):
        row = (t if len(values_SBN) > 1 else 0) * place.batch + place.b
        first, first_scale = row * place.neurons + place.first, t * scale_TQ.shape[1] + channel
        if place.width == TILE:
            scaled = load_tile(values_SBN, first) * load_tile(scale_TQ, first_scale)
            store(currents_TJ, t * TILE, scaled + load_tile(shift_TQ, first_scale))
        else:
            values, scale, shift = values_SBN.reshape(-1)[first:], scale_TQ[t, channel:], shift_TQ[t, channel:]
            for neuron in range(place.width):
                currents_TJ[t, neuron] = values[neuron] * scale[neuron] + shift[neuron]
            currents_TJ[t, place.width :] = 0


@njit(forceinline=True)
def _copy_in(grad_spikes_THWC, place, grad_spikes_TJ):
    """The tile's part of a sample's spike gradients."""
    grad_spikes_TN = grad_spikes_THWC.reshape(len(grad_spikes_TJ), place.neurons)
    for t in range(len(grad_spikes_TJ)):
        grad_spikes_TJ[t, : place.width] = grad_spikes_TN[t, place.first : place.first + place.width]
