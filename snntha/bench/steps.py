"""The two training steps that are compared: forward, backward, clips, optimizer and threshold update."""

import torch
from torch import nn

from snntha import optimizer as optimizers
from snntha.bench.cases import Case, dense
from snntha.data.batch import Batch
from snntha.network import SpikingNetwork
from snntha.progress import Progress
from snntha.snntorch_loop import SnnTorchLoop
from snntha.train import train_step


class OurStep:
    """`train_step` as `snntha train` calls it."""

    def __init__(self, case: Case, batch: Batch):
        config = case.config
        self.batch = batch
        self.network = SpikingNetwork(config, case.seed).train()
        self.optimizer = optimizers.build(config.optimizer, self.network.parameters())
        start = config.hparams.threshold.start
        self.progress = Progress(thresholds=start, previous_thresholds=start)

    def __call__(self) -> None:
        train_step(self.network, self.optimizer, self.batch, self.progress, half_period=None)


class LoopStep:
    """The same step with the snnTorch loop, which reads dense inputs."""

    def __init__(self, case: Case, batch: Batch):
        self.config = case.config
        assert batch.labels_B is not None
        self.inputs_TBX, self.labels_B = dense(batch.inputs), batch.labels_B
        self.network = SpikingNetwork(self.config, case.seed)
        self.loop = SnnTorchLoop(self.network).train()
        self.optimizer = optimizers.build(self.config.optimizer, self.loop.parameters())
        self.thresholds = self.config.hparams.threshold.start

    def __call__(self) -> None:
        hparams = self.config.hparams
        self.optimizer.zero_grad()
        loss = self.loop.loss(self.loop(self.inputs_TBX), self.labels_B)
        loss.backward()
        if hparams.grad_clip is not None:
            nn.utils.clip_grad_norm_(self.loop.parameters(), hparams.grad_clip)
        if hparams.weight_clip is not None:
            with torch.no_grad():
                for parameter in self.loop.parameters():
                    parameter.clamp_(-hparams.weight_clip, hparams.weight_clip)
        self.optimizer.step()
        self.thresholds = self.network.anneal(self.thresholds)
        self.loop.set_thresholds(self.thresholds)
