"""Spikes of a frozen network from the compiled kernels of training: the one file that touches `kernels.cpu`.

The same spikes as `plain`, for whole batches and in the order of operations of training also for float weights.
"""

from collections.abc import Iterator

import numpy as np

from snntha.kernels.cpu import conv
from snntha.kernels.cpu import events as event_lists
from snntha.kernels.cpu.delays import DelayedLayer
from snntha.kernels.cpu.dense import DenseLayer
from snntha.kernels.cpu.recurrent import RecurrentLayer
from snntha.kernels.cpu.scan import Currents, scan
from snntha.kernels.cpu.strip import (
    DropoutConstants,
    LayerOutput,
    NeuronConstants,
    channels_last_order,
    empty_kept,
    unpacked,
)
from snntha.kernels.cpu.workspace import workspace
from snntha.layers import LayerSpec
from snntha.neuron import Neuron
from snntha.runtime.network import FrozenLayer, Images, Spikes
from snntha.runtime.plain import FloatLayer, fold_pooling
from snntha.threshold import Annealing


class Compiled:
    """The layers of a network, prepared for the kernels."""

    def __init__(self, layers: tuple[FrozenLayer, ...]):
        self.layers = layers
        self.specs = [_spec(layer) for layer in layers]

    def counts(self, inputs: Images | Spikes) -> np.ndarray:
        """Spikes of each output neuron over all steps, int32 (B, N)."""
        *_, output = self._outputs(inputs)
        return output.count_BP[:, : self.layers[-1].shape.neurons]

    def spikes(self, inputs: Images | Spikes) -> list[np.ndarray]:
        """Spikes_TBN of each layer, bool, as `plain.run`."""
        return [_by_step(output, layer) for output, layer in zip(self._outputs(inputs), self.layers, strict=True)]

    def _outputs(self, inputs: Images | Spikes) -> Iterator[LayerOutput]:
        """What each layer's kernel fills, valid until the next one is asked for."""
        steps, batch = inputs.time_steps, inputs.batch
        if isinstance(inputs, Images):
            spikes = event_lists.Spikes.none(steps, batch)
        else:
            size = self.layers[0].shape.inputs
            index = inputs.index.astype(np.int32)
            spikes = event_lists.Spikes.of_input(inputs.indptr, index, steps, batch, size)
        last = len(self.layers) - 1
        for number, (layer, spec) in enumerate(zip(self.layers, self.specs, strict=True)):
            if number == 0 and isinstance(inputs, Images):
                output = _fire(layer, spec, _image_currents(layer, inputs), spikes, number)
            elif layer.shape.kind == "dense":
                row = spec, layer.weight.astype(np.float32), layer.bias_N, _neuron(layer, spec), None, number
                if layer.recurrent_NM is None:
                    dense = DenseLayer(*row)
                else:
                    dense = RecurrentLayer(*row, layer.recurrent_NM.astype(np.float32))
                if layer.delay_I is not None:
                    dense = DelayedLayer(dense, layer.delay_I, learns=False)
                output = dense.forward(spikes, membrane=False)
                spikes.release_events()
                dense.release()
            else:
                output = _fire(layer, spec, _conv_currents(layer, spikes), spikes, number)
                spikes.release_events()
                spikes.release()
            yield output
            if number < last:
                spikes = event_lists.Spikes.of_layer(output.bits_BGTF, output.count_BP, layer.shape.neurons, number)
            else:
                workspace.give(f"{number} spikes", output.bits_BGTF)


def _spec(layer: FrozenLayer) -> LayerSpec:
    return LayerSpec(
        **vars(layer.shape),
        binary=layer.binary,
        batch_norm=layer.scale_C is not None,
        dropout=0.0,
        beta=float(layer.beta.flat[0]),
        slope=1.0,
        strict=layer.strict,
        clamped=False,
        threshold=Annealing(float(layer.threshold), rise=0.0, rate=0.0),
    )


def _neuron(layer: FrozenLayer, spec: LayerSpec) -> Neuron:
    return spec.neuron(float(layer.threshold), layer.beta)


def _image_currents(layer: FrozenLayer, images: Images) -> Currents:
    """One current for all steps, channels-last."""
    current_BN = FloatLayer(layer).image_currents(images)
    order = channels_last_order(layer.shape.output_shape)
    channels = layer.shape.output_shape[0] if layer.shape.kind == "conv" else layer.shape.neurons
    current_BVSC = np.ascontiguousarray(current_BN[:, order]).reshape(images.batch, -1, 1, channels)
    return Currents.of(current_BVSC)


def _conv_currents(layer: FrozenLayer, spikes: event_lists.Spikes) -> Currents:
    shape = layer.shape
    channels, height, width = shape.output_shape
    kernel_KKIO = conv.narrowest(fold_pooling(layer.weight.astype(np.float32), shape.pool), layer.binary, shape.pool)
    values_BHWTO = np.empty((spikes.batch, height, width, spikes.time_steps, channels), np.float32)
    conv.conv_currents(spikes, kernel_KKIO, conv.Geometry.of(shape), values_BHWTO)
    currents = Currents.of(values_BHWTO.reshape(spikes.batch, -1, *values_BHWTO.shape[3:]))
    if layer.scale_C is None or layer.shift_C is None:  # BatchNorm has both
        return currents
    return currents._replace(scale_SC=layer.scale_C[None], shift_SC=layer.shift_C[None])


def _fire(
    layer: FrozenLayer, spec: LayerSpec, currents: Currents, spikes: event_lists.Spikes, number: int
) -> LayerOutput:
    no_dropout = DropoutConstants.of(None)
    size = spikes.time_steps, spikes.batch, layer.shape.neurons
    output = LayerOutput.empty(*size, False, number)
    kept_BGTF = empty_kept(no_dropout, *size, number)
    scan(currents, NeuronConstants.of(_neuron(layer, spec), size[2]), no_dropout, kept_BGTF, *output)
    return output


def _by_step(output: LayerOutput, layer: FrozenLayer) -> np.ndarray:
    """Packed spikes as bool (T, B, N), ordered as PyTorch flattens."""
    order = channels_last_order(layer.shape.output_shape)
    found_TBN = unpacked(output.bits_BGTF, len(order))
    spikes_TBN = np.empty(found_TBN.shape, bool)
    spikes_TBN[:, :, order] = found_TBN
    return spikes_TBN
