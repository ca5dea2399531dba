"""What the page's plots show, as compact plain data: curves thinned and rounded, spikes as lists of indices."""

import math
from pathlib import Path
from typing import Any

from snntha.report.collect import RunRecord, TrialRecord

MOST_EPOCHS = 250  # of one curve
MOST_NEURONS = 200  # rows of one raster
MOST_TRACES = 4  # output membranes of one trial
SCALARS = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy", "learning_rate")
PER_LAYER = ("thresholds", "firing_rate", "dead_fraction", "silenced_by_threshold")


def run_data(run: RunRecord) -> dict[str, Any]:
    """Everything that the plots of one run need; null where a record lacks it."""
    return {
        "selection": run.selection or "selection",
        "trials": [_trial_data(run, trial) for trial in run.trials],
    }


def _trial_data(run: RunRecord, trial: TrialRecord) -> dict[str, Any]:
    epochs = thin(trial.metrics, MOST_EPOCHS)
    return {
        "number": trial.number + 1,
        "epoch": [epoch["epoch"] for epoch in epochs],
        **{key: [_rounded(epoch.get(key)) for epoch in epochs] for key in SCALARS},
        **{key: _layers_over_epochs(epochs, key) for key in PER_LAYER},
        "membranes": [
            {"epoch": epoch["epoch"], "values": list(map(_rounded, epoch["output_membrane"]))}
            for epoch in thin([epoch for epoch in trial.metrics if epoch.get("output_membrane")], MOST_TRACES)
        ],
        **_activity(run, trial),
        **_loss_of_other_length(run, len(epochs)),
    }


def _loss_of_other_length(run: RunRecord, epochs: int) -> dict[str, Any]:
    """The loss grows with the time steps: where validation has another number, its loss is no match for training's."""
    steps = run.setting("dataset.test_time_steps", int)
    if steps is None or steps == run.setting("dataset.time_steps", int):
        return {"loss_note": ""}
    return {
        "validation_loss": [None] * epochs,
        "loss_note": f"Validation, over {steps} steps, has another scale",
    }


def thin(items: list[Any], most: int) -> list[Any]:
    """At most so many, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return items
    return [items[round(place * (len(items) - 1) / (most - 1))] for place in range(most)]


def _layers_over_epochs(epochs: list[dict[str, Any]], key: str) -> list[list[float | None]]:
    """One list over epochs for each layer; null in epochs that lack the key."""
    values = [epoch.get(key) or [] for epoch in epochs]
    layers = max(map(len, values), default=0)
    return [[_rounded(row[number] if number < len(row) else None) for row in values] for number in range(layers)]


def _activity(run: RunRecord, trial: TrialRecord) -> dict[str, Any]:
    """Rasters and confusion matrix of activity_end.pt."""
    path = trial.folder / "activity_end.pt"
    if not path.is_file():
        if trial.entry and not trial.failed:
            run.problems.append(f"trial {trial.number + 1}: activity_end.pt is missing, so there are no rasters")
        return {"rasters": [], "confusion": None}
    try:
        return _load_activity(path)
    except Exception as error:  # torch.load documents no closed set of errors for a damaged file
        run.problems.append(f"trial {trial.number + 1}: activity_end.pt cannot be read ({type(error).__name__})")
        return {"rasters": [], "confusion": None}


def _load_activity(path: Path) -> dict[str, Any]:
    import torch

    activity = torch.load(path, map_location="cpu", weights_only=True)
    sample, confusion = activity["sample"], activity.get("confusion")
    inputs = sample["input"]
    rasters = [_raster("the input", inputs)] if inputs.dtype == torch.uint8 else [_image(inputs)]
    rasters += [_raster(f"layer {number}", spikes) for number, spikes in enumerate(sample["spikes_TN"], start=1)]
    return {
        "rasters": rasters,
        "label": sample["label"],
        "confusion": None if confusion is None else confusion.tolist(),
    }


def _raster(name: str, spikes_TN) -> dict[str, Any]:
    """Steps and neurons of the spikes; of a wide layer every k-th neuron."""
    steps, neurons = spikes_TN.shape
    every = math.ceil(neurons / MOST_NEURONS)
    step, neuron = spikes_TN[:, ::every].nonzero(as_tuple=True)
    return {
        "name": name,
        "steps": steps,
        "neurons": neurons,
        "every": every,
        "step": step.tolist(),
        "neuron": (neuron * every).tolist(),
    }


def _image(image_X) -> dict[str, Any]:
    """A static input, its channels averaged; one row where it is not an image."""
    image_HW = image_X.mean(0) if image_X.ndim == 3 else image_X.reshape(1, -1)
    return {"name": "input", "image": [[_rounded(value) for value in row] for row in image_HW.tolist()]}


def _rounded(value: float | None) -> float | None:
    """Five significant digits, more than a screen shows."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")
