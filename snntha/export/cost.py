"""`snntha cost`: what a trained network stores, does and is estimated to use, per layer and per sample.

Counts are of the test samples that are run; energies are estimates, from the figures below and the counts alone.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Group
from rich.table import Column, Table
from rich.text import Text

from snntha.errors import UserError
from snntha.export import golden
from snntha.export.command import open_test_set
from snntha.export.freeze import freeze
from snntha.export.strict import describe
from snntha.runtime.compiled import Compiled
from snntha.runtime.network import FrozenLayer, Images, Spikes
from snntha.runtime.plain import arrived

AT_ONCE = 50  # samples

# Horowitz, "Computing's energy problem", ISSCC 2014, 45 nm, in pJ; memory as NeuroBench users take it.
ADD_PJ, MULTIPLY_ADD_PJ = 0.9, 4.6  # float32
BIT_PJ = 3.12  # a bit fetched from off-chip memory
FLOAT_BITS = 32


@dataclass
class Cost:
    """Of one layer, for one sample; operations are means over the samples."""

    weight_bits: int
    other_bits: int  # biases, scale and shift, beta, threshold, as float32; and delays
    zero_weights: float  # share
    dense: float  # additions of a weight if every input were active at every step
    effective: float  # those of inputs that are active
    updates: float  # of a membrane: a multiplication by beta, an addition, a comparison, and a reset that is subtracted
    normalised: float  # currents times a scale plus a shift
    silent: float  # share of neurons and steps without a spike

    @property
    def memory_pj(self) -> float:
        """Fetching every weight and number once."""
        return (self.weight_bits + self.other_bits) * BIT_PJ

    @property
    def compute_pj(self) -> float:
        """Additions of weights, and a multiply-add for each membrane update and normalised current."""
        return self.effective * ADD_PJ + (self.updates + self.normalised) * MULTIPLY_ADD_PJ


def run_command(
    folder: Path, samples: int, checkpoint: str, trial: int, root: str | None, own_class: str | None
) -> Group:
    """Tables of a run's costs; raises UserError where the run or its data are missing."""
    network = freeze(folder, trial, checkpoint)
    split = open_test_set(folder, root, own_class)
    if split is None:
        raise UserError(f"run={folder} has no test set to count operations on")
    kernels = Compiled(network.layers)
    batches = [split.batch(part) for part in golden.spread(split, samples).split(AT_ONCE)]
    per_batch, sizes = [], []
    for batch in batches:
        inputs = golden.to_numpy(batch, network.encoding)
        per_batch.append(count(network.layers, inputs, kernels.spikes(inputs)))
        sizes.append(inputs.batch)
    costs = [_mean(of_layer, sizes) for of_layer in zip(*per_batch, strict=True)]
    name = f"{network.trained['dataset']} {network.trained['mode']}"
    head = f"{name}, means of {sum(sizes)} test samples; {describe(network)}"
    return Group(Text(head), *_tables(network.layers, costs), Text(_NOTES))


def count(layers: tuple[FrozenLayer, ...], inputs: Images | Spikes, spikes: list[np.ndarray]) -> list[Cost]:
    """The costs of each layer for a batch whose spikes_TBN are known."""
    steps, batch = inputs.time_steps, inputs.batch
    costs = []
    for number, (layer, spikes_TBN) in enumerate(zip(layers, spikes, strict=True)):
        shape = layer.shape
        reach_N = reach(layer)
        own_reach = shape.neurons * shape.recurrent  # weights that a spike of the layer itself reaches
        runs = steps
        if number == 0 and isinstance(inputs, Images):
            events_N, runs = np.count_nonzero(inputs.grey_BX, 0).ravel(), 1  # a current that stays, computed once
        else:
            sent_RX = spikes[number - 1] if number else inputs.counts_RX()  # pyright: ignore
            sent_TBI = sent_RX.reshape(steps, batch, -1)
            events_N = (sent_TBI if layer.delay_I is None else arrived(sent_TBI, layer.delay_I)).sum((0, 1))
        numbers = [array for array in (layer.bias_N, layer.scale_C, layer.shift_C) if array is not None]
        costs.append(
            Cost(
                weight_bits=shape.weights * (1 if layer.binary else FLOAT_BITS),
                other_bits=FLOAT_BITS * (layer.beta.size + 1 + sum(array.size for array in numbers))
                + layer.delay_bits * shape.inputs,
                zero_weights=float((layer.weight == 0).mean()),
                dense=float(reach_N.sum()) * runs + own_reach * shape.neurons * steps,
                effective=float(events_N @ reach_N + own_reach * spikes_TBN[:-1].sum()) / batch,
                updates=shape.neurons * steps,
                normalised=shape.neurons * runs if layer.scale_C is not None else 0,
                silent=1 - float(spikes_TBN.mean()),
            )
        )
    return costs


