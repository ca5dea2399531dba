"""Layers whose currents are computed beforehand (numba): convolutions, and the constant current of static images.

A convolution's currents of all steps are kept. Its BatchNorm is x * scale + shift with one scale and shift for each
step and channel (`reference.affine`), applied while a strip is scanned. The backward pass of a sample computes its
membranes again.

More axis legend: V pixel of a layer's output, so that time comes behind it: a strip finds its steps close together; S
time step, or one entry that holds at every step.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from snntha.kernels.cpu.conv import Above, conv_input_gradients
from snntha.kernels.cpu.strip import (
    STRIPS,
    DropoutConstants,
    GradientSource,
    NeuronConstants,
    copy_out,
    integrate_again,
    integrate_and_fire,
    integrate_back,
    spike_gradients,
    strip_at,
)
from snntha.kernels.cpu.threads import run
from snntha.kernels.cpu.vector import LANES, fill, load, load_row, store_row
from snntha.kernels.cpu.workspace import workspace

SAMPLES = 8  # below a convolution, whose gradients of all spikes would take too much memory at once


class Currents(NamedTuple):
    """What a layer integrates: values * scale + shift."""

    values_BVSC: np.ndarray
    scale_SC: np.ndarray
    shift_SC: np.ndarray

    @classmethod
    def of(cls, values_BVSC: np.ndarray) -> "Currents":
        """The values as they are."""
        channels = values_BVSC.shape[3]
        return cls(values_BVSC, np.ones((1, channels), np.float32), np.zeros((1, channels), np.float32))


def scan(
    currents: Currents,
    neuron: NeuronConstants,
    drop: DropoutConstants,
    kept_BGTF: np.ndarray,
    bits_BGTF: np.ndarray,
    count_BP: np.ndarray,
    membrane_TBN: np.ndarray,
) -> None:
    """Integrate and fire; tasks are (sample, tile). membrane_TBN is filled if it has any steps."""
    batch, tiles = bits_BGTF.shape[:2]
    run(_scan, batch * tiles, currents, neuron, drop, kept_BGTF, bits_BGTF, count_BP, membrane_TBN)


def scan_back(
    currents: Currents,
    neuron: NeuronConstants,
    drop: DropoutConstants,
    kept_BGTF: np.ndarray,
    source: Above,
    shape_HWC: tuple[int, ...],
    time_steps: int,
    grad_BVSC: np.ndarray,
    grad_beta_BP: np.ndarray,
) -> None:
    """Fill the gradient of what is integrated, or its sum over time where S is 1; tasks are samples.

    grad_beta_BP is filled if it has any samples.
    """
    batch = len(grad_BVSC)
    state, gradients = (currents, neuron, drop, kept_BGTF), (grad_BVSC, grad_beta_BP)
    if isinstance(source, GradientSource):
        run(_scan_back, batch, 0, *state, source, time_steps, *gradients)
        return
    buffer_BTHWC = workspace.take("spike gradients", (min(SAMPLES, batch), time_steps + 1, *shape_HWC), np.float32)
    for first in range(0, batch, SAMPLES):
        spikes_BTHWC = buffer_BTHWC[: batch - first]
        conv_input_gradients(source, first, spikes_BTHWC)
        of_spikes = GradientSource(spikes_BTN=spikes_BTHWC.reshape(*spikes_BTHWC.shape[:2], -1))
        run(_scan_back, len(spikes_BTHWC), first, *state, of_spikes, time_steps, *gradients)
    workspace.give("spike gradients", buffer_BTHWC)


@njit(cache=True, nogil=True)
def _scan(first_task, end_task, currents, neuron, drop, kept_BGTF, bits_BGTF, count_BP, membrane_TBN):
    batch, tiles, steps, _ = bits_BGTF.shape
    neurons = membrane_TBN.shape[2]
    work_TL = np.empty((steps, LANES), np.float32)
    bias = fill(np.float32(0))
    for task in range(first_task, end_task):
        b, tile = task // tiles, task % tiles
        for number in range(tile * STRIPS, min((tile + 1) * STRIPS, (neurons + LANES - 1) // LANES)):
            strip = strip_at(number, b, batch, neurons)
            _fill(currents, strip, work_TL)
            integrate_and_fire(work_TL, bias, work_TL, neuron, drop, strip, kept_BGTF, bits_BGTF, count_BP)
            if len(membrane_TBN) > 0:
                copy_out(work_TL, strip, membrane_TBN[:, b])


@njit(cache=True, nogil=True)
def _scan_back(first_task, end_task, before, currents, neuron, drop, kept_BGTF, source, steps, grad_BVSC, grad_beta_BP):
    """Task a is sample before + a."""
    batch, pixels, entries, channels = grad_BVSC.shape
    neurons = pixels * channels
    work_TL = np.empty((steps, LANES), np.float32)
    bias = fill(np.float32(0))
    own_TL = np.empty((steps, LANES), np.float32)
    for task in range(first_task, end_task):
        b = before + task
        for number in range((neurons + LANES - 1) // LANES):
            strip = strip_at(number, b, batch, neurons)
            _fill(currents, strip, work_TL)
            integrate_again(work_TL, bias, work_TL, neuron, drop, strip, kept_BGTF)
            grad_spikes_TL = own_TL[:, :]
            if len(source.spikes_BTN) > 0:  # the last strip reads on behind its neurons, in the next row
                grad_spikes_TL = source.spikes_BTN[task][:, strip.first :]
            else:
                spike_gradients(source, strip, own_TL)
            integrate_back(work_TL, grad_spikes_TL, source.membrane_TBP, neuron, drop, strip, kept_BGTF, grad_beta_BP)
            if entries < steps:
                total = load_row(work_TL, 0)
                for t in range(1, steps):
                    total = total + load_row(work_TL, t)
                store_row(work_TL, 0, total)
            if channels % LANES == 0:
                pixel, channel = strip.first // channels, strip.first % channels
                target_SL = grad_BVSC[b, pixel, :, channel : channel + LANES]
                for entry in range(entries):
                    store_row(target_SL, entry, load_row(work_TL, entry))
            else:
                for lane in range(strip.width):
                    pixel, channel = (strip.first + lane) // channels, (strip.first + lane) % channels
                    for entry in range(entries):
                        grad_BVSC[b, pixel, entry, channel] = work_TL[entry, lane]


@njit(forceinline=True)
def _fill(currents, strip, currents_TL):
    """The strip's currents, normalised; neurons that are missing in the last strip get zeros."""
    values_BVSC, scale_SC, shift_SC = currents.values_BVSC, currents.scale_SC, currents.shift_SC
    channels = values_BVSC.shape[3]
    row_step, norm_step = int(values_BVSC.shape[2] > 1), int(len(scale_SC) > 1)
    if channels % LANES == 0:
        pixel, channel = strip.first // channels, strip.first % channels
        rows_SL = values_BVSC[strip.b, pixel, :, channel : channel + LANES]
        for t in range(len(currents_TL)):
            first = t * norm_step * channels + channel
            scaled = load_row(rows_SL, t * row_step) * load(scale_SC, first)
            store_row(currents_TL, t, scaled + load(shift_SC, first))
    else:
        currents_TL[:, strip.width :] = 0
        for lane in range(strip.width):
            pixel, channel = (strip.first + lane) // channels, (strip.first + lane) % channels
            for t in range(len(currents_TL)):
                scaled = values_BVSC[strip.b, pixel, t * row_step, channel] * scale_SC[t * norm_step, channel]
                currents_TL[t, lane] = scaled + shift_SC[t * norm_step, channel]
