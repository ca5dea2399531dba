"""No speed-up without parity: on the batch that is timed, both implementations must compute the same.

Dropout is off here, because the two draw their masks differently; everything else is as it is timed.
"""

from dataclasses import asdict, astuple, dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snntha.bench.cases import dense, without_dropout
from snntha.bench.workload import Workload
from snntha.errors import UserError
from snntha.kernels.spec import Events
from snntha.network import SpikingNetwork
from snntha.snntorch_loop import SnnTorchLoop
from snntha.train import forward

LOSS_TOLERANCE = 1e-4
GRADIENT_TOLERANCE = 1e-3
COUNT_TOLERANCE = 1e-3  # where spikes are not exact
NOISE = 1e-7  # relative: about the rounding of a float32
DRAWS = 3  # of the noise: single ones differ by more than a factor of two
NOISE_FACTOR = 3  # how much more than that noise two implementations may differ


class ParityError(UserError):
    """The two training steps do not agree, so their times must not be compared."""


@dataclass(frozen=True)
class Difference:
    """How far apart two forward and backward passes are; all relative."""

    loss: float
    spike_counts: float  # sum of |ours - theirs| over the sum of theirs
    gradient: float  # the largest |ours - theirs| / |theirs| of any parameter


@dataclass(frozen=True)
class Parity:
    """Ours against the loop, and how far rounding alone moves the loop.

    With binary weights on event counts every sum is an exact integer: output spikes must be equal, and `rounding` is
    None. Where grey values, float weights or BatchNorm enter, a membrane next to the threshold may fall on either side
    of it, and with a long memory one spike changes many. What that amounts to is measured: `rounding` compares the loop
    with itself on inputs that carry noise of the size of a float's rounding, the largest difference of DRAWS.
    """

    difference: Difference
    rounding: Difference | None

    def check(self) -> None:
        """Raises ParityError with what differs and by how much."""
        allowed = Difference(LOSS_TOLERANCE, 0.0, GRADIENT_TOLERANCE)
        if self.rounding is not None:
            allowed = Difference(
                LOSS_TOLERANCE + NOISE_FACTOR * self.rounding.loss,
                COUNT_TOLERANCE + NOISE_FACTOR * self.rounding.spike_counts,
                GRADIENT_TOLERANCE + NOISE_FACTOR * self.rounding.gradient,
            )
        for name, difference in asdict(self.difference).items():
            limit = getattr(allowed, name)
            if not difference <= limit:
                raise ParityError(
                    f"{name}: snntha and the snnTorch loop differ by {difference:.1e} (allowed {limit:.1e}), "
                    "so no speed-up is printed; compare with backend=reference to find the kernel that is wrong"
                )


class _Pass(NamedTuple):
    """What one forward and backward pass gave."""

    loss: float
    count_BN: Tensor
    gradients: list[Tensor]

    def difference(self, other: "_Pass") -> Difference:
        gradients = zip(self.gradients, other.gradients, strict=True)
        return Difference(
            loss=abs(self.loss - other.loss) / abs(other.loss),
            spike_counts=float((self.count_BN - other.count_BN).abs().sum() / other.count_BN.sum().clamp(min=1)),
            gradient=max(
                float(torch.dist(ours, theirs) / theirs.norm().clamp(min=_TINY)) for ours, theirs in gradients
            ),
        )


_TINY = torch.finfo(torch.float32).tiny


def measure(workload: Workload) -> Parity:
    """One forward and backward pass of each on the same weights."""
    config = without_dropout(workload.config)
    workload = replace(workload, config=config)
    network, batch = workload.network(), workload.batch
    loss, result = forward(network, batch, workload.thresholds, iteration=0)
    loss.backward()
    ours = _Pass(loss.item(), result.spike_count_BN.detach(), _gradients(_in_loop_order(network)))

    inputs_TBX = dense(batch.inputs)
    theirs = _loop_pass(workload, inputs_TBX)
    rounding = None
    if not (isinstance(batch.inputs, Events) and config.mode.binarize and not config.hparams.batch_norm):
        generator = torch.Generator().manual_seed(config.seed)
        noisy = []
        for _ in range(DRAWS):
            noise_BX = 1 + NOISE * torch.randn(inputs_TBX.shape[1:], generator=generator)
            noisy.append(astuple(_loop_pass(workload, inputs_TBX * noise_BX).difference(theirs)))
        rounding = Difference(*map(max, zip(*noisy, strict=True)))
    return Parity(ours.difference(theirs), rounding)


def _loop_pass(workload: Workload, inputs_TBX: Tensor) -> _Pass:
    labels_B = workload.batch.labels_B
    assert labels_B is not None
    loop = SnnTorchLoop(workload.network()).train()
    loop.set_thresholds(workload.thresholds)
    spikes_TBN = loop(inputs_TBX)
    loss = loop.loss(spikes_TBN, labels_B)
    loss.backward()
    return _Pass(loss.item(), spikes_TBN.detach().sum(0), _gradients(list(loop.parameters())))


def _gradients(parameters: list[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]


def _in_loop_order(network: SpikingNetwork) -> list[nn.Parameter]:
    """The network's parameters in the order of the loop's: all weights, all biases, all BatchNorms."""
    kinds = ("weight", "bias", "norm")
    named = sorted(network.named_parameters(), key=lambda named: kinds.index(named[0].split(".")[2]))
    return [parameter for _, parameter in named]