def reach(layer: FrozenLayer) -> np.ndarray:
    """How many weights each input reaches, one entry an input, ordered (C, H, W)."""
    shape = layer.shape
    if shape.kind == "dense":
        return np.full(shape.inputs, shape.neurons)
    channels, *extents = shape.input_shape
    along = []
    for extent, output in zip(extents, shape.output_shape[1:], strict=True):
        position = np.arange(extent)
        last = np.minimum(position, output * shape.pool - 1)
        along.append(np.maximum(last - np.maximum(position - shape.kernel + 1, 0) + 1, 0))
    return np.tile(np.outer(*along).ravel() * shape.output_shape[0], channels)


def _mean(costs: tuple[Cost, ...], sizes: list[int]) -> Cost:
    values = [list(vars(cost).values()) for cost in costs]
    return Cost(*np.average(values, axis=0, weights=sizes))


_NOTES = (
    "An operation adds a weight to a current: +1 and -1 need no multiplication, also of grey values, whose sums are "
    f"made once although they act at every step. Energies: {ADD_PJ} pJ an addition, {MULTIPLY_ADD_PJ} a multiply-add "
    f"(float32), {BIT_PJ} pJ a bit fetched, each weight once a sample; 32 bits are {FLOAT_BITS * BIT_PJ:.1f} pJ. "
    "Left out: the memory of membranes and spikes, control, leakage."
)


def _tables(layers: tuple[FrozenLayer, ...], costs: list[Cost]) -> list[Table]:
    stored = _right_aligned("weights", "bits", "32-bit", "other bits", "zeros")
    done = _right_aligned("dense ops", "effective", "updates", "scaled", "silent", "ops nJ", "fetch nJ")
    for number, (layer, cost) in enumerate(zip(layers, costs, strict=True), start=1):
        size = layer.shape.weights
        name = f"{number} {layer.shape.kind}"
        stored.add_row(
            name,
            f"{size:,}",
            f"{cost.weight_bits:,.0f}",
            f"{size * FLOAT_BITS:,}",
            f"{cost.other_bits:,.0f}",
            f"{cost.zero_weights:.1%}",
        )
        counts = (cost.dense, cost.effective, cost.updates, cost.normalised)
        energies = (cost.compute_pj / 1000, cost.memory_pj / 1000)
        done.add_row(
            name,
            *(f"{value:,.0f}" for value in counts),
            f"{cost.silent:.2%}",
            *(f"{value:,.1f}" for value in energies),
        )
    compute, memory = (sum(values) / 1000 for values in zip(*((c.compute_pj, c.memory_pj) for c in costs), strict=True))
    done.add_section()
    totals = [sum(getattr(cost, key) for cost in costs) for key in ("dense", "effective", "updates", "normalised")]
    done.add_row("all", *(f"{value:,.0f}" for value in totals), "", f"{compute:,.1f}", f"{memory:,.1f}")
    return [stored, done]


def _right_aligned(*names: str) -> Table:
    return Table("layer", *(Column(name, justify="right") for name in names))
