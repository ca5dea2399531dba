"""Several processes train one run, as `torchrun` starts them: each takes its share of every minibatch.

What they find is added up: the mean over a minibatch is the sum over the processes of the mean over a share, times its
part of the samples. Gradients, losses and BatchNorm's statistics are summed so. Process 0 alone writes.

Importing this needs no PyTorch.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snntha.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor


class ProcessLost(UserError):
    """Another process of the run has ended, so this one cannot go on."""


@dataclass(frozen=True)
class Share:
    """Of a minibatch that several processes train on, the samples of this one."""

    before: int = 0  # samples of the others that stand before them
    others: int = 0  # all samples of the others
    weight: float = 1.0  # of a mean over them in the mean over all


WHOLE = Share()


def processes() -> int:
    """How many train together: 1, unless torchrun started this."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


def rank() -> int:
    """Which of them this is, from 0."""
    return int(os.environ["RANK"]) if processes() > 1 else 0


def own_device(device: torch.device) -> torch.device:
    """Of several GPUs of a machine, this process's."""
    import torch

    if device.type != "cuda" or processes() == 1:
        return device
    number = int(os.environ["LOCAL_RANK"])
    if number >= torch.cuda.device_count():
        raise UserError(f"--nproc-per-node is more than the {torch.cuda.device_count()} GPUs here: one process a GPU")
    torch.cuda.set_device(number)
    return torch.device("cuda", number)


@contextmanager
def together() -> Iterator[None]:
    """Inside, the processes of a run can talk: through NCCL between GPUs, through gloo on the CPU."""
    if processes() == 1:
        yield
        return
    import torch
    import torch.distributed as dist

    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


@contextmanager
def _all_live() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise ProcessLost("another process of this run has ended") from error


def share(positions: Tensor) -> tuple[Tensor, Share]:
    """Those samples of a minibatch that this process takes; all of them where there are fewer than processes."""
    if processes() == 1:
        return positions, WHOLE
    if len(positions) < processes():
        return positions, Share(weight=1 / processes())
    parts = positions.tensor_split(processes())
    own, before = parts[rank()], sum(map(len, parts[: rank()]))
    return own, Share(before, len(positions) - len(own), len(own) / len(positions))


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over the processes; all are of one type and on one device."""
    if processes() == 1:
        return
    import torch
    import torch.distributed as dist

    flat = torch.cat([tensor.detach().reshape(-1) for tensor in tensors])
    with _all_live():
        dist.all_reduce(flat)
    for tensor, part in zip(tensors, flat.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.detach().copy_(part.view_as(tensor))


def greatest(number: int) -> int:
    """The largest of the processes' numbers, known to all; GPUs need not wait for it."""
    if processes() == 1:
        return number
    import torch
    import torch.distributed as dist

    numbers = torch.tensor([number])
    with _all_live():
        dist.all_reduce(numbers, dist.ReduceOp.MAX)
    return int(numbers)


def of_first(value: Any = None) -> Any:
    """What process 0 has, known to all; what it wrote before is there."""
    if processes() == 1:
        return value
    import torch
    import torch.distributed as dist

    values = [value]
    with _all_live():
        dist.broadcast_object_list(values, device=torch.device("cpu"))
    return values[0]
