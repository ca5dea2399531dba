"""Choosing who runs a minibatch, and what a backend must be.

Two seams. On any device that PyTorch knows, `run_layers` walks through the layers and takes a `Synapse` and a `Scan`: a
new device brings these two, with the signatures of `reference`. A backend that fuses more than that, as the numba one
does, is a `Backend`: it takes the minibatch whole.
"""

from typing import Protocol

import torch
from torch import Tensor

from snntha.kernels import reference
from snntha.kernels.cpu import threads as cpu_threads
from snntha.kernels.spec import BatchNorm, Dropout, Events, Layer, LayerRecord, Result, Static
from snntha.neuron import Neuron

BACKENDS = ("auto", "reference", "numba")
_ALL_THREADS = torch.get_num_threads()


class Backend(Protocol):
    """Runs all time steps of one minibatch through the layers."""

    def __call__(
        self, inputs: Events | Static, layers: list[Layer], *, record: bool = False, membrane: bool = False
    ) -> Result:
        """The network's output, differentiable.

        Args:
            inputs: sparse events, or images as a constant current.
            layers: from input to output.
            record: also return each layer's spikes and membranes.
            membrane: also return the output layer's membrane_TBN, differentiable.
        """
        ...


class Synapse(Protocol):
    """Currents_TBX of a layer before BatchNorm, differentiable; the definition is `reference.synapse`."""

    def __call__(self, spikes_TBX: Tensor, layer: Layer) -> Tensor: ...


class Scan(Protocol):
    """Spikes_TBX and membrane_TBX of currents_TBX, differentiable; the definition is `reference.scan`."""

    def __call__(self, currents_TBX: Tensor, neuron: Neuron, drop: Dropout | None) -> tuple[Tensor, Tensor]: ...


def run_network(
    inputs: Events | Static, layers: list[Layer], *, backend: str, record: bool = False, membrane: bool = False
) -> Result:
    """Run one minibatch with the backend of that name; see `Backend` for the other arguments."""
    if backend == "auto":
        backend = fastest_for(layers[0].weight.device)
    if backend == "reference":
        run: Backend = run_layers
    elif backend == "numba":
        from snntha.kernels import cpu_network

        run = cpu_network.run_network
    else:
        raise ValueError(f"backend={backend!r}; expected one of {', '.join(BACKENDS)}")
    return run(inputs, layers, record=record, membrane=membrane)


def fastest_for(device: torch.device) -> str:
    """The backend that `auto` means on a device."""
    return "numba" if device.type == "cpu" else "reference"


def run_layers(
    inputs: Events | Static,
    layers: list[Layer],
    *,
    record: bool = False,
    membrane: bool = False,
    synapse: Synapse = reference.synapse,
    scan: Scan = reference.scan,
) -> Result:
    """The `Backend` of any device of PyTorch: layer after layer, each over all time steps."""
    device = layers[0].weight.device
    records = []
    spikes_TBX = reference.dense(inputs, device) if isinstance(inputs, Events) else None
    membrane_TBX = None
    for layer in layers:
        if spikes_TBX is None:
            assert isinstance(inputs, Static)
            current_BX = static_current(inputs, layer, synapse)
            currents_TBX = current_BX.expand(inputs.time_steps, *current_BX.shape)
        else:
            if layer.delay_I is not None:
                spikes_TBX = reference.delayed(spikes_TBX, layer.delay_I)
            currents_TBX = _normalised(synapse(spikes_TBX, layer), layer.batch_norm)
        if layer.recurrent_NM is None:
            spikes_TBX, membrane_TBX = scan(currents_TBX, layer.neuron, layer.dropout)
        else:
            spikes_TBX, membrane_TBX = reference.recurrent_scan(currents_TBX, layer)
        records.append(
            LayerRecord(
                spike_count_N=spikes_TBX.detach().sum((0, 1)).flatten().long(),
                spikes_TBX=spikes_TBX.detach() if record else None,
                membrane_TBX=membrane_TBX.detach() if record else None,
            )
        )
    assert spikes_TBX is not None, "a network has at least one layer"
    return Result(spikes_TBX.sum(0), membrane_TBX if membrane else None, records)


def static_current(static: Static, layer: Layer, synapse: Synapse = reference.synapse) -> Tensor:
    """The first layer's current_BX for images, computed once; BatchNorm still makes its T running updates."""
    assert layer.delay_I is None, "a delay of an input that stays the same"
    current_BX = synapse(static.image_BX.unsqueeze(0), layer)
    return _normalised(current_BX, layer.batch_norm, updates_per_step=static.time_steps)[0]


def _normalised(currents_TBX: Tensor, norm: BatchNorm | None, updates_per_step: int = 1) -> Tensor:
    return currents_TBX if norm is None else reference.batch_norm(currents_TBX, norm, updates_per_step)


def set_threads(threads: int | None) -> None:
    """Let torch and the kernels use the same number of threads; None means what torch began with (all processors)."""
    count = threads or _ALL_THREADS
    torch.set_num_threads(count)
    cpu_threads.set_threads(count)
