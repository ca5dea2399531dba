"""Choosing who runs a minibatch, and what a backend must be.

Two seams. On any device that PyTorch knows, `run_layers` walks through the layers and takes a `Synapse` and a `Scan`: a
new device brings these two, with the signatures of `reference`. A backend that fuses more than that, as the numba one
does, is a `Backend`: it takes the minibatch whole.
"""

import os
from functools import partial
from importlib.util import find_spec
from typing import Protocol

import torch
from torch import Tensor

from snntha.errors import UserError
from snntha.kernels import reference
from snntha.kernels.cpu import threads as cpu_threads
from snntha.kernels.spec import Affine, Dropout, Events, Layer, LayerRecord, Result, Static
from snntha.neuron import Neuron

BACKENDS = ("auto", "reference", "numba", "triton")
_REFERENCE: dict[str, "Synapse"] = {"float32": reference.synapse, "bf16": reference.synapse_bf16}
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
    """Sums_TBX of a layer before bias and BatchNorm, differentiable; the definition is `reference.synapse`."""

    def __call__(self, spikes_TBX: Tensor, layer: Layer, /) -> Tensor: ...


class Scan(Protocol):
    """Spikes_TBX and membrane_TBX of currents_TBX, differentiable; the definition is `reference.scan`."""

    def __call__(
        self, currents_TBX: Tensor, neuron: Neuron, drop: Dropout | None, affine: Affine | None
    ) -> tuple[Tensor, Tensor]: ...


def run_network(
    inputs: Events | Static,
    layers: list[Layer],
    *,
    backend: str,
    precision: str = "float32",
    record: bool = False,
    membrane: bool = False,
) -> Result:
    """Run one minibatch with the backend of that name; see `Backend` for the other arguments.

    Args:
        precision: of the synapses' products, float32 or bf16 (`reference.synapse_bf16`).
    """
    if backend == "auto":
        backend = fastest_for(layers[0].weight.device)
    if backend == "reference":
        run: Backend = partial(run_layers, synapse=_REFERENCE[precision])
    elif backend == "numba":
        from snntha.kernels import cpu_network

        run = cpu_network.run_network
    elif backend == "triton":
        from snntha.kernels import products, triton_scan

        synapse = partial(products.synapse, precision=precision)
        run = partial(run_layers, synapse=synapse, image_synapse=products.image_synapse, scan=triton_scan.scan)
    else:
        raise ValueError(f"backend={backend!r}; expected one of {', '.join(BACKENDS)}")
    return run(inputs, layers, record=record, membrane=membrane)


def fastest_for(device: torch.device) -> str:
    """The backend that `auto` means on a device."""
    if device.type == "cpu":
        return "numba"
    return "triton" if find_spec("triton") else "reference"


def choose(backend: str, device: torch.device, precision: str) -> str:
    """The backend that runs on this device, or what keeps it from running.

    Raises:
        UserError: it is not installed, belongs to another device, or does not know this precision.
    """
    chosen = fastest_for(device) if backend == "auto" else backend
    if chosen == "triton" and not find_spec("triton"):
        raise UserError("backend=triton needs Triton, which PyTorch brings for GPUs on Linux: pass backend=auto")
    if chosen == "triton" and device.type == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
        raise UserError("backend=triton needs a GPU, and the device is the CPU: pass backend=auto")
    if chosen == "numba" and device.type != "cpu":
        raise UserError(f"backend=numba runs on the CPU, and the device is {device.type}: pass backend=auto")
    if chosen == "numba" and precision != "float32":
        raise UserError(
            f"precision={precision} is for GPUs: on the CPU pass precision=float32, or backend=reference to see what "
            f"rounding does, slowly"
        )
    return chosen


def run_layers(
    inputs: Events | Static,
    layers: list[Layer],
    *,
    record: bool = False,
    membrane: bool = False,
    synapse: Synapse = reference.synapse,
    image_synapse: Synapse = reference.synapse,
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
            current_BX = static_current(inputs, layer, image_synapse)
            sums_TBX, affine = current_BX.expand(inputs.time_steps, *current_BX.shape), None
        else:
            if layer.delay_I is not None:
                spikes_TBX = reference.delayed(spikes_TBX, layer.delay_I)
            sums_TBX = synapse(spikes_TBX, layer)
            affine = reference.affine_of(sums_TBX, layer)
        if layer.recurrent_NM is None:
            spikes_TBX, membrane_TBX = scan(sums_TBX, layer.neuron, layer.dropout, affine)
        else:
            spikes_TBX, membrane_TBX = reference.recurrent_scan(reference.transform(sums_TBX, affine), layer)
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
    assert layer.delay_I is None and layer.recurrent_NM is None, "of an input that stays the same"
    sums_1BX = synapse(static.image_BX.unsqueeze(0), layer)
    return reference.transform(sums_1BX, reference.affine_of(sums_1BX, layer, static.time_steps))[0]


def set_threads(threads: int | None) -> None:
    """Let torch and the kernels use the same number of threads; None means what torch began with (all processors)."""
    count = threads or _ALL_THREADS
    torch.set_num_threads(count)
    cpu_threads.set_threads(count)
