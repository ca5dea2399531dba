"""Recurrent dense layers on the CPU (numba): time outermost, samples in parallel, rows of weights for each spike.

The currents of the inputs are summed over all steps first, as in `dense`. Then a sample is integrated step by step: the
list of the neurons that fired in the step before adds their rows of recurrent weights. Membranes of all steps are kept.
The way back goes over SAMPLES at once, so that they share each recurrent weight that is loaded; the weight gradients
are added up afterwards, those of the recurrent weights over the layer's own spikes, one step later.
"""

import numpy as np
from numba import njit

from snntha.kernels.cpu.conv import Above
from snntha.kernels.cpu.delays import delayed
from snntha.kernels.cpu.dense import (
    BACKWARD_TASKS,
    EXACT_INT8,
    DenseLayer,
    add_events,
    add_gradients,
    in_strips,
    pack,
    sum_blocks,
    write_gradients,
)
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu.strip import (
    GradientSource,
    LayerOutput,
    beta_gradient,
    draw_kept,
    empty_beta_gradient,
    spike_gradients,
    strip_at,
    strip_count,
)
from snntha.kernels.cpu.sums import add_rows
from snntha.kernels.cpu.threads import run
from snntha.kernels.cpu.vector import (
    LANES,
    PAIR,
    TILE,
    absolute,
    count_ones,
    count_where,
    fill,
    from_bits,
    load,
    load_row,
    lowest_one,
    multiply_add,
    select,
    store,
    to_bits,
    to_float,
    zero_tile,
)
from snntha.kernels.cpu.workspace import workspace
from snntha.kernels.spec import Dropout
from snntha.layers import LayerSpec
from snntha.neuron import Neuron

SAMPLES = 4  # whose gradients go back through the recurrent weights together


