"""What a measurement starts from: a network at some point of its training, and the minibatch that it is given next."""

import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from snntha import config as configuration
from snntha import data as datasets
from snntha.bench.cases import dense, events_of
from snntha.config import Config
from snntha.data.batch import Batch
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.kernels.spec import Static
from snntha.network import SpikingNetwork
from snntha.records import Run


@dataclass(frozen=True)
class Workload:
    """Everything that both implementations need, also in a process of their own.

    Args:
        name: for the tables.
        config: with `fidelity=code`, which is what the snnTorch loop computes.
        batch: inputs and labels.
        training_samples: of the whole training set.
        weights: of `SpikingNetwork.state_dict`.
        thresholds: of each layer.
    """

    name: str
    config: Config
    batch: Batch
    training_samples: int
    weights: dict[str, Tensor]
    thresholds: list[float]

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(self.training_samples / self.config.hparams.batch_size)

    def network(self) -> SpikingNetwork:
        """A network with these weights, ready for training."""
        network = SpikingNetwork(self.config, self.config.seed).train()
        network.load_state_dict(self.weights)
        return network

    def shrunk(self) -> "Workload":
        """The same kernels at work for a moment: three time steps of two samples."""
        inputs, labels_B = self.batch.inputs, self.batch.labels_B
        if isinstance(inputs, Static):
            few = Static(inputs.image_BX[:2], 3)
        else:
            few = events_of(dense(inputs)[:3, :2])
        return replace(self, batch=Batch(few, None if labels_B is None else labels_B[:2]))


def of_run(folder: Path) -> Workload:
    """The first seed of a run at its last checkpoint, and a minibatch of its training data.

    Raises:
        UserError: no such run, its data are not there or not the same, or it has no classes.
    """
    record = RunFolder(folder)
    config = replace(record.load_config(), fidelity=configuration.compose(["fidelity=code"]).fidelity)
    if config.dataset.name == "temporal_coding":
        raise UserError(f"run={folder}: the snnTorch loop has the spike-count loss; give a run with classes")
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    record.check_data(data.fingerprint)
    network = SpikingNetwork(config, seed=config.seed)
    progress = Run(folder).seed(0).load_checkpoint("last", network)
    generator = torch.Generator().manual_seed(config.seed)
    chosen = torch.randperm(len(data.train), generator=generator)[: config.hparams.batch_size]
    batch = data.train.batch(chosen)
    return Workload(folder.name, config, batch, len(data.train), network.state_dict(), progress.thresholds)
