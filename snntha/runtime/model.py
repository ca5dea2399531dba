"""A model that is called with events or images: classes, counts, spikes, and a stream that answers as events come.

`snntha.load` makes one of a run's folder or of a packed file.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from snntha import models
from snntha.errors import UserError
from snntha.runtime import packed, plain
from snntha.runtime.inputs import as_array, to_batches
from snntha.runtime.network import FrozenNetwork, Images, Spikes

FEW = 4  # samples up to which compiled kernels are not worth their loading


@dataclass(frozen=True)
class Answer:
    """What the network says of one sample."""

    label: int  # the class with the highest count, of equal ones the first
    name: str
    counts: tuple[int, ...]  # spikes of each output neuron
    confidence: float  # by how many spikes a step the class leads the next one, 0 to 1


class Model:
    """A frozen network, ready to run; `snntha.load` makes one of a file.

    Args:
        network: what to run, in float32, or in integers where its `quantize` says so.
    """

    def __init__(self, network: FrozenNetwork):
        self.network = network
        if network.quantize is None:
            self._layers: Sequence[plain.Layer] = [plain.FloatLayer(layer) for layer in network.layers]
        else:
            from snntha.runtime.integer import quantize

            self._layers = quantize(network)
        self._compiled: Any = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the output neurons."""
        return self.network.classes

    @property
    def thresholds(self) -> list[float]:
        """Theta of each layer, where annealing left it."""
        return [float(layer.threshold) for layer in self.network.layers]

    def predict(self, samples: Any) -> np.ndarray:
        """The class of each sample as its number, int64 (B,); samples as `__call__` takes them."""
        return np.array([answer.label for answer in self(samples)], np.int64)

    def accuracy(self, samples: Any, labels: Any) -> float:
        """Percent of the samples whose class is that of `labels`, whole numbers (B,)."""
        labels_B = as_array(labels)
        predicted_B = self.predict(samples)
        if labels_B.shape != predicted_B.shape or not len(labels_B):
            raise UserError(f"labels of shape {labels_B.shape} for {len(predicted_B)} samples: expected one for each")
        return 100 * float((predicted_B == labels_B).mean())

    def __call__(self, samples: Any) -> list[Answer]:
        """Answers for images, an array (H, W), (B, H, W) or (B, C, H, W), or for recordings.

        Integers of an image are grey values from 0 to the encoding's white, floats are 0 to 1. A recording is an array
        of events, plain (events, columns) or structured, as `snntha predict` reads from .npy; several are a list.
        PyTorch's tensors are as good as arrays.
        """
        return [answer for batch in to_batches(samples, self.network.encoding) for answer in self.answers(batch)]

    def answers(self, inputs: Images | Spikes) -> list[Answer]:
        """Answers for a batch that is already encoded."""
        return [answer(count_N, self.network) for count_N in self.counts(inputs)]

    def counts(self, inputs: Images | Spikes) -> np.ndarray:
        """Spikes of each output neuron, int64 (B, N)."""
        if self._uses_kernels(inputs):
            return self._kernels().counts(inputs).astype(np.int64)
        return plain.run(self._layers, inputs)[-1].sum(0, dtype=np.int64)

    def spikes(self, samples: Any) -> list[np.ndarray]:
        """Spikes_TBN of each layer, bool, neurons ordered as PyTorch flattens (C, H, W).

        Samples as `__call__` takes them, or a batch that is already encoded.
        """
        if not isinstance(samples, Images | Spikes):
            parts = [self.spikes(batch) for batch in to_batches(samples, self.network.encoding)]
            return [np.concatenate(of_layer, 1) for of_layer in zip(*parts, strict=True)]
        return self._kernels().spikes(samples) if self._uses_kernels(samples) else plain.run(self._layers, samples)

    def stream(self) -> "Stream":
        """A recording that is still being made."""
        if self.network.encoding.kind != "events":
            raise UserError("an image is the same at every step: there is nothing to stream; call the model with it")
        return Stream(self)

    def _uses_kernels(self, inputs: Images | Spikes) -> bool:
        """Few samples are sooner done in numpy; float weights need the kernels' order of additions."""
        binary = all(layer.binary for layer in self.network.layers)
        return self.network.quantize is None and (inputs.batch > FEW or not binary)

    def _kernels(self) -> Any:
        if self._compiled is None:
            from snntha.runtime.compiled import Compiled

            self._compiled = Compiled(self.network.layers)
        return self._compiled


class Stream:
    """Feeds the network step by step. Events come in order of time; a step runs when a later one has begun.

    The first event begins the first step, as `snntha.binning` counts, and events after the last step are dropped.
    """

    def __init__(self, model: Model):
        self._layers = model._layers
        self._network = model.network
        self._states = [layer.start(1) for layer in self._layers]
        self._lines = [None if layer.delay_I is None else plain.DelayLine(layer.delay_I) for layer in self._layers]
        self._pending = np.zeros(self._network.encoding.inputs, np.int32)  # counts of the step under way
        self._first_us: int | None = None
        self.step = 0  # steps that have run
        self.count_N = np.zeros(len(self._network.classes), np.int64)

    @property
    def finished(self) -> bool:
        """All steps have run."""
        return self.step >= self._network.encoding.time_steps

    def feed(self, time_us: int, index: int) -> None:
        """One event of the input `index`, channels-last; raises UserError where its step has already run."""
        encoding = self._network.encoding
        if self._first_us is None:
            self._first_us = time_us
        elapsed_us = time_us - self._first_us
        if elapsed_us < self.step * encoding.bin_us:
            raise UserError(f"an event at {time_us} us comes after step {self.step} began: sort events by time")
        while not self.finished and elapsed_us >= (self.step + 1) * encoding.bin_us:
            self._run_step()
        if not self.finished and elapsed_us < encoding.duration_us:
            self._pending[index] += 1

    def finish(self) -> Answer:
        """Run the steps that are left, without events, and give the last answer."""
        while not self.finished:
            self._run_step()
        return self.answer

    @property
    def answer(self) -> Answer:
        """The class so far, of the steps that have run."""
        return answer(self.count_N, self._network, max(self.step, 1))

    def _run_step(self) -> None:
        shape = self._network.encoding.shape
        values_RX = self._pending[None]
        if len(shape) == 3:
            channels, height, width = shape
            values_RX = values_RX.reshape(1, height, width, channels).transpose(0, 3, 1, 2)
        for layer, state, line in zip(self._layers, self._states, self._lines, strict=True):
            if line is not None:
                values_RX = line.step(values_RX)
            layer.fire(state, layer.currents(values_RX))
            values_RX = state.fired_BN
        self.count_N += values_RX[0]
        self._pending[:] = 0
        self.step += 1


def answer(count_N: np.ndarray, network: FrozenNetwork, steps: int | None = None) -> Answer:
    """The class with the highest count, as training's `predict`."""
    label = int(count_N.argmax())
    others = np.delete(count_N, label)
    lead = int(count_N[label]) - int(others.max(initial=0))
    confidence = lead / (steps or network.encoding.time_steps)
    return Answer(label, network.classes[label], tuple(map(int, count_N)), confidence)


def load(path: str | Path) -> Model:
    """The model in a packed file, or the one of this name that comes with snntha; raises UserError where it is none."""
    return Model(packed.read(models.path_of(Path(path))))
