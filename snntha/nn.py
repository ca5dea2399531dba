"""Layers for a PyTorch model of one's own: binary synapses, spiking neurons, and the annealing of their thresholds.

Time comes first: spikes_TBX has shape (T, B, N) or (T, B, C, H, W). On the CPU the compiled kernels of `snntha train`
run, elsewhere the plain PyTorch reference, which is the definition; docs/library.md has a network and its training.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from snntha.binarize import binarize
from snntha.errors import UserError, expected
from snntha.kernels import reference
from snntha.kernels.backend import fastest_for
from snntha.kernels.spec import Layer
from snntha.layers import LayerSpec
from snntha.network import Synapse
from snntha.neuron import Neuron
from snntha.threshold import Annealing, anneal
from snntha.topology import LayerShape

_STILL = Annealing(1.0, 0.0, 0.0)
_BACKENDS = ("auto", "reference", "numba")


class _BinarySynapse(nn.Module):
    """A synapse whose latent weights are real and whose weights are their signs, +1 and -1."""

    def __init__(self, shape: LayerShape, bias: bool, backend: str):
        super().__init__()
        self.backend = _checked(backend)
        self.spec = _spec(shape)
        synapse = Synapse(self.spec)
        synapse.initialise(torch.default_generator, glorot=False, zero_bias=False)
        self.weight = synapse.weight  # latent
        self.bias = synapse.bias if bias else None

    def forward(self, spikes_TBX: Tensor) -> Tensor:
        """Currents_TBX; differentiable in latent weights (straight through the sign), bias and spikes.

        Spikes, also several of one input in a step, go through the event-driven kernels; other numbers, such as grey
        values, through PyTorch.
        """
        if tuple(spikes_TBX.shape[2:]) != self.spec.input_shape:
            raise UserError(
                f"{type(self).__name__}: an input of shape {tuple(spikes_TBX.shape)}; expected (T, B, "
                f"{', '.join(map(str, self.spec.input_shape))})"
            )
        weight = binarize(self.weight)
        if _is_fast(self.backend, spikes_TBX):
            from snntha.kernels import cpu_single

            if cpu_single.are_spikes(spikes_TBX):
                if self.spec.kind == "dense":
                    return cpu_single.dense(spikes_TBX, weight, self.bias, self.spec)
                return cpu_single.convolution(spikes_TBX, weight, self.spec)
        sums_TBX = reference.synapse(spikes_TBX, Layer(self.spec, weight, self.bias, None, None, self.spec.neuron(1.0)))
        return sums_TBX if self.bias is None else sums_TBX + self.bias

    def extra_repr(self) -> str:
        return f"{self.spec.input_shape} -> {self.spec.output_shape}, backend={self.backend}"


class BinaryDense(_BinarySynapse):
    """spikes_TBI -> currents_TBN: z sign(w)^T + b.

    Args:
        inputs: I; or a shape (C, H, W), which is flattened as PyTorch does.
        neurons: N.
        bias: whether there is one, float.
        backend: auto | reference | numba.
    """

    def __init__(self, inputs: int | Sequence[int], neurons: int, *, bias: bool = True, backend: str = "auto"):
        shape = (inputs,) if isinstance(inputs, int) else tuple(inputs)
        super().__init__(LayerShape("dense", shape, (neurons,)), bias, backend)


class BinaryConv(_BinarySynapse):
    """spikes_TBCHW -> currents_TBOHW: a convolution with sign(w), without padding and bias, then average pooling.

    Args:
        input_shape: (C, H, W).
        filters: O.
        kernel: its rows and columns.
        pool: rows and columns that the average pooling takes together; 1: none.
        backend: auto | reference | numba.
    """

    def __init__(self, input_shape: Sequence[int], filters: int, kernel: int, *, pool: int = 1, backend: str = "auto"):
        channels, height, width = input_shape
        rows, columns = ((extent - kernel + 1) // pool for extent in (height, width))
        if min(rows, columns) < 1:
            raise UserError(f"kernel={kernel}, pool={pool}: they do not fit an input of {height} x {width}")
        shape = LayerShape("conv", (channels, height, width), (filters, rows, columns), kernel, pool)
        super().__init__(shape, False, backend)


class LIF(nn.Module):
    """currents_TBX -> spikes_TBX: leaky integrate-and-fire neurons, Eqs. (1), (2) and (8).

    u_t = beta u_{t-1} + I_t - z_{t-1} theta and z_t = 1 where u_t >= theta; the gradient of z is
    1 / (1 + slope |u - centre|)^2, centred on the threshold that the neurons began with, as Algorithm 1 has it.

    Args:
        beta: decay of the membrane in one step, 0 to 1.
        threshold: theta, which `ThresholdAnnealing` may move.
        slope: of the surrogate gradient.
        backend: auto | reference | numba.
    """

    threshold: Tensor  # one number, float64, so that it is annealed as in `snntha train`
    centre: Tensor

    def __init__(self, beta: float = 0.9, threshold: float = 1.0, slope: float = 5.0, *, backend: str = "auto"):
        super().__init__()
        self.beta, self.slope, self.backend = beta, slope, _checked(backend)
        self.register_buffer("threshold", torch.tensor(threshold, dtype=torch.float64))
        self.register_buffer("centre", torch.tensor(threshold, dtype=torch.float64))

    def forward(self, currents_TBX: Tensor) -> Tensor:
        return self.run(currents_TBX)[0]

    def run(self, currents_TBX: Tensor) -> tuple[Tensor, Tensor]:
        """Spikes_TBX, 0.0 or 1.0, and membrane_TBX before the reset that its spike causes; both differentiable."""
        neuron = Neuron(self.beta, self.threshold.item(), self.slope, self.centre.item(), strict=False)
        if _is_fast(self.backend, currents_TBX):
            from snntha.kernels import cpu_single

            return cpu_single.lif(currents_TBX, neuron)
        return reference.scan(currents_TBX, neuron)

    def extra_repr(self) -> str:
        return f"beta={self.beta}, threshold={self.threshold.item():g}, slope={self.slope}, backend={self.backend}"


class ThresholdAnnealing:
    """Moves thresholds by Eq. (4), like a scheduler: call `step` after every minibatch, behind the optimizer's.

    Args:
        neurons: the `LIF` layers of a model, or the model itself.
        rise: of each layer, theta_inf - theta_0; one number for all.
        rate: alpha, the share of the way that is left which one minibatch goes; one number for all.
    """

    def __init__(
        self, neurons: nn.Module | Iterable[LIF], rise: float | Sequence[float], rate: float | Sequence[float]
    ):
        modules = neurons.modules() if isinstance(neurons, nn.Module) else neurons
        self.layers = [module for module in modules if isinstance(module, LIF)]
        if not self.layers:
            raise UserError("neurons: expected LIF layers, or a model with some")
        rises, self.rates = (self._of_each(name, value) for name, value in (("rise", rise), ("rate", rate)))
        self.ends = [layer.threshold.item() + rise for layer, rise in zip(self.layers, rises, strict=True)]

    def _of_each(self, name: str, value: float | Sequence[float]) -> list[float]:
        values = [float(value)] * len(self.layers) if isinstance(value, int | float) else list(value)
        if len(values) != len(self.layers):
            raise UserError(f"{name}={value}: expected one number, or {len(self.layers)}, one for each LIF layer")
        return values

    @property
    def thresholds(self) -> list[float]:
        """Of each layer, now."""
        return [layer.threshold.item() for layer in self.layers]

    def step(self) -> None:
        """theta + rate (theta_inf - theta) for every layer."""
        for layer, end, rate in zip(self.layers, self.ends, self.rates, strict=True):
            layer.threshold.fill_(anneal(layer.threshold.item(), end, rate))

    def state_dict(self) -> dict[str, Any]:
        """Where the thresholds go; where they are stands in the model's own state."""
        return {"ends": self.ends, "rates": self.rates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.ends, self.rates = list(state["ends"]), list(state["rates"])


def _spec(shape: LayerShape) -> LayerSpec:
    """A row of which only the synapse is used."""
    return LayerSpec(
        **vars(shape),
        binary=True,
        batch_norm=False,
        dropout=0.0,
        beta=0.0,
        slope=0.0,
        strict=False,
        clamped=True,
        threshold=_STILL,
    )


def _checked(backend: str) -> str:
    if backend not in _BACKENDS:
        raise UserError(f"backend={backend!r}: {expected(backend, _BACKENDS)}")
    return backend


def _is_fast(backend: str, values: Tensor) -> bool:
    if backend == "numba" and values.device.type != "cpu":
        raise UserError(f"backend=numba: its kernels run on the CPU, the input is on {values.device}")
    name = fastest_for(values.device) if backend == "auto" else backend
    return name == "numba" and values.dtype == torch.float32
