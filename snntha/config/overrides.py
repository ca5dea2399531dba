"""What a command line may change, and what it may not because it would do nothing."""

from collections.abc import Iterable

from snntha.config.migrate import REPLACED
from snntha.errors import ConfigError

CHANGEABLE = ("epochs", "patience", "trials", "threads", "device", "backend", "dataset.root", "dataset.cache")
_READ_BY = {  # keys that some data sets alone read
    "dataset.bin_ms": ("dvs_gesture", "shd"),
    "dataset.window": ("dvs_gesture", "shd"),
    "dataset.target_peak": ("temporal_coding",),
    "dataset.target_step": ("temporal_coding",),
}


def _key(override: str) -> str:
    """`hparams.beta` of `hparams.beta=0.9`, `+hparams.beta=0.9` and `~hparams.beta`."""
    return override.partition("=")[0].lstrip("+~")


def check_names(overrides: Iterable[str]) -> None:
    """Before composing: refuse keys of earlier versions, and say which there are now."""
    for text in overrides:
        if (now := REPLACED.get(_key(text))) is not None:
            raise ConfigError(f"{text}: this key is {now} now: pass {now}={text.partition('=')[2]}")


def check_effect(overrides: Iterable[str], dataset: str) -> None:
    """Refuse what would be accepted and do nothing with this data set."""
    for text in overrides:
        readers = _READ_BY.get(_key(text), (dataset,))
        if dataset not in readers:
            raise ConfigError(f"{text} has no effect: only dataset={' | '.join(readers)} reads it; leave it out")
        if _key(text) == "fidelity.name":
            raise ConfigError(f"{text} is the name of what conf/fidelity sets: choose one with fidelity=...")


def check_resumed(overrides: Iterable[str]) -> None:
    """Only what an interrupted run may change when it goes on."""
    for text in overrides:
        if (key := _key(text)) not in CHANGEABLE:
            raise ConfigError(
                f"{text}: a resumed run keeps its configuration and may change only {', '.join(CHANGEABLE)}; "
                f"leave {key} out, or start a new run without resume"
            )
