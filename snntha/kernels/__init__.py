"""Spiking layers over all time steps: one definition, and faster kernels that agree with it."""

import numba
import torch

from snntha.kernels import reference
from snntha.kernels.spec import Events, Layer, Result, Static

BACKENDS = ("auto", "reference", "numba")
_ALL_THREADS = torch.get_num_threads()


def run_network(
    inputs: Events | Static, layers: list[Layer], *, backend: str, record: bool = False, membrane: bool = False
) -> Result:
    """Run one minibatch with the chosen backend; see `reference.run_network` for the arguments."""
    if backend == "auto":
        backend = fastest_for(layers[0].weight.device)
    if backend == "reference":
        return reference.run_network(inputs, layers, record=record, membrane=membrane)
    if backend == "numba":
        from snntha.kernels import cpu

        return cpu.run_network(inputs, layers, record=record, membrane=membrane)
    raise ValueError(f"backend={backend!r}; expected one of {', '.join(BACKENDS)}")


def fastest_for(device: torch.device) -> str:
    """The backend that `auto` means on a device."""
    return "numba" if device.type == "cpu" else "reference"


def set_threads(threads: int | None) -> None:
    """Let torch and numba use the same number of threads; None means what torch began with (all processors)."""
    count = threads or _ALL_THREADS
    most = numba.config.NUMBA_NUM_THREADS  # pyright: ignore  # numba fills its config at run time
    numba.set_num_threads(min(count, most))
    torch.set_num_threads(count)  # second: numba's first call starts its threads, which resets torch's number
