"""The two sums over events that every event-driven layer is made of; the running sum stays in registers.

`add_rows` adds weights for the forward pass, `add_steps` gradients of the currents for the weight gradient. More axis
legend: R rows of weights, one for each input (and tap), J neuron within a tile, D neuron within a pair of strips.
"""

from numba import njit

from snntha.kernels.cpu.vector import TILE, at, load_pair, load_tile, to_dtype, zero_tile


@njit(forceinline=True)
def add_rows(inputs, first, end, shift, weights_RJ, most, total, sums):
    """total + the rows inputs[event] + shift of the weights, for the events first ... end - 1.

    `most` rows at a time are summed in the weights' own dtype, then in that of the array `sums`.
    """
    event = first
    while event < end:
        part = zero_tile(weights_RJ)
        stop = min(event + most, end)
        for position in range(event, stop):
            part = part + load_tile(weights_RJ, (at(inputs, position) + shift) * TILE)
        total = total + to_dtype(part, sums)
        event = stop
    return total


@njit(forceinline=True)
def add_steps(step, first, end, grads_TD, total):
    """total + the rows of grads_TD at step[first : end], given in elements."""
    for event in range(first, end):
        total = total + load_pair(grads_TD, at(step, event))
    return total
