"""From a run's checkpoint to a frozen network: every other export reads what this returns."""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from snntha import topology
from snntha.config.schema import Config
from snntha.data.encoding import class_names, encoding
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.kernels import reference
from snntha.kernels.spec import Layer
from snntha.network import SpikingNetwork
from snntha.records import SeedRecord
from snntha.runtime.network import FrozenLayer, FrozenNetwork
from snntha.topology import LayerShape


def freeze(folder: Path, trial: int = 0, checkpoint: str = "best") -> FrozenNetwork:
    """The network of a run's checkpoint as training evaluates it.

    Args:
        folder: of the run.
        trial: its number, from 0.
        checkpoint: best or last.

    Raises:
        UserError: no such run, trial or checkpoint, or a run without classes.
    """
    network, thresholds = load_network(folder, trial, checkpoint)
    config = network.config
    shapes = topology.parse(config.model.topology, tuple(config.dataset.input_shape))
    layers = tuple(map(_freeze_layer, shapes, network.layers(thresholds)))
    trained = _trained(RunFolder(folder), config, trial, checkpoint)
    names = class_names(config.dataset)
    return FrozenNetwork(config.model.topology, layers, encoding(config.dataset), names, trained=trained)


def load_network(folder: Path, trial: int, checkpoint: str) -> tuple[SpikingNetwork, list[float]]:
    """The network of a run's checkpoint in evaluation mode, and its thresholds."""
    record = RunFolder(folder)
    config = record.load_config()
    if config.dataset.name == "temporal_coding":
        raise UserError(f"run={folder}: temporal_coding follows a membrane and has no classes; export another run")
    seed_record = SeedRecord(record.seed(trial).folder)
    network = SpikingNetwork(config, seed=config.seed).eval().requires_grad_(False)
    return network, seed_record.load_checkpoint(checkpoint, network).thresholds


def _freeze_layer(shape: LayerShape, layer: Layer) -> FrozenLayer:
    norm, delay_I = layer.batch_norm, layer.delay_I
    dtype = np.int8 if layer.spec.binary else np.float32
    scale_C = shift_C = None
    if norm is not None:
        affine = reference.affine(norm, norm.running_mean_C.double(), norm.running_var_C.double())
        scale_C, shift_C = (tensor.numpy() for tensor in affine)
    return FrozenLayer(
        shape=shape,
        weight=layer.weight.numpy().astype(dtype),
        bias_N=None if layer.bias_N is None else layer.bias_N.numpy(),
        scale_C=scale_C,
        shift_C=shift_C,
        beta=_frozen_beta(layer.neuron.beta),
        threshold=np.float32(layer.neuron.threshold),
        strict=layer.neuron.strict,
        recurrent_NM=None if layer.recurrent_NM is None else layer.recurrent_NM.numpy().astype(dtype),
        delay_I=None if delay_I is None or not delay_I.any() else delay_I.numpy().astype(np.uint8),
    )


def _frozen_beta(beta: float | Tensor) -> np.float32 | np.ndarray:
    """One number where all are alike."""
    betas = np.atleast_1d(np.float32(beta))
    return betas[0] if (betas == betas[0]).all() else betas


def _trained(record: RunFolder, config: Config, trial: int, checkpoint: str) -> dict[str, Any]:
    """How the network came about, in plain words and numbers; null where the record does not tell."""
    entry = record.seed(trial).entry
    best = checkpoint == "best"
    return {
        "dataset": config.dataset.name,
        "mode": config.mode.name,
        "fidelity": config.fidelity.name,
        "hparams": config.hparams.name,
        "seed": entry.get("seed"),
        "epoch": entry.get("best_epoch" if best else "epochs"),
        "selection": record.selection,
        "validation_accuracy": entry.get("validation_accuracy") if best else None,
        "test_accuracy": entry.get("test_accuracy") if best else None,
        "data_fingerprint": record.data_fingerprint,
        "created": record.created or None,
        "commit": record.environment.get("commit"),
        "snntha": record.environment.get("versions", {}).get("snntha"),
    }
