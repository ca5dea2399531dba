"""What a configuration leaves to the data: shape, classes, network, and with hparams=auto the numbers of `tuning`."""

from typing import Any

from snntha import config as configuration
from snntha import data as datasets
from snntha import topology
from snntha.config import Config
from snntha.errors import UserError


def follow(config: Config) -> Config:
    """The configuration with everything said; the same where nothing was left open.

    Raises:
        UserError: the data are missing or damaged, or do not fit what the configuration does say.
    """
    config = configuration.merged(config, changes) if (changes := _described(config)) else config
    if not configuration.open_numbers(config):
        return config
    from snntha import tuning

    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    return configuration.merged(config, tuning.tune(config, data))


def _described(config: Config) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    if found := datasets.describe(config.dataset):
        changes["dataset"] = found
    shape = tuple(found.get("input_shape", config.dataset.input_shape))
    if config.model.topology == "auto":
        changes["model"] = {"topology": topology.default(shape, found.get("classes", config.dataset.classes))}
    if config.hparams.name == "auto":
        if config.dataset.name == "temporal_coding":
            raise UserError("hparams=auto is for data with classes: leave it out with dataset=temporal_coding")
        layers = topology.parse(changes.get("model", vars(config.model))["topology"], shape)
        if config.hparams.batch_norm and all(layer.kind == "dense" for layer in layers):
            changes["hparams"] = {"batch_norm": False}
    return changes
