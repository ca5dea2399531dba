"""NIR, the exchange format of neuromorphic simulators: an exact profile, and one that snnTorch imports.

NIR has no delayed reset by subtraction. The exact profile says it as a loop: LI -> Threshold -> Scale(-theta) -> LI. A
discrete step is dt = 1e-4, so that beta = 1 - dt / tau; a leaky integrator's gain r dt / tau is 1. BatchNorm's scale is
a Scale, its shift what the membrane leaks to, v_leak (1 - beta). Weights are float32 +1 and -1: NIR has no bits.
"""

import io
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any, Literal

import numpy as np

from snntha.errors import UserError
from snntha.export.strict import refuse_beyond
from snntha.runtime.network import FrozenLayer, FrozenNetwork, Images, Spikes

Profile = Literal["exact", "portable"]
DT = 1e-4  # of snnTorch and SpikingJelly


def build(network: FrozenNetwork, profile: Profile) -> Any:
    """The NIRGraph of a network; raises UserError where `nir` is not installed, or a beta of 1 has no tau."""
    nir = _import("nir")
    if profile == "portable":
        refuse_beyond(network, "nir profile=portable")
    if any(layer.beta == 1 for layer in network.layers):
        raise UserError("format=nir: beta is 1, which is no finite time constant")
    nodes: dict[str, Any] = {"input": nir.Input(np.array(network.encoding.shape))}
    edges: list[tuple[str, str]] = []
    last = "input"

    def add(name: str, node: Any) -> None:
        nonlocal last
        nodes[name] = node
        edges.append((last, name))
        last = name

    for number, layer in enumerate(network.layers):
        shape = layer.shape
        if shape.kind == "dense" and len(shape.input_shape) > 1:
            add(f"{number}_flatten", nir.Flatten({"input": np.array(shape.input_shape)}, start_dim=0))
        if layer.delay_I is not None:
            add(f"{number}_delay", nir.Delay(layer.delay_I * DT))
        for name, node in _synapse(nir, layer, profile).items():
            add(f"{number}_{name}", node)
        if profile == "portable":
            add(f"{number}_lif", _lif(nir, layer))
            continue
        membrane, reset = f"{number}_membrane", f"{number}_reset"
        add(membrane, _integrator(nir, layer))
        add(f"{number}_spike", nir.Threshold(_full(layer, _level(layer))))
        nodes[reset] = nir.Scale(_full(layer, -layer.threshold))
        edges += [(last, reset), (reset, membrane)]
        if layer.recurrent_NM is not None:
            recurrent = f"{number}_recurrent"
            nodes[recurrent] = nir.Linear(layer.recurrent_NM.astype(np.float32))
            edges += [(last, recurrent), (recurrent, membrane)]
    nodes["output"] = nir.Output(np.array(network.layers[-1].shape.output_shape))
    edges.append((last, "output"))
    return nir.NIRGraph(nodes, edges, metadata=_metadata(network, profile))


def write(network: FrozenNetwork, profile: Profile, path: Path) -> None:
    """Write the graph's HDF5 file."""
    _import("nir").write(str(path), build(network, profile))


def read(path: Path) -> Any:
    """The graph in a file."""
    return _import("nir").read(str(path))


def simulate(network: FrozenNetwork, graph: Any, inputs: Images | Spikes) -> list[np.ndarray]:
    """Spikes_TBN of each layer of the exact profile, stepped through nirtorch with our own map of the nodes."""
    nir, nirtorch = _import("nir"), _import("nirtorch")
    return _step_through(nirtorch.nir_to_torch(graph, _node_map(nir)), "spike", network, inputs)


def simulate_snntorch(network: FrozenNetwork, path: Path, inputs: Images | Spikes) -> list[np.ndarray]:
    """Spikes_TBN of each layer of a portable file in snnTorch, as `load_snntorch` repairs it."""
    return _step_through(load_snntorch(path), "lif", network, inputs)


def _step_through(module: Any, spiking: str, network: FrozenNetwork, inputs: Images | Spikes) -> list[np.ndarray]:
    """Spikes of the parts whose names end so."""
    import torch

    steps, batch = inputs.time_steps, inputs.batch
    spikes = [np.zeros((steps, batch, layer.shape.neurons), bool) for layer in network.layers]
    fired: dict[str, Any] = {}

    def remember(name: str, output: Any) -> None:
        fired[name] = output[0] if isinstance(output, tuple) else output

    for number in range(len(network.layers)):
        name = f"{number}_{spiking}"
        module.get_submodule(name).register_forward_hook(lambda _, __, output, name=name: remember(name, output))
    images = inputs.values_BX if isinstance(inputs, Images) else None
    counts_RX = None if isinstance(inputs, Images) else inputs.counts_RX().astype(np.float32)
    state = None
    with torch.no_grad():
        for t in range(steps):
            now_BX = images if counts_RX is None else counts_RX[t * batch : (t + 1) * batch]
            _, state = module(torch.from_numpy(np.ascontiguousarray(now_BX)), state)
            for number, layer_TBN in enumerate(spikes):
                layer_TBN[t] = fired[f"{number}_{spiking}"].flatten(1).bool().numpy()
    return spikes


def load_snntorch(path: Path) -> Any:
    """A portable file as snnTorch's module, with the delayed reset by subtraction that its importer drops.

    Raises:
        UserError: `nir` or snnTorch is not installed.
    """
    from snntorch import Leaky
    from snntorch.import_nir import import_from_nir
    from torch.nn import Flatten

    with redirect_stdout(io.StringIO()):  # the importer prints what it looks for
        module = import_from_nir(read(path))
    for part in module.modules():
        if isinstance(part, Leaky):
            part.reset_mechanism = "subtract"
            part.reset_delay = True
            part.state_function = part._base_sub
        elif isinstance(part, Flatten):
            part.start_dim = 1  # the importer leaves no room for the batch
    return module


