"""What earlier versions wrote: keys that another key has replaced, in files and on old command lines."""

from typing import Any

REPLACED = {  # a key that was copied into another one, and that one, which now stands alone
    "hparams.optimizer": "optimizer.name",
    "hparams.lr": "optimizer.lr",
    "hparams.momentum": "optimizer.momentum",
    "hparams.epochs": "epochs",
    "hparams.patience": "patience",
    "hparams.time_steps": "dataset.time_steps",
    "hparams.bin_ms": "dataset.bin_ms",
    "hparams.target_peak": "dataset.target_peak",
    "fidelity.shd_window": "dataset.window",
    "fidelity.selection": "selection",
}
_FLAT_DEFAULTS = {  # of a flat file of hyperparameters, whatever conf/train.yaml says now
    "dropout": [],
    "batch_norm": False,
    "grad_clip": None,
    "weight_clip": None,
    "cosine_epochs": None,
    "optimizer": "adam",
    "momentum": 0.0,
    "patience": 100,
}


def without_replaced(config: dict[str, Any]) -> dict[str, Any]:
    """A run's config.yaml without the keys that were copied: the copies in it are what the run was trained with."""
    return {
        group: {key: value for key, value in values.items() if f"{group}.{key}" not in REPLACED}
        if isinstance(values, dict)
        else values
        for group, values in config.items()
    }


def as_delta(values: dict[str, Any]) -> dict[str, Any]:
    """A file of hyperparameters as a change of the whole configuration.

    Files of earlier versions are flat, `beta` beside `lr`; those of this one have the groups hparams and optimizer.
    """
    if "hparams" in values:
        return values
    delta: dict[str, Any] = {"hparams": {}, "optimizer": {}, "dataset": {}}
    for key, value in {**_FLAT_DEFAULTS, **values}.items():
        group, _, name = REPLACED.get(f"hparams.{key}", f"hparams.{key}").rpartition(".")
        if group != "dataset" or value is not None:  # null: not tuned, the data set's own
            (delta[group] if group else delta)[name] = value
    return delta
