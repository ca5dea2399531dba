"""NIR files in simulators: the exact profile through nirtorch, portable files through each simulator's own importer.

A portable file is LIF, which importers reset at once, most of them to zero. Ours loses the threshold one step after the
spike, u' = beta u + I' - z theta; the same as losing theta / beta at once. The `load_` functions put that back.
"""

import io
import warnings
from contextlib import redirect_stdout
from functools import partial
from importlib import import_module
from pathlib import Path
from types import MethodType
from typing import Any

import numpy as np

from snntha.errors import NotInstalled, UserError
from snntha.runtime.network import FrozenNetwork, Images, Spikes

DT = 1e-4  # of the exact profile


def read(path: Path) -> Any:
    """The graph in a file; raises UserError where `nir` is not installed or the file holds none."""
    try:
        return imported("nir").read(str(path))
    except (OSError, KeyError, ValueError, TypeError, AttributeError, AssertionError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} is no NIR graph that can be read: {error}") from error


def simulate(path: Path, network: FrozenNetwork, inputs: Images | Spikes) -> list[np.ndarray]:
    """Spikes_TBN of each layer, bool, of a file of any profile, in what it was written for; that must be installed."""
    graph = read(path)
    target = says(graph, "snntha_target")
    if not target:
        nirtorch = imported("nirtorch")
        return _step_through(nirtorch.nir_to_torch(graph, _node_map(imported("nir"))), "spike", network, inputs)
    loaders = {
        "snntorch": load_snntorch,
        "spikingjelly": load_spikingjelly,
        "norse": load_norse,
        "sinabs": partial(load_sinabs, batch=inputs.batch),
    }
    if target not in loaders:
        raise UserError(f"{path} is for {target!r}, expected {' | '.join(loaders)}")
    return _step_through(loaders[target](path), "lif", network, inputs)


def says(graph: Any, key: str) -> str:
    """What the metadata of a graph say, empty if nothing."""
    value = graph.metadata.get(key, "")
    return value.decode() if isinstance(value, bytes) else str(value)


def load_snntorch(path: Path) -> Any:
    """A file for snntorch as its module (x, state) -> (spikes, state), with our reset.

    Raises:
        UserError: `nir` or the simulator is not installed; of the other functions, too.
    """
    Leaky, importer = imported("snntorch").Leaky, imported("snntorch.import_nir")
    with redirect_stdout(io.StringIO()):  # the importer prints what it looks for
        module = importer.import_from_nir(read(path))
    for name, part in list(module.named_modules()):
        if isinstance(part, Leaky):  # which chooses its reset when it is made: by default by subtraction, one step late
            module.set_submodule(name, Leaky(part.beta, part.threshold, init_hidden=True))
    return _keep_batch(module)


def load_spikingjelly(path: Path) -> Any:
    """A file for spikingjelly as its module (x, state) -> (spikes, state), with our reset."""
    exchange = imported("spikingjelly.activation_based.nir_exchange")
    neurons = imported("spikingjelly.activation_based.neuron")
    module = exchange.import_from_nir(read(path), dt=DT)

    def step(self: Any, inputs: Any, states: Any, **kwargs: Any) -> Any:
        (spikes,), (membrane, *others) = type(self).single_step_functional_forward(self, inputs, states, **kwargs)
        late = self.v_threshold / (1 - 1 / self.tau) - self.v_threshold  # its own subtraction is done
        return (spikes,), (membrane - spikes * late, *others)

    for part in module.modules():
        if isinstance(part, neurons.LIFNode):
            part.v_reset = None  # subtract the threshold
            part.single_step_functional_forward = MethodType(step, part)
    return module


def load_norse(path: Path) -> Any:
    """A file for norse as its module (x, state) -> (spikes, state), with our reset."""
    norse, lif_box = imported("norse.torch"), imported("norse.torch.module.lif_box")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of nirtorch's function that the importer calls
        module = norse.from_nir(read(path))

    def reset(beta: Any, spikes: Any, membrane: Any, value: Any, threshold: Any) -> Any:
        return membrane - spikes * threshold / beta

    for part in module.modules():
        if isinstance(part, lif_box.LIFBoxCell):
            beta = 1 - part.dt * part.p.tau_mem_inv
            part.p = part.p._replace(reset_method=partial(reset, beta))
    return _keep_batch(module)


def load_sinabs(path: Path, batch: int) -> Any:
    """A file for sinabs as its module (x, state) -> (spikes, state) of one time step, with our reset.

    Args:
        path: of the file.
        batch: samples that will be run together.
    """
    nir, layers, activation = imported("sinabs.nir"), imported("sinabs.layers"), imported("sinabs.activation")
    graph = read(path)
    for node in graph.nodes.values():
        if hasattr(node, "v_leak"):
            node.v_leak = node.v_leak.ravel()  # all zeros; the importer's check fails on three axes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        module = nir.from_nir(graph, batch_size=batch)
    for part in module.modules():
        if isinstance(part, layers.LIF):
            part.spike_fn = activation.SingleSpike
            part.reset_fn = activation.MembraneSubtract(part.spike_threshold / part.alpha_mem_calculated.detach())
    return module


def imported(name: str) -> Any:
    """A module that is not always there; raises NotInstalled where it is not."""
    try:
        return import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        extra = package in ("nir", "nirtorch", "onnx", "onnxruntime")
        what = "'snntha[export]'" if extra else f"{package} nir"
        raise NotInstalled(f"{package} cannot be imported ({error}): pip install {what}") from error


def _keep_batch(module: Any) -> Any:
    """Some importers leave no room for the batch where they flatten."""
    Flatten = imported("torch").nn.Flatten
    for part in module.modules():
        if isinstance(part, Flatten):
            part.start_dim = 1
    return module


def _step_through(module: Any, spiking: str, network: FrozenNetwork, inputs: Images | Spikes) -> list[np.ndarray]:
    """Spikes of the parts whose names end so."""
    torch = imported("torch")
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
