"""`snntha eval`: of a run's checkpoint as training evaluates it, or of a packed file as it is deployed."""

import json
from pathlib import Path

import numpy as np
import torch
from rich.console import Group
from rich.text import Text

from snntha import data as datasets
from snntha.config import OPEN, compose
from snntha.data.encoding import encoding
from snntha.errors import UserError
from snntha.export import golden
from snntha.runtime.model import Model, load

_AT_ONCE = 100  # samples


def run_command(
    folder: Path | None,
    model: Path | None,
    checkpoint: str,
    trial: int,
    root: str | None,
    as_json: bool,
    own_class: str | None,
) -> Group | str:
    """The accuracy on the test set, with what the layers do, in words or as one JSON object.

    Raises:
        UserError: neither a run nor a model was named, or both, or the data are not there or of another shape.
    """
    if folder is not None and model is not None:
        raise UserError(f"run={folder} and model={model}: name one of the two")
    if folder is not None:
        from snntha.run import evaluate_run

        return evaluate_run(folder, trial, checkpoint, root, own_class, as_json=as_json)
    if model is None:
        raise UserError("run= is missing: pass run=RUN, or model=NAME, a packed file or a model of snntha")
    return _evaluate_model(load(model), root, as_json)


def _evaluate_model(model: Model, root: str | None, as_json: bool) -> Group | str:
    network, trained = model.network, model.network.trained
    if trained["dataset"] in OPEN:
        raise UserError(f"the model is of dataset={trained['dataset']}: evaluate its run, snntha eval run=RUN")
    config = compose([f"dataset={trained['dataset']}", *([f"dataset.root={root}"] if root else [])])
    if encoding(config.dataset) != network.encoding:
        raise UserError(
            f"the model's input is cut otherwise than that of dataset={config.dataset.name}: export it anew"
        )
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    assert data.test is not None
    correct, spikes = 0, np.zeros(len(network.layers))
    for positions in torch.arange(len(data.test)).split(_AT_ONCE):
        batch = data.test.batch(positions)
        assert batch.labels_B is not None
        spikes_TBN = model.spikes(golden.to_numpy(batch, network.encoding))
        correct += int((spikes_TBN[-1].sum(0).argmax(1) == batch.labels_B.numpy()).sum())
        spikes += [layer_TBN.sum() for layer_TBN in spikes_TBN]
    per_sample = spikes / len(data.test)
    known = trained.get("data_fingerprint") in (None, data.fingerprint)
    if as_json:
        told = {key: trained[key] for key in ("dataset", "mode", "seed", "epoch")}
        accuracy, fired = 100 * correct / len(data.test), per_sample.tolist()
        told |= {"samples": len(data.test), "test_accuracy": accuracy, "spikes_per_sample": fired, "own_data": known}
        return json.dumps(told)
    lines = [
        f"{trained['dataset']} {trained['mode']}, seed {trained['seed']}, epoch {trained['epoch']}, packed file, "
        f"{len(data.test)} test samples",
        f"test accuracy {100 * correct / len(data.test):.2f} %",
        f"spikes a sample {per_sample.sum():,.0f}; of each layer {', '.join(f'{count:,.0f}' for count in per_sample)}",
    ]
    if not known:
        lines.append("note: these are not the data that it was trained on")
    return Group(*map(Text, lines))
