"""From the ranges of `search.space` to the values of one trial."""

from collections.abc import Iterator

from optuna import Trial

from snntha.config.schema import Config, Dimension
from snntha.topology import parse

OPTIMIZER, MOMENTUM = "optimizer.name", "optimizer.momentum"


def suggest(config: Config, trial: Trial) -> None:
    """Draw every value that this data set, mode and network need and that the command line has not settled.

    Args:
        config: of the search, without a trial's values.
        trial: its parameters are ranges, its user attributes values from the command line, by override key.
    """
    for key, dimension in dimensions(config):
        if dimension.when == "sgd" and optimizer_of(config, trial) != "sgd":
            continue
        if not _is_settled(key, trial):
            _draw(key, dimension, trial)


def implied(config: Config, trial: Trial) -> list[str]:
    """Overrides that follow from what was drawn: Adam takes no momentum."""
    drawn = trial.params.get(OPTIMIZER) == "adam"
    return [f"{MOMENTUM}=0.0"] if drawn and config.optimizer.momentum > 0 else []


def dimensions(config: Config) -> Iterator[tuple[str, Dimension]]:
    """The space of one data set, mode and network: override keys with their ranges, one a layer where it says so."""
    assert config.search is not None
    layers = parse(config.model.topology, tuple(config.dataset.input_shape))
    dense = sum(layer.kind == "dense" for layer in layers)
    counts = {"layer": len(layers), "dense": dense}
    for name, dimension in config.search.space.items():
        if dimension.datasets and config.dataset.name not in dimension.datasets:
            continue
        if dimension.modes and config.mode.name not in dimension.modes:
            continue
        if dimension.when == "convolution" and dense == len(layers):
            continue
        key = dimension.key or f"hparams.{name}"
        if dimension.each is None:
            yield key, dimension
        else:
            for position in range(counts[dimension.each]):
                yield f"{key}.{position}", dimension


def optimizer_of(config: Config, trial: Trial) -> str:
    """The optimizer of a trial: drawn, or the configuration's."""
    return trial.params.get(OPTIMIZER, config.optimizer.name)


def _draw(key: str, dimension: Dimension, trial: Trial) -> None:
    if dimension.choices:
        trial.suggest_categorical(key, dimension.choices)
    else:
        assert dimension.low is not None and dimension.high is not None
        trial.suggest_float(key, dimension.low, dimension.high, log=dimension.log)


def _is_settled(key: str, trial: Trial) -> bool:
    """The command line gave this key a value or a range of its own, or gave the list that it is an entry of."""
    parent = key.rpartition(".")[0]
    return key in trial.params or key in trial.user_attrs or parent in trial.user_attrs
