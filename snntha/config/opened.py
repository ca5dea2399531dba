"""What a configuration leaves for the data to say; `snntha.follow` asks them."""

from snntha.config.schema import Config


def is_open(config: Config) -> bool:
    """Whether something is left for the data to say: their shape, the network, or numbers."""
    unknown = not config.dataset.input_shape or not config.dataset.classes
    return unknown or config.model.topology == "auto" or bool(open_numbers(config))


def open_numbers(config: Config) -> list[str]:
    """Keys that hparams=auto leaves to the data."""
    hparams = config.hparams
    numbers = {"optimizer.lr": config.optimizer.lr, "hparams.slope": hparams.slope}
    if hparams.name != "auto":
        return []
    if config.mode.anneal:
        numbers |= {"hparams.threshold.rise": hparams.threshold.rise, "hparams.threshold.rate": hparams.threshold.rate}
    return [key for key, value in {**numbers, "hparams.threshold.start": hparams.threshold.start}.items() if not value]
