"""Run folders as training writes them, without training."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch

from snntha import config as configuration
from snntha.published import PUBLISHED_FINGERPRINTS, PUBLISHED_SAMPLES
from snntha.topology import parse

EPOCHS = 3


@cache
def config_text(dataset: str, mode: str, *overrides: str) -> str:
    return configuration.to_yaml(
        configuration.compose([f"dataset={dataset}", f"mode={mode}", f"epochs={EPOCHS}", "output_dir=x", *overrides])
    )


def write_run(
    folder: Path,
    accuracies: list[float],
    *,
    dataset: str = "shd",
    mode: str = "annealed",
    first_seed: int = 0,
    overrides: tuple[str, ...] = (),
    activity: bool = True,
    fingerprint: str = "",
) -> dict[str, Any]:
    """A finished run of one trial for each test accuracy; returns its summary."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config_text(dataset, mode, *overrides))
    config = configuration.from_yaml(folder / "config.yaml")
    neurons = [shape.neurons for shape in parse(config.model.topology, tuple(config.dataset.input_shape))]
    environment = {
        "created": f"2026-01-01T00:00:{first_seed:02}+00:00",
        "command": f"snntha train dataset={dataset} mode={mode}",
        "commit": "0123abc",
        "python": "3.11.7",
        "versions": {"snntha": "0.1.0", "torch": "2.14.1"},
        "machine": {"processor": "test"},
        "data_fingerprint": fingerprint or PUBLISHED_FINGERPRINTS.get(dataset, "f" * 32),
        "samples": PUBLISHED_SAMPLES.get(dataset),
    }
    (folder / "environment.json").write_text(json.dumps(environment))
    trials = []
    for number, accuracy in enumerate(accuracies):
        trial = folder / f"trial_{number}"
        trial.mkdir()
        lines = [json.dumps(_epoch(epoch, accuracy, len(neurons))) + "\n" for epoch in range(1, EPOCHS + 1)]
        (trial / "metrics.jsonl").write_text("".join(lines))
        if activity:
            torch.save(_activity(neurons), trial / "activity_end.pt")
        trials.append(
            {
                "seed": first_seed + number,
                "epochs": EPOCHS,
                "best_epoch": 2,
                "best_score": accuracy + 1,
                "validation_accuracy": accuracy + 1,
                "test_accuracy": accuracy,
                "seconds": 12.5,
                "test_firing_rate": [0.02 * (layer + 1) for layer in range(len(neurons))],
                "test_dead_fraction": [0.25] * len(neurons),
            }
        )
    summary = {
        "dataset": dataset,
        "mode": mode,
        "fidelity": config.fidelity.name,
        "selection": config.selection,
        "trials": trials,
        "test_accuracy": {"best": max(accuracies), "mean": sum(accuracies) / len(accuracies), "std": None},
        "footprint_bits": 2256704,
    }
    (folder / "summary.json").write_text(json.dumps(summary))
    return summary


def _epoch(epoch: int, accuracy: float, layers: int) -> dict[str, Any]:
    return {
        "epoch": epoch,
        "iteration": 10 * epoch,
        "train_loss": 3.0 / epoch,
        "train_accuracy": accuracy,
        "validation_loss": 3.5 / epoch,
        "validation_accuracy": accuracy + 1,
        "selection": "validation",
        "learning_rate": 0.001,
        "seconds": 4.0 * epoch,
        "thresholds": [5.0 + epoch] * layers,
        "firing_rate": [0.1] * layers,
        "dead_fraction": [0.5] * layers,
        "sign_flips": [0.25 / epoch] * layers,
        "silenced_by_threshold": [0.0] * layers,
        "violates_eq5": [0.125] * layers,
        "warnings": [],
    }


def _activity(neurons: list[int]) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    spikes = [(torch.rand(20, number, generator=generator) < 0.05).to(torch.uint8) for number in neurons]
    classes = neurons[-1]
    inputs = (torch.rand(20, 50, generator=generator) < 0.1).to(torch.uint8)
    return {
        "thresholds": [6.0] * len(neurons),
        "sample": {"input": inputs, "label": 1, "spikes_TN": spikes},
        "confusion": torch.eye(classes, dtype=torch.int64),
    }