def _synapse(nir: Any, layer: FrozenLayer, profile: Profile) -> dict[str, Any]:
    weight = layer.weight.astype(np.float32)
    if layer.shape.kind == "dense":
        return {"weight": nir.Affine(weight, layer.bias_N)}
    channels, (height, width) = layer.shape.output_shape[0], layer.shape.input_shape[1:]
    scale_C = np.ones(channels, np.float32) if layer.scale_C is None else layer.scale_C
    shift_C = np.zeros(channels, np.float32) if layer.shift_C is None else layer.shift_C
    exact = profile == "exact"
    if not exact:  # simulators have one threshold a layer and no such scale: the weights take it
        weight = weight * scale_C[:, None, None, None]
    bias_C = np.zeros(channels, np.float32) if exact else shift_C
    nodes = {"weight": nir.Conv2d((height, width), weight, 1, 0, 1, 1, bias_C)}
    if layer.shape.pool > 1:
        side = np.array([layer.shape.pool] * 2)
        nodes["pool"] = nir.AvgPool2d(side, side, np.array([0, 0]))
    if exact and layer.scale_C is not None:
        nodes["norm"] = nir.Scale(_by_channel(layer, scale_C))
    return nodes


def _integrator(nir: Any, layer: FrozenLayer) -> Any:
    rest = _full(layer, 0.0) if layer.shift_C is None else _by_channel(layer, layer.shift_C) / (1 - float(layer.beta))
    return nir.LI(tau=_full(layer, _tau(layer)), r=_full(layer, _tau(layer) / DT), v_leak=rest)


def _lif(nir: Any, layer: FrozenLayer) -> Any:
    values = {"tau": _tau(layer), "r": _tau(layer) / DT, "v_leak": 0.0, "v_threshold": layer.threshold, "v_reset": 0.0}
    return nir.LIF(**{name: _full(layer, value) for name, value in values.items()})


def _tau(layer: FrozenLayer) -> float:
    """In float64, from which beta comes back exactly."""
    return DT / (1 - float(layer.beta))


def _level(layer: FrozenLayer) -> np.float32:
    """NIR fires above its threshold: for a neuron that fires at it, the next smaller number."""
    return layer.threshold if layer.strict else np.nextafter(layer.threshold, np.float32(-np.inf))


def _full(layer: FrozenLayer, value: float | np.floating) -> np.ndarray:
    return np.full(layer.shape.output_shape, value, np.float64)


def _by_channel(layer: FrozenLayer, values_C: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values_C.astype(np.float64)[:, None, None], layer.shape.output_shape).copy()


def _metadata(network: FrozenNetwork, profile: Profile) -> dict[str, Any]:
    """What NIR cannot say; no importer reads it."""
    return {
        "snntha_profile": profile,
        "dt": DT,
        "time_steps": network.encoding.time_steps,
        "reset": "by subtraction of the threshold, one step late",
        "fires": "above_threshold" if network.layers[0].strict else "at_threshold",
        "classes": ", ".join(network.classes),
    }


def _node_map(nir: Any) -> dict[Any, Any]:
    """Our own, because nirtorch's drops the bias of Affine and merges the batch in Flatten."""
    import torch

    class Integrator(torch.nn.Module):
        def __init__(self, node: Any):
            super().__init__()
            self.beta = torch.from_numpy(1 - DT / node.tau).float()
            self.gain = torch.from_numpy(node.r * DT / node.tau).float()
            self.rest = torch.from_numpy(node.v_leak * DT / node.tau).float()

        def forward(self, current: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
            driven = self.gain * current + self.rest
            membrane = driven if state is None else self.beta * state + driven
            return membrane, membrane

    class Delay(torch.nn.Module):
        def __init__(self, node: Any):
            super().__init__()
            self.steps = torch.from_numpy(np.rint(node.delay / DT).astype(np.int64))

        def forward(self, values: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, torch.Tensor]:
            past = torch.zeros(int(self.steps.max()) + 1, *values.shape) if state is None else state
            past = torch.cat([values[None], past[:-1]])
            return past.gather(0, self.steps.expand(1, *values.shape))[0], past

    class Apply(torch.nn.Module):
        def __init__(self, function: Any):
            super().__init__()
            self.function = function

        def forward(self, values: torch.Tensor) -> torch.Tensor:
            return self.function(values)

    def tensor(array: Any) -> torch.Tensor:
        return torch.from_numpy(np.asarray(array, np.float32))

    def affine(node: Any) -> torch.nn.Module:
        weight, bias = tensor(node.weight), tensor(node.bias)
        return Apply(lambda values: values @ weight.T + bias)

    def linear(node: Any) -> torch.nn.Module:
        weight = tensor(node.weight)
        return Apply(lambda values: values @ weight.T)

    def convolution(node: Any) -> torch.nn.Module:
        weight, bias = tensor(node.weight), tensor(node.bias)
        return Apply(lambda values: torch.nn.functional.conv2d(values, weight) + bias[:, None, None])

    def threshold(node: Any) -> torch.nn.Module:
        level = tensor(node.threshold)
        return Apply(lambda values: (values > level).float())

    def scale(node: Any) -> torch.nn.Module:
        factor = tensor(node.scale)
        return Apply(lambda values: values * factor)

    return {
        nir.LI: Integrator,
        nir.Delay: Delay,
        nir.Affine: affine,
        nir.Linear: linear,
        nir.Conv2d: convolution,
        nir.Threshold: threshold,
        nir.Scale: scale,
        nir.Flatten: lambda node: torch.nn.Flatten(1),
    }


def _import(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError as error:
        raise UserError(f"{name} is not installed: pip install 'snntha[export]'") from error