class RecurrentLayer(DenseLayer):
    """A dense layer that also receives its own spikes of the step before.

    Args:
        recurrent_NM: float32, the weight of neuron m's spike for neuron n.
    """

    def __init__(
        self,
        spec: LayerSpec,
        weight_NI: np.ndarray,
        bias_N: np.ndarray | None,
        neuron: Neuron,
        drop: Dropout | None,
        number: int,
        recurrent_NM: np.ndarray,
        *,
        learns_beta: bool = False,
    ):
        super().__init__(spec, weight_NI, bias_N, neuron, drop, number, learns_beta=learns_beta)
        self.recurrent_NM = np.ascontiguousarray(recurrent_NM)
        self.recurrent_GMJ = np.empty((len(self.weights_GIJ), self.neurons, TILE), self.weights_GIJ.dtype)
        run(pack, len(self.recurrent_GMJ), self.recurrent_NM, np.arange(self.neurons), self.recurrent_GMJ)
        self.whole, self.passes = spec.recurrent_dropout, np.float32(spec.recurrent_gradient)

    def forward(self, spikes: Spikes, *, membrane: bool) -> LayerOutput:
        """Integrate the events and the layer's own spikes, and fire."""
        batch, steps, tiles = spikes.batch, spikes.time_steps, len(self.weights_GIJ)
        fired = self.begin(spikes, False)
        self.membrane_BTP = workspace.take(f"{self.number} membranes", (batch, steps, tiles * TILE), np.float32)
        run(
            _forward,
            batch,
            spikes.events,
            self.weights_GIJ,
            self.recurrent_GMJ,
            np.zeros(tiles * TILE, np.int32 if self.weights_GIJ.dtype == np.int8 else np.float32),
            self.bias_P,
            self.sums_BGTJ,
            self.neuron,
            self.drop,
            self.whole,
            self.neurons,
            self.kept_BGTF,
            self.membrane_BTP,
            fired.bits_BGTF,
            fired.count_BP,
        )
        own = Spikes.of_layer(fired.bits_BGTF, fired.count_BP, self.neurons, self.number)
        self.own = delayed(own, np.ones(self.neurons, np.int64), f"{self.number} own")
        own.release_events()
        if membrane:
            membrane_TBN = self.membrane_BTP[:, :, : self.neurons].swapaxes(0, 1).copy()
            fired = fired._replace(membrane_TBN=membrane_TBN)
        return fired

    def backward(self, source: Above) -> dict[str, np.ndarray]:
        """Gradients of all weights and of the bias; those of the currents of the inputs are kept."""
        assert isinstance(source, GradientSource), "no convolution is above a dense layer"
        batch, steps = self.spikes.batch, self.spikes.time_steps
        whole_BTN = np.empty((batch, steps, self.neurons), np.float32)  # of the current that is integrated
        split = self.drop.active and not self.whole
        self.grad_BTN = np.empty_like(whole_BTN) if split else whole_BTN
        grad_beta_BP = empty_beta_gradient(self.learns_beta, batch, self.neurons)
        run(
            _backward,
            -(-batch // SAMPLES),
            source,
            in_strips(self.recurrent_NM),
            self.membrane_BTP,
            self.neuron,
            self.drop,
            self.whole,
            self.passes,
            self.kept_BGTF,
            whole_BTN,
            self.grad_BTN,
            grad_beta_BP,
        )
        weight_NI, bias_N = self._weight_gradient(self.spikes, self.grad_BTN, self.order_I)
        recurrent_NM, _ = self._weight_gradient(self.own, whole_BTN, np.arange(self.neurons))
        gradients = {"weight": weight_NI, "bias_N": bias_N, "recurrent_NM": recurrent_NM}
        return gradients | beta_gradient(grad_beta_BP, self.neurons, self.neurons)

    def _weight_gradient(self, spikes: Spikes, grad_BTN: np.ndarray, order_I: np.ndarray) -> list[np.ndarray]:
        """Of the weights that these spikes went through, and of the bias."""
        events = spikes.by_input()
        blocks = max(1, min(spikes.batch, BACKWARD_TASKS // strip_count(self.neurons)))
        grad_weight_ANI = np.empty((blocks, self.neurons, len(order_I)), np.float32)
        grad_bias_AN = np.empty((blocks, self.neurons), np.float32)
        tasks = -(-self.neurons // PAIR) * blocks
        run(_weight_gradient, tasks, events, grad_BTN, order_I, grad_weight_ANI, grad_bias_AN)
        workspace.give("steps", events.step)
        return [sum_blocks(grad_weight_ANI), sum_blocks(grad_bias_AN)]

    def release(self) -> None:
        super().release()
        self.own.release()
        workspace.give(f"{self.number} membranes", self.membrane_BTP)


@njit(cache=True, nogil=True)
def _forward(
    first_sample,
    end_sample,
    events,
    weights_GIJ,
    recurrent_GMJ,
    zeros_P,
    bias_P,
    sums_BGTJ,
    neuron,
    drop,
    whole,
    neurons,
    kept_BGTF,
    membrane_BTP,
    bits_BGTF,
    count_BP,
):
    """`zeros_P` says in which dtype the recurrent weights are summed."""
    batch, tiles, steps, _ = sums_BGTJ.shape
    threshold, level = fill(neuron.threshold), fill(neuron.level)
    scale, none = fill(drop.scale), fill(np.float32(0))
    strips = (neurons + LANES - 1) // LANES
    fired = np.empty(neurons, np.int32)
    for b in range(first_sample, end_sample):
        for tile in range(tiles):
            add_events(events, weights_GIJ[tile], b, sums_BGTJ[b, tile])
        own_P = zeros_P.copy()
        before_P = np.zeros(tiles * TILE, np.float32)
        fires_count = 0
        for t in range(steps):
            for tile in range(tiles):
                total = add_rows(fired, 0, fires_count, 0, recurrent_GMJ[tile], EXACT_INT8, zero_tile(own_P), own_P)
                store(own_P, tile * TILE, total)
            fires_count = 0
            for number in range(strips):
                strip = strip_at(number, b, batch, neurons)
                sums_TL = sums_BGTJ[b, strip.tile][:, strip.part * LANES : (strip.part + 1) * LANES]
                current = to_float(load_row(sums_TL, t)) + load(bias_P, strip.first)
                own = to_float(load(own_P, strip.first))
                if drop.active:
                    keep = draw_kept(drop, strip, t)
                    kept_BGTF[b, strip.tile, t, strip.part] = to_bits(keep)
                    if whole:
                        current = select(keep, (current + own) * scale, none)
                    else:
                        current = select(keep, current * scale, none) + own
                else:
                    current = current + own
                before = load(before_P, strip.first)
                reset = none
                if t > 0:
                    reset = select(before >= level, threshold, none)
                membrane = load(neuron.beta_P, strip.first) * before + current - reset
                store(before_P, strip.first, membrane)
                store(membrane_BTP, (b * steps + t) * tiles * TILE + strip.first, membrane)
                fires = membrane >= level
                first_count = b * count_BP.shape[1] + strip.first
                store(count_BP, first_count, count_where(fires, load(count_BP, first_count)))
                word = to_bits(fires) & np.uint16((1 << strip.width) - 1)
                bits_BGTF[b, strip.tile, t, strip.part] = word
                rest = np.uint64(word)
                for _ in range(count_ones(rest)):
                    fired[fires_count] = strip.first + lowest_one(rest)
                    fires_count += 1
                    rest &= rest - np.uint64(1)


@njit(cache=True, nogil=True)
def _backward(
    first_task,
    end_task,
    source,
    weights_FNL,
    membrane_BTP,
    neuron,
    drop,
    whole,
    passes,
    kept_BGTF,
    whole_BTN,
    grad_BTN,
    grad_beta_BP,
):
    """Tasks are SAMPLES samples. Gradients of the whole current and of that of the inputs, one array if they are equal.

    dL/dz_t = from above + passes sum over n of dL/dI_{t+1,n} recurrent[n], and then as in `strip.integrate_back`.
    """
    batch, steps, neurons = grad_BTN.shape
    strips = (neurons + LANES - 1) // LANES
    padded = strips * LANES
    slope, centre, one = fill(neuron.slope), fill(neuron.centre), fill(np.float32(1))
    scale, none, share = fill(drop.scale), fill(np.float32(0)), fill(passes)
    own_TL = np.empty((steps, LANES), np.float32)
    above_STP = np.empty((SAMPLES, steps, padded), np.float32)
    later_SP = np.empty((SAMPLES, padded), np.float32)  # dL/dI of the next step
    through_SP = np.empty((SAMPLES, padded), np.float32)  # what it says of the spikes of this one
    membrane_SP = np.empty((SAMPLES, padded), np.float32)  # dL/du of the next step
    for task in range(first_task, end_task):
        first, width = task * SAMPLES, min(SAMPLES, batch - task * SAMPLES)
        for s in range(width):
            for number in range(strips):
                strip = strip_at(number, first + s, batch, neurons)
                spike_gradients(source, strip, own_TL)
                for t in range(steps):
                    store(above_STP, (s * steps + t) * padded + strip.first, load_row(own_TL, t))
        later_SP[:] = through_SP[:] = membrane_SP[:] = 0
        for t in range(steps - 1, -1, -1):
            for number in range(strips if passes > 0 else 0):
                sum0 = sum1 = sum2 = sum3 = none
                weights_NL = weights_FNL[number]
                for n in range(neurons):
                    weights = load(weights_NL, n * LANES)
                    sum0 = multiply_add(later_SP[0, n], weights, sum0)
                    sum1 = multiply_add(later_SP[1, n], weights, sum1)
                    sum2 = multiply_add(later_SP[2, n], weights, sum2)
                    sum3 = multiply_add(later_SP[3, n], weights, sum3)
                store(through_SP, number * LANES, sum0 * share)
                store(through_SP, padded + number * LANES, sum1 * share)
                store(through_SP, 2 * padded + number * LANES, sum2 * share)
                store(through_SP, 3 * padded + number * LANES, sum3 * share)
            for s in range(width):
                b = first + s
                for number in range(strips):
                    strip = strip_at(number, b, batch, neurons)
                    at_s = s * padded + strip.first
                    membrane = load(membrane_BTP, (b * steps + t) * membrane_BTP.shape[2] + strip.first)
                    grad_spikes = load(above_STP, (s * steps + t) * padded + strip.first) + load(through_SP, at_s)
                    distance = one + slope * absolute(membrane - centre)
                    beta = load(neuron.beta_P, strip.first)
                    grad = grad_spikes / (distance * distance) + beta * load(membrane_SP, at_s)
                    if len(source.membrane_TBP) > 0:
                        row = t * batch + b
                        grad = grad + load(source.membrane_TBP, row * source.membrane_TBP.shape[2] + strip.first)
                    store(membrane_SP, at_s, grad)
                    if len(grad_beta_BP) > 0:
                        place = b * grad_beta_BP.shape[1] + strip.first
                        said = none
                        if t < steps - 1:
                            said = load(grad_beta_BP, place)
                        if t > 0:
                            before = load(membrane_BTP, (b * steps + t - 1) * membrane_BTP.shape[2] + strip.first)
                            said = said + grad * before
                        store(grad_beta_BP, place, said)
                    of_inputs = grad
                    if drop.active:
                        kept = from_bits(kept_BGTF[b, strip.tile, t, strip.part])
                        of_inputs = select(kept, grad * scale, none)
                        if whole:
                            grad = of_inputs
                    store(later_SP, at_s, grad)
                    for lane in range(strip.width):
                        whole_BTN[b, t, strip.first + lane] = later_SP[s, strip.first + lane]
                    if drop.active and not whole:
                        store(own_TL, 0, of_inputs)
                        for lane in range(strip.width):
                            grad_BTN[b, t, strip.first + lane] = own_TL[0, lane]


@njit(cache=True, nogil=True)
def _weight_gradient(first_task, end_task, events, grad_BTN, order_I, grad_weight_ANI, grad_bias_AN):
    """Tasks are (pair of strips, block a of samples), as in `dense`."""
    blocks, neurons, inputs = grad_weight_ANI.shape
    batch, steps, _ = grad_BTN.shape
    work_TD = np.zeros((steps, PAIR), np.float32)
    for task in range(first_task, end_task):
        pair, block = task // blocks, task % blocks
        first, width = pair * PAIR, min(PAIR, neurons - pair * PAIR)
        grad_ID = np.zeros((inputs, PAIR), np.float32)
        grad_D = np.zeros((1, PAIR), np.float32)
        for b in range(batch * block // blocks, batch * (block + 1) // blocks):
            for t in range(steps):
                for number in range(width):
                    work_TD[t, number] = grad_BTN[b, t, first + number]
            add_gradients(events, b, work_TD, grad_ID, grad_D)
        write_gradients(grad_ID, order_I, grad_weight_ANI[block, first : first + width])
        for number in range(width):
            grad_bias_AN[block, first + number] = grad_D[0, number]
