"""What a network hands to a kernel for one minibatch. Importing it needs no PyTorch.

Axis legend, used in every name of this package; time always comes first:

    T  time step                          C  channel of a convolution or of BatchNorm
    B  sample of the batch                H, W  rows and columns of a picture
    X  the axes of one layer's neurons    I, O  input and output channel of a convolution; I: input of a dense layer
    N  those axes flattened               K  row or column of a convolution's kernel
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from snntha.layers import LayerSpec
from snntha.neuron import Neuron
from snntha.parallel import WHOLE, Share

if TYPE_CHECKING:
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


@dataclass(frozen=True)
class Static:
    """Grey values that act as the same input current at each of `time_steps` steps; image_BX has shape (B, *shape)."""

    image_BX: Tensor
    time_steps: int

    @property
    def batch(self) -> int:
        return len(self.image_BX)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.image_BX.shape[1:])


@dataclass(frozen=True)
class Dropout:
    """Dropout on currents: element (t, b, n) is kept where hash(key, t, b, n) says so, and scaled by 1 / (1 - p)."""

    probability: float
    key: int  # 32 bits, from (seed, step, layer)
    share: Share = WHOLE  # b counts the samples of the whole minibatch


class Affine(NamedTuple):
    """A layer's currents are its sums * scale + shift: BatchNorm, or a bias without scale.

    One row for each time step, or one for all; each neuron of a dense layer is a channel.
    """

    scale_SC: Tensor | None
    shift_SC: Tensor


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
    share: Share = WHOLE  # where statistics are taken over all processes: the samples of this one


@dataclass(frozen=True)
class Layer:
    """A row of the network with its tensors of one minibatch.

    Weights are already binarized where `spec.binary` says so: kernels never binarize. Dense: weight (out, in), with
    bias; `in` is ordered as PyTorch flattens (C, H, W). Convolution: weight OIKK, no bias, no padding, stride 1, then
    `spec.pool` x `spec.pool` average pooling of the current.
    """

    spec: LayerSpec
    weight: Tensor
    bias_N: Tensor | None
    batch_norm: BatchNorm | None
    dropout: Dropout | None
    neuron: Neuron
    delay_I: Tensor | None = None  # whole steps, float32, by which spikes of each input arrive later; dense layers only
    recurrent_NM: Tensor | None = None  # weights of the layer's own spikes M of the step before; dense layers only

    def trained(self) -> dict[str, Tensor]:
        """The tensors that have gradients, by name."""
        tensors = {"weight": self.weight, "bias_N": self.bias_N, "recurrent_NM": self.recurrent_NM}
        if self.batch_norm is not None:
            tensors |= {"scale_C": self.batch_norm.scale_C, "shift_C": self.batch_norm.shift_C}
        if self.delay_I is not None and self.delay_I.requires_grad:
            tensors["delay_I"] = self.delay_I
        if getattr(self.neuron.beta, "requires_grad", False):  # a tensor
            tensors["beta_C"] = self.neuron.beta
        return {name: tensor for name, tensor in tensors.items() if tensor is not None}


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
