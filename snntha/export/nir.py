"""NIR, the exchange format of neuromorphic simulators: an exact profile, and a portable one for each of four importers.

NIR has no delayed reset by subtraction. The exact profile says it as a loop: LI -> Threshold -> Scale(-theta) -> LI. A
discrete step is dt = 1e-4, so that beta = 1 - dt / tau; a leaky integrator's gain r dt / tau is 1. BatchNorm's scale is
a Scale, its shift what the membrane leaks to, v_leak (1 - beta). Weights are float32 +1 and -1: NIR has no bits.

The portable profile is LIF with the constants from which an importer makes our beta and threshold. What it cannot say
is in the metadata; `snntha.nir` imports both profiles, with our reset.
"""

import io
import math
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np

from snntha.errors import UserError
from snntha.export.strict import refuse_beyond
from snntha.nir import DT, imported
from snntha.runtime.network import FrozenLayer, FrozenNetwork


@dataclass(frozen=True)
class Target:
    """How an importer reads LIF and pooling."""

    dt: float  # of a step, in the unit of tau
    exponential: bool = False  # beta = exp(-dt / tau), not 1 - dt / tau
    scales_current: bool = False  # by dt / tau whatever r is, so that the threshold is scaled instead
    fires_at: bool = False  # the threshold, not above it
    averages: bool = True  # has average pooling, not sums alone


TARGETS = {
    "snntorch": Target(DT),
    "spikingjelly": Target(DT, fires_at=True),
    "norse": Target(1e-3, scales_current=True, averages=False),
    "sinabs": Target(1.0, exponential=True, fires_at=True, averages=False),
}


def build(network: FrozenNetwork, target: str | None) -> Any:
    """The NIRGraph of a network: exact, or portable to a target of TARGETS.

    Raises:
        UserError: `nir` is not installed, or beta is 0 or 1, which is no time constant.
    """
    nir = imported("nir")
    if target is not None:
        refuse_beyond(network, "nir profile=portable")
    betas = np.concatenate([layer.beta_N for layer in network.layers])
    if len(bad := betas[(betas <= 0) | (betas >= 1)]):
        raise UserError(f"format=nir: beta is {bad[0]:g}, which is no finite time constant")
    importer = None if target is None else TARGETS[target]
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
        for name, node in _synapse(nir, layer, importer).items():
            add(f"{number}_{name}", node)
        if importer is not None:
            add(f"{number}_lif", _lif(nir, layer, importer))
            continue
        membrane, reset = f"{number}_membrane", f"{number}_reset"
        add(membrane, _integrator(nir, layer))
        add(f"{number}_spike", nir.Threshold(_full(layer, _level(layer, layer.threshold, fires_at=False))))
        nodes[reset] = nir.Scale(_full(layer, -layer.threshold))
        edges += [(last, reset), (reset, membrane)]
        if layer.recurrent_NM is not None:
            recurrent = f"{number}_recurrent"
            nodes[recurrent] = nir.Linear(layer.recurrent_NM.astype(np.float32))
            edges += [(last, recurrent), (recurrent, membrane)]
    nodes["output"] = nir.Output(np.array(network.layers[-1].shape.output_shape))
    edges.append((last, "output"))
    return nir.NIRGraph(nodes, edges, metadata=_metadata(network, target))


def to_bytes(network: FrozenNetwork, target: str | None) -> bytes:
    """The graph's HDF5 file."""
    content = io.BytesIO()
    imported("nir").write(content, build(network, target))
    if target == "sinabs":  # which needs nir 1.0.4, to which v_reset is unknown; later ones take it for 0
        with h5py.File(content, "r+") as file:
            nodes: Any = file["node/nodes"]
            for name in nodes:
                nodes[name].pop("v_reset", None)
    return content.getvalue()


def _synapse(nir: Any, layer: FrozenLayer, importer: Target | None) -> dict[str, Any]:
    weight = layer.weight.astype(np.float32)
    if layer.shape.kind == "dense":
        return {"weight": nir.Affine(weight, layer.bias_N)}
    channels, (height, width) = layer.shape.output_shape[0], layer.shape.input_shape[1:]
    scale_C = np.ones(channels, np.float32) if layer.scale_C is None else layer.scale_C
    shift_C = np.zeros(channels, np.float32) if layer.shift_C is None else layer.shift_C
    bias_C = np.zeros(channels, np.float32)
    sums = importer is not None and not importer.averages and layer.shape.pool > 1
    if importer is not None:  # which has one threshold a layer and no such scale: the weights take it
        area = np.float32(layer.area if sums else 1)
        weight, bias_C = weight * scale_C[:, None, None, None] / area, shift_C / area
    nodes = {"weight": nir.Conv2d((height, width), weight, 1, 0, 1, 1, bias_C)}
    if layer.shape.pool > 1:
        side = np.array([layer.shape.pool] * 2)
        nodes["pool"] = (nir.SumPool2d if sums else nir.AvgPool2d)(side, side, np.array([0, 0]))
    if importer is None and layer.scale_C is not None:
        nodes["norm"] = nir.Scale(_by_channel(layer, scale_C))
    return nodes


def _integrator(nir: Any, layer: FrozenLayer) -> Any:
    leak = 1 - layer.beta_N.reshape(layer.shape.output_shape).astype(np.float64)  # from which beta comes back exactly
    rest = _full(layer, 0.0) if layer.shift_C is None else _by_channel(layer, layer.shift_C) / leak
    return nir.LI(tau=DT / leak, r=DT / leak / DT, v_leak=rest)


def _lif(nir: Any, layer: FrozenLayer, importer: Target) -> Any:
    beta, theta = float(layer.beta), layer.threshold
    gain = 1 / (1 - beta)
    tau = -importer.dt / math.log(beta) if importer.exponential else importer.dt * gain
    if importer.scales_current:
        gain, theta = 1.0, np.float32(theta * (1 - beta))
    level = _level(layer, theta, importer.fires_at)
    values = {"tau": tau, "r": gain, "v_leak": 0.0, "v_threshold": level, "v_reset": 0.0}
    return nir.LIF(**{name: _full(layer, value) for name, value in values.items()})


def _level(layer: FrozenLayer, theta: np.float32, fires_at: bool) -> np.float32:
    """The threshold for a reader that fires at it, or above it: ours, or the next float32 in its direction."""
    if layer.strict == (not fires_at):
        return theta
    return np.nextafter(theta, np.float32(np.inf if fires_at else -np.inf))


def _full(layer: FrozenLayer, value: float | np.floating) -> np.ndarray:
    return np.full(layer.shape.output_shape, value, np.float64)


def _by_channel(layer: FrozenLayer, values_C: np.ndarray) -> np.ndarray:
    return np.broadcast_to(values_C.astype(np.float64)[:, None, None], layer.shape.output_shape).copy()


def _metadata(network: FrozenNetwork, target: str | None) -> dict[str, Any]:
    """What NIR cannot say; no importer reads it."""
    return {
        "snntha_target": target or "",
        "dt": DT if target is None else TARGETS[target].dt,
        "time_steps": network.encoding.time_steps,
        "reset": "by subtraction of the threshold, one step late",
        "fires": "above_threshold" if network.layers[0].strict else "at_threshold",
        "classes": ", ".join(network.classes),
    }
