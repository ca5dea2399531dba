"""Compile the kernels of a network before its first minibatch, side by side: once on a machine.

`python -m snntha.kernels.cpu.ahead first '[["conv", "image", true, false]]'` compiles the first half of the kernels
that layers of these (kind, what they receive, binary, delayed) need. Numba compiles one kernel after the other in a
process, so there are two.
"""

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import intp, typeof

from snntha.kernels.cpu import COMPILED_CODE, conv, norm, scan, threads
from snntha.kernels.cpu.delays import DelayedLayer
from snntha.kernels.cpu.dense import DenseLayer
from snntha.kernels.cpu.events import Spikes
from snntha.kernels.cpu.scan import Currents
from snntha.kernels.cpu.strip import (
    DropoutConstants,
    GradientSource,
    LayerOutput,
    NeuronConstants,
    empty_beta_gradient,
    empty_kept,
)
from snntha.layers import LayerSpec
from snntha.neuron import Neuron
from snntha.threshold import Annealing

HALVES = {  # that take about as long as each other
    "first": ("_scan", "_forward", "_backward", "pack", "_copy_rows", "_count_inputs", "_sort_steps", "_count_steps"),
    "second": ("_scan_back", "_list_events", "_list_patterns", "_list_steps")
    + ("_currents", "_weight_gradient", "_input_gradients")
    + ("_statistics", "_gradient_sums", "_pass_statistics")
    + ("_count_arrivals", "_list_arrivals", "_delay_gradient"),
}
NEURON = Neuron(0.5, 1.0, 1.0, 1.0, False)
# Kind, whether it receives an image, events or bits, whether it is binary, and whether its inputs are delayed.
Layers = Sequence[tuple[str, str, bool, bool]]


class Compilation:
    """Two processes that compile; none where this was done before. They end with the `with` block."""

    def __init__(self, specs: Sequence[LayerSpec], images: bool):
        first = "image" if images else "events"
        layers = sorted(
            {(spec.kind, "bits" if number else first, spec.binary, spec.delay > 0) for number, spec in enumerate(specs)}
        )
        self._request = json.dumps(layers)
        name = hashlib.sha256(self._request.encode()).hexdigest()[:16]
        self._done = COMPILED_CODE / f"ahead-{name}"
        self._processes: list[subprocess.Popen] = []

    @property
    def running(self) -> bool:
        return any(process.poll() is None for process in self._processes)

    def __enter__(self) -> "Compilation":
        if not self._done.exists():
            command = [sys.executable, "-m", "snntha.kernels.cpu.ahead"]
            quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            self._processes = [subprocess.Popen([*command, half, self._request], **quiet) for half in HALVES]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
            process.wait()

    def wait(self) -> None:
        """Until all is compiled. What could not be is compiled when it is called, and says then what is wrong."""
        if self._processes and not any([process.wait() for process in self._processes]):
            self._done.touch()


def compile_half(half: str, layers: Layers) -> None:
    """Let the layers' own code call each kernel once, with arrays of the right types, and compile instead."""

    def compile_instead(kernel: Any, arguments: tuple[Any, ...]) -> None:
        if kernel.py_func.__name__ in HALVES[half]:
            kernel.compile((intp, intp, *map(typeof, arguments)))

    threads.instead_of_running(compile_instead)
    neuron, drop = NeuronConstants.of(NEURON, 1), DropoutConstants.of(None)
    source = GradientSource(constant_BP=np.zeros((1, 64), np.float32))
    for kind, received, binary, late in layers:
        if received == "bits":
            fired = np.zeros((1, 1, 1, 4), np.uint16), np.zeros((1, 64), np.int32), 1, 0
            if kind == "conv":
                Spikes.of_layer(*fired, patterns_from=0.0)
            spikes = Spikes.of_layer(*fired)
        elif received == "events":
            spikes = Spikes.of_input(np.zeros(2, np.int64), np.zeros(0, np.int32), 1, 1, 1)
        else:
            spikes = Spikes.none(1, 1)
        output = LayerOutput.empty(1, 1, 1, False, 0)
        kept_BGTF = empty_kept(drop, 1, 1, 1, 0)
        if kind == "dense" and received != "image":
            shape: dict[str, Any] = {"kind": "dense", "input_shape": (1,), "output_shape": (1,)}
            spec = LayerSpec(
                **shape, binary=binary, batch_norm=False, dropout=0.0, beta=0.5, slope=1.0, strict=False, clamped=True,
                threshold=Annealing(1.0, 0.0, 0.0),
            )  # fmt: skip
            layer = DenseLayer(spec, np.ones((1, 1), np.float32), None, NEURON, None, 1)
            if late:
                layer = DelayedLayer(layer, np.ones(1), learns=True)
            layer.forward(spikes, membrane=False)
            layer.backward(source)
            continue
        values = np.zeros((1, 1, 1, 1, 1), np.float32)
        flat, doubles, norm_SC = values.reshape(1, 1), np.zeros((2, 1)), np.zeros((1, 1), np.float32)
        currents = Currents(values[0], norm_SC, norm_SC)
        scan.scan(currents, neuron, drop, kept_BGTF, *output)
        no_beta_BP = empty_beta_gradient(False, 1, 1)
        scan.scan_back(currents, neuron, drop, kept_BGTF, source, (1, 1, 1), 1, values[0], no_beta_BP)
        if kind == "conv" and received != "image":
            geometry = conv.Geometry(1, 1, 1, 1, 1)
            kernel_KKIO = np.ones((1, 1, 1, 1), np.int8 if binary else np.float32)
            conv.conv_currents(spikes, kernel_KKIO, geometry, values)
            conv.conv_weight_gradient(spikes, values, geometry, values[0])
            norm.statistics(flat, doubles)
            norm.gradient_sums(flat, flat, doubles)
            norm.pass_statistics(flat, flat[0], flat[0], flat[0], flat)
            kernel = conv.input_kernel(np.ones((1, 1, 1, 1), np.float32), geometry)
            conv.conv_input_gradients(conv.ConvolutionAbove(values, *kernel, 1), 0, values)


if __name__ == "__main__":
    compile_half(sys.argv[1], json.loads(sys.argv[2]))
