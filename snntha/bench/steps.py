"""The two training steps that are compared: forward, backward, clips, optimizer and threshold update."""

from dataclasses import replace

import torch
from torch import nn

from snntha import optimizer as optimizers
from snntha.bench.cases import TRAINED_AFTER, TRAINING_SAMPLES, Case, dense
from snntha.bench.workload import Workload
from snntha.network import SpikingNetwork
from snntha.progress import Progress
from snntha.snntorch_loop import SnnTorchLoop
from snntha.train import train_step


class OurStep:
    """`train_step` as `snntha train` calls it."""

    def __init__(self, workload: Workload):
        self.batch = workload.batch
        self.network = workload.network()
        self.optimizer = optimizers.build(workload.config.optimizer, self.network.parameters())
        thresholds = workload.thresholds
        self.progress = Progress(thresholds=thresholds, previous_thresholds=thresholds)

    def __call__(self) -> None:
        train_step(self.network, self.optimizer, self.batch, self.progress, half_period=None)


class LoopStep:
    """The same step with the snnTorch loop, which reads dense inputs."""

    def __init__(self, workload: Workload):
        self.config, batch = workload.config, workload.batch
        assert batch.labels_B is not None
        self.inputs_TBX, self.labels_B = dense(batch.inputs), batch.labels_B
        self.network = workload.network()
        self.loop = SnnTorchLoop(self.network).train()
        self.loop.set_thresholds(workload.thresholds)
        self.optimizer = optimizers.build(self.config.optimizer, self.loop.parameters())
        self.thresholds = workload.thresholds

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


def train_for(case: Case, minibatches: int) -> Workload:
    """The case's network after so many minibatches of training, and the next one."""
    network = SpikingNetwork(case.config, case.seed)
    thresholds = case.config.hparams.threshold.start
    name = f"{case.dataset} {'trained' if minibatches else 'untrained'}"
    samples = TRAINING_SAMPLES[case.dataset]
    start = Workload(name, case.config, case.batch(0), samples, network.state_dict(), thresholds)
    step = OurStep(start)
    for number in range(minibatches):
        step.batch = case.batch(number)
        step()
    state = step.network.state_dict()
    return replace(start, batch=case.batch(minibatches), weights=state, thresholds=step.progress.thresholds)


def trained(case: Case) -> Workload:
    """The case's network at the activity that it keeps when it has learned something."""
    return train_for(case, TRAINED_AFTER[case.dataset])
