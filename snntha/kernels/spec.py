"""What a network hands to a kernel for one minibatch.

Axis legend, used in every name of this package: T time step, B sample of the batch, X the axes of one layer's neurons
(`N` for a dense layer, `C, H, W` for a convolution), N those axes flattened. Time always comes first.
"""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Events:
    """Sparse spike counts of a batch, one row for each (time step, sample).

    Row `t * batch + b` holds `index[indptr[row] : indptr[row + 1]]`: the inputs that fired, ascending. An input that
    fired twice in one bin stands there twice. An index addresses the sample's values channels-last: `n` for a dense
    input, `(y * W + x) * C + c` for a shape `(C, H, W)`.
    """

    indptr: Tensor  # int64, (T * B + 1,)
    index: Tensor  # int32, (events,)
    time_steps: int
    batch: int
    shape: tuple[int, ...]  # (N,) or (C, H, W)

    def dense(self) -> Tensor:
        """The same counts as spikes_TBX, float32, shape (T, B, *shape)."""
        rows = torch.repeat_interleave(torch.diff(self.indptr))
        counts = torch.zeros(self.time_steps * self.batch, _size(self.shape))
        ones = torch.ones(len(self.index))
        counts.view(-1).index_add_(0, rows * counts.shape[1] + self.index.long(), ones)
        if len(self.shape) == 1:
            return counts.view(self.time_steps, self.batch, -1)
        channels, height, width = self.shape
        return counts.view(self.time_steps, self.batch, height, width, channels).permute(0, 1, 4, 2, 3)


@dataclass(frozen=True)
class Static:
    """Grey values that act as the same input current at each of `time_steps` steps; image_BX has shape (B, *shape)."""

    image_BX: Tensor
    time_steps: int

    @property
    def batch(self) -> int:
        return len(self.image_BX)


@dataclass(frozen=True)
class Neuron:
    """Leaky integrate-and-fire, Eqs. (1), (2) and (8): u_t = beta u_{t-1} + I_t - z_{t-1} threshold.

    `strict` spikes at u > threshold, otherwise at u >= threshold. The surrogate gradient is
    1 / (1 + slope |u - centre|)^2.
    """

    beta: float
    threshold: float
    slope: float
    centre: float
    strict: bool


@dataclass(frozen=True)
class Dropout:
    """Dropout on currents: element (t, b, n) is kept where hash(key, t, b, n) says so, and scaled by 1 / (1 - p)."""

    probability: float
    key: int  # 32 bits, from (seed, step, layer)


@dataclass(frozen=True)
class BatchNorm:
    """One normalisation shared over time: statistics of each time step on its own, T running updates a minibatch."""

    scale_C: Tensor
    shift_C: Tensor
    running_mean_C: Tensor  # updated in place while training
    running_var_C: Tensor
    training: bool
    momentum: float = 0.1
    eps: float = 1e-5


@dataclass(frozen=True)
class Layer:
    """A synapse and its neurons. Weights are already binarized where the network is binary: kernels never binarize.

    Dense: weight (out, in), with bias; `in` is ordered as PyTorch flattens (C, H, W). Convolution: weight
    (out, in, k, k), no bias, no padding, stride 1, then `pool` x `pool` average pooling of the current.
    """

    weight: Tensor
    bias_N: Tensor | None
    pool: int
    batch_norm: BatchNorm | None
    dropout: Dropout | None
    neuron: Neuron
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    binary: bool  # weights are all +1 or -1


@dataclass(frozen=True)
class LayerRecord:
    """What one layer did: spikes of each neuron summed over time and batch, and on request everything."""

    spike_count_N: Tensor  # int64, ordered as PyTorch flattens (C, H, W)
    spikes_TBX: Tensor | None
    membrane_TBX: Tensor | None  # before the reset that its spike causes


@dataclass(frozen=True)
class Result:
    """Output of a network; `spike_count_BN` and `membrane_TBN` carry gradients."""

    spike_count_BN: Tensor
    membrane_TBN: Tensor | None
    layers: list[LayerRecord]


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for axis in shape:
        size *= axis
    return size
