"""Temporal coding (Sec. 4.1, App. D.1): one random spike train and the membrane that the output shall follow."""

import torch
from torch import Tensor

from snntha.config.schema import Dataset
from snntha.data.batch import Batch, Data, SingleSplit
from snntha.data.files import DataError
from snntha.kernels.spec import Events


def generate(dataset: Dataset, seed: int) -> Data:
    """One sample, from the seed: spikes_TBN ~ Bernoulli(p), p ~ U(0, 1) drawn for each step and input."""
    peak, step = dataset.target_peak, dataset.target_step
    if peak is None or step is None or not 0 < step < dataset.time_steps or len(dataset.input_shape) != 1:
        raise DataError(
            f"dataset.target_peak={peak}, dataset.target_step={step}, dataset.time_steps={dataset.time_steps}, "
            f"dataset.input_shape={list(dataset.input_shape)}; temporal_coding needs the target's peak, its step "
            f"before the last one and a shape of one number, such as 55.0, 75, 100 and [100]"
        )
    generator = torch.Generator().manual_seed(seed)
    probability_TBN = torch.rand(dataset.time_steps, 1, dataset.input_shape[0], generator=generator)
    spikes_TBN = torch.bernoulli(probability_TBN, generator=generator)
    fired = spikes_TBN.flatten(0, 1).nonzero()
    indptr = torch.searchsorted(fired[:, 0].contiguous(), torch.arange(dataset.time_steps + 1))
    events = Events(indptr, fired[:, 1].int(), dataset.time_steps, 1, tuple(dataset.input_shape))
    batch = Batch(events, labels_B=None, target_TBN=target_membrane(peak, step, dataset.time_steps))
    return Data(SingleSplit(batch), validation=None, test=None, fingerprint=f"generated from seed {seed}")


def target_membrane(peak: float, step: int, time_steps: int) -> Tensor:
    """y_t = peak t / step up to that step, then 0; shape (T, 1, 1)."""
    t = torch.arange(time_steps, dtype=torch.float32)
    return torch.where(t <= step, peak * t / step, 0.0).view(-1, 1, 1)
