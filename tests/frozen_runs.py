"""Runs whose networks were not trained but drawn: weights, biases and BatchNorm of a size that makes neurons fire."""

from pathlib import Path

import torch

from snntha.config import compose
from snntha.network import SpikingNetwork
from snntha.progress import Progress
from snntha.records import Run

DIGITS = ("dataset=digits", "model.topology=6Conv3-AP2-54Dense10", "dataset.time_steps=12")
SHD = ("dataset=shd", "mode=annealed", "model.topology=700Dense24Dense20", "dataset.time_steps=20")
DELAYS = (*SHD, "hparams.delays=[15,5]")
RECURRENT = (*SHD[:2], "model.topology=700Dense24R-Dense20", "dataset.time_steps=20", "hparams.delays=[7,3]")
BETAS = (*SHD, "hparams.beta_scope=neuron", "hparams.beta_spread=0.6")
DVS = ("dataset=dvs_gesture", "model.topology=4Conv5-AP2-6Conv5-AP2-150Dense11", "dataset.test_time_steps=15")


def write_run(folder: Path, *overrides: str, fingerprint: str = "drawn") -> Path:
    """A run's folder with the checkpoint `best` of a drawn network."""
    config = compose([*overrides, f"output_dir={folder}"])
    network = SpikingNetwork(config, seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for synapse in network.synapses:
            if synapse.bias is not None:
                synapse.bias.uniform_(-0.5, 0.5, generator=generator)
            if synapse.norm is not None:
                assert synapse.norm.running_mean is not None and synapse.norm.running_var is not None
                synapse.norm.weight.uniform_(0.5, 2, generator=generator)
                synapse.norm.weight[0] *= -1
                synapse.norm.bias.uniform_(0, 1, generator=generator)
                synapse.norm.running_mean.uniform_(-0.5, 0.5, generator=generator)
                synapse.norm.running_var.uniform_(0.2, 2, generator=generator)
    run = Run.create(config, fingerprint)
    thresholds = [1.3, *[3.7] * (len(network.specs) - 1)]
    progress = Progress(thresholds=thresholds, previous_thresholds=thresholds, epoch=1)
    run.seed(0).save_checkpoint("best", network, progress)
    entry = {"seed": 0, "epochs": 3, "best_epoch": 1, "validation_accuracy": 50.0, "test_accuracy": 40.0}
    run.write_summary({"dataset": config.dataset.name, "mode": config.mode.name, "trials": [entry]})
    return folder
