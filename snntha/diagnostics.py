"""What is looked at beside training: neurons silenced by a threshold, a sample's spikes, layers that say nothing."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snntha.data.batch import Batch, Split
from snntha.kernels import reference
from snntha.kernels.spec import Events, LayerRecord
from snntha.layers import LayerSpec
from snntha.network import SpikingNetwork
from snntha.threshold import survives_annealing, survives_instantly, survives_update

SATURATED_RATE = 0.95  # spikes per neuron and step above which a layer says nothing any more


@torch.no_grad()
def silenced_by_threshold(
    network: SpikingNetwork, batch: Batch, before: list[float], after: list[float]
) -> dict[str, list[float]]:
    """What the last threshold update did to each layer's neurons: shares of all neurons, one entry a layer.

    `silenced_by_threshold` is measured: neurons that fired under the old threshold and do not under the new one, when
    that layer's threshold alone moves and its input stays as it was. `violates_eq5`, `violates_eq6` and `violates_eq7`
    are neurons that fired under the old threshold and do not fulfil that bound at any step of the batch; Eq. (5) holds
    for every neuron that goes on firing, so its share is never below the measured one.
    """
    network.eval()
    names = ("silenced_by_threshold", "violates_eq5", "violates_eq6", "violates_eq7")
    shares: dict[str, list[float]] = {name: [0.0] * len(before) for name in names}
    if before == after:
        return shares
    records = network(batch.inputs, before, record=True).layers
    rows = zip(network.specs, network.betas(), records, before, after, strict=True)
    for number, (spec, beta_C, record, old, new) in enumerate(rows):
        moved = [*before[:number], new, *before[number + 1 :]]
        fires_N = network(batch.inputs, moved, depth=number + 1).layers[number].spike_count_N > 0
        for name, kept_N in zip(names, (fires_N, *_bounds(spec, beta_C, record, old, new)), strict=True):
            shares[name][number] = ((record.spike_count_N > 0) & ~kept_N).double().mean().item()
    return shares


def _bounds(
    spec: LayerSpec, beta_C: Tensor | None, record: LayerRecord, before: float, after: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Which neurons fulfil Eqs. (5), (6) and (7) somewhere in the batch; kept_N each."""
    membrane_TBX, spikes_TBX = record.membrane_TBX, record.spikes_TBX
    assert membrane_TBX is not None and spikes_TBX is not None
    beta = reference.decay(spec.beta if beta_C is None else beta_C, membrane_TBX.dim())
    earlier_TBX = beta * membrane_TBX[:-1] - spikes_TBX[:-1] * before
    current_TBX = torch.cat([membrane_TBX[:1], membrane_TBX[1:] - earlier_TBX])
    peak_membrane_N, peak_current_N = (trace_TBX.amax((0, 1)).flatten() for trace_TBX in (membrane_TBX, current_TBX))
    return (
        survives_update(peak_membrane_N, before, after),
        survives_instantly(peak_current_N, before, spec.threshold.end, spec.threshold.rate),
        survives_annealing(peak_current_N, spec.threshold.end),
    )


@torch.no_grad()
def sample_activity(network: SpikingNetwork, split: Split, thresholds: list[float]) -> dict[str, Any]:
    """Everything that the first sample of a split causes: input (T, inputs) and spikes_TN of each layer, to 255."""
    network.eval()
    batch = split.batch(torch.zeros(1, dtype=torch.int64))
    drawn = _only_input(batch)
    spikes = [layer.spikes_TBX for layer in network(batch.inputs, thresholds, record=True).layers]
    return {
        "input": drawn.flatten(1) if isinstance(batch.inputs, Events) else drawn,
        "label": None if batch.labels_B is None else int(batch.labels_B[0]),
        "spikes_TN": [layer[:, 0].flatten(1).to(torch.uint8).cpu() for layer in spikes if layer is not None],
    }


def class_inputs(split: Split, classes: int, batch_size: int) -> dict[int, Tensor]:
    """The first sample of each class that there is: an image, a camera's events summed over time, or (T, inputs)."""
    found: dict[int, int] = {}
    for positions in torch.arange(len(split)).split(batch_size):
        labels_B = split.batch(positions).labels_B
        for place, label in zip(positions.tolist(), [] if labels_B is None else labels_B.tolist(), strict=True):
            found.setdefault(label, place)
        if len(found) == classes:
            break
    inputs = {label: _only_input(split.batch(torch.tensor([found[label]]))) for label in sorted(found)}
    return {label: drawn if drawn.ndim < 4 else drawn.sum(dim=0).float() for label, drawn in inputs.items()}


def _only_input(batch: Batch) -> Tensor:
    """Of the one sample of a batch: an image (C, H, W), or spike counts to 255, (T, *shape)."""
    if isinstance(batch.inputs, Events):
        return reference.dense(batch.inputs)[:, 0].clamp(max=255).byte().cpu()
    return batch.inputs.image_BX[0].cpu()


def layer_warnings(specs: Sequence[LayerSpec], firing_rate: Sequence[float], notes: Sequence[str] = ()) -> list[str]:
    """Silent and saturated layers, with what to turn; firing_rate in spikes per neuron and step.

    Where the data are odd, their `notes` are the likelier cause of silence.
    """
    messages, first = [], "".join(f"mend the data first ({note}), then " for note in notes[:1])
    for number, (rate, spec) in enumerate(zip(firing_rate, specs, strict=True)):
        layer = f"layer {number + 1} of {len(specs)} ({spec.kind}, {spec.neurons} neurons)"
        knob = f"hparams.threshold.start.{number}"
        if rate == 0:
            messages.append(
                f"{layer} is silent: no neuron fired; {first}lower {knob} or hparams.threshold.rise.{number}, "
                f"or raise hparams.beta"
            )
        elif rate > SATURATED_RATE:
            messages.append(
                f"{layer} is saturated: {rate:.2f} spikes per neuron and step; raise {knob} or lower hparams.beta"
            )
    return messages


@torch.no_grad()
def locate_non_finite(network: SpikingNetwork, batch: Batch, thresholds: list[float], iteration: int) -> str:
    """Where the first NaN or Inf stands: a weight, a membrane in the forward pass, or a gradient."""
    synapses = list(enumerate(network.synapses, start=1))
    for number, synapse in synapses:
        for name, parameter in synapse.named_parameters():
            if not parameter.isfinite().all():
                return f"{name} of layer {number} is not finite"
    records = network(batch.inputs, thresholds, step=iteration, record=True).layers
    for number, record in enumerate(records, start=1):
        if record.membrane_TBX is not None and not record.membrane_TBX.isfinite().all():
            return f"the membrane of layer {number} is not finite"
    for number, synapse in reversed(synapses):
        for name, parameter in synapse.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"the gradient of {name} of layer {number} is not finite"
    return "the loss or the norm of all gradients is not finite although every layer's are"
