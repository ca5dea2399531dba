"""ONNX: one time step with the state as inputs and outputs; the loop over time is the caller's.

Inputs are `input` (B, *shape), a picture as floats 0 to 1 or event counts, and for each layer K `membrane_K` and
`spikes_K` (B, *neurons), zero at the start; outputs are `next_membrane_K` and `next_spikes_K`. All are float32.
"""

from pathlib import Path
from typing import Any

import numpy as np

from snntha.errors import UserError
from snntha.export.strict import BETAS, refuse_beyond
from snntha.nir import imported
from snntha.runtime.network import FrozenLayer, FrozenNetwork, Images, Spikes

_OPSET = 18
_IR_VERSION = 10  # what onnxruntime of the last years reads


def build(network: FrozenNetwork) -> Any:
    """The model; raises UserError where `onnx` is not installed."""
    refuse_beyond(network, "onnx", but=BETAS)
    onnx = imported("onnx")
    helper, tensor_type = onnx.helper, onnx.TensorProto.FLOAT
    nodes: list[Any] = []
    constants: dict[str, np.ndarray] = {}
    inputs = [helper.make_tensor_value_info("input", tensor_type, ["batch", *network.encoding.shape])]
    outputs = []

    def node(kind: str, name: str, *sources: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, list(sources), [name], **attributes))
        return name

    def constant(name: str, values: Any) -> str:
        constants[name] = np.asarray(values, np.float32)
        return name

    last = "input"
    for number, layer in enumerate(network.layers):
        current = _current(number, layer, last, node, constant)
        beta_X = layer.beta_N.reshape(layer.shape.output_shape) if layer.beta.size > 1 else layer.beta
        kept = node("Mul", f"kept_{number}", constant(f"beta_{number}", beta_X), f"membrane_{number}")
        theta = constant(f"threshold_{number}", layer.threshold)
        driven = node("Add", f"driven_{number}", kept, current)
        reset = node("Mul", f"reset_{number}", f"spikes_{number}", theta)
        membrane = node("Sub", f"next_membrane_{number}", driven, reset)
        fires = node("Greater" if layer.strict else "GreaterOrEqual", f"fires_{number}", membrane, theta)
        last = node("Cast", f"next_spikes_{number}", fires, to=tensor_type)
        for kind in ("membrane", "spikes"):
            size = ["batch", *layer.shape.output_shape]
            inputs.append(helper.make_tensor_value_info(f"{kind}_{number}", tensor_type, size))
            outputs.append(helper.make_tensor_value_info(f"next_{kind}_{number}", tensor_type, size))
    tensors = [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()]
    graph = helper.make_graph(nodes, "snntha", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR_VERSION)
    helper.set_model_props(model, {"topology": network.topology, "time_steps": str(network.encoding.time_steps)})
    onnx.checker.check_model(model)
    return model


def simulate(path: Path, network: FrozenNetwork, inputs: Images | Spikes) -> list[np.ndarray]:
    """Spikes_TBN of each layer, bool, of a file stepped through onnxruntime on one thread.

    Raises:
        UserError: onnxruntime is not installed, or cannot run the file.
    """
    runtime = imported("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own kinds, which have no public name
        raise UserError(f"{path} cannot be run in onnxruntime: {str(error)[:200]}") from error
    steps, batch = inputs.time_steps, inputs.batch
    names = [output.name for output in session.get_outputs()]
    state = {}
    for number, layer in enumerate(network.layers):
        zeros = np.zeros((batch, *layer.shape.output_shape), np.float32)
        state |= {f"membrane_{number}": zeros, f"spikes_{number}": zeros}
    spikes = [np.zeros((steps, batch, layer.shape.neurons), bool) for layer in network.layers]
    counts_RX = None if isinstance(inputs, Images) else inputs.counts_RX().astype(np.float32)
    now_BX = inputs.values_BX if isinstance(inputs, Images) else np.empty(0)
    for t in range(steps):
        if counts_RX is not None:
            now_BX = np.ascontiguousarray(counts_RX[t * batch : (t + 1) * batch])
        results = session.run(names, {"input": now_BX, **state})
        state = {name.removeprefix("next_"): result for name, result in zip(names, results, strict=True)}
        for number, layer_TBN in enumerate(spikes):
            layer_TBN[t] = state[f"spikes_{number}"].reshape(batch, -1) > 0
    return spikes


def _current(number: int, layer: FrozenLayer, source: str, node: Any, constant: Any) -> str:
    shape = layer.shape
    if shape.kind == "dense":
        if len(shape.input_shape) > 1:
            source = node("Flatten", f"flat_{number}", source)
        weights = node("MatMul", f"sums_{number}", source, constant(f"weight_{number}", layer.weight.T))
        return (
            weights
            if layer.bias_N is None
            else node("Add", f"current_{number}", weights, constant(f"bias_{number}", layer.bias_N))
        )
    current = node("Conv", f"sums_{number}", source, constant(f"weight_{number}", layer.weight))
    if shape.pool > 1:
        side = [shape.pool] * 2
        current = node("AveragePool", f"pooled_{number}", current, kernel_shape=side, strides=side)
    if layer.scale_C is None or layer.shift_C is None:
        return current
    scaled = node("Mul", f"scaled_{number}", current, constant(f"scale_{number}", layer.scale_C[:, None, None]))
    return node("Add", f"current_{number}", scaled, constant(f"shift_{number}", layer.shift_C[:, None, None]))
