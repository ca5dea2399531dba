"""Binarized spiking networks with threshold annealing, after Eshraghian and Lu (2022).

    snntha.load        a trained network, of a run's folder or of a packed file: classes, spikes, accuracy
    snntha.nn          binary layers, spiking neurons and annealing for a PyTorch model of one's own
    snntha.compose     the configuration that a command line of `snntha train` means
    snntha.fit         train it, and return its run's folder

docs/library.md has examples. Importing this is cheap: numpy, PyTorch and Hydra come with what needs them.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from snntha import nn
    from snntha.config import compose
    from snntha.runtime.model import Model

__all__ = ["__version__", "compose", "fit", "load", "nn"]


def load(path: str | Path, *, trial: int = 0, checkpoint: str = "best") -> Model:
    """A trained network, to be called with images or events; what it answers is what training's evaluation does.

    Args:
        path: of a run's folder, or of a packed file of `snntha export`, or a name as `digits_annealed`, which need no
            PyTorch.
        trial: which seed of a run, from 0.
        checkpoint: best or last, of a run.

    Raises:
        UserError: there is none, or it is damaged.
    """
    from snntha.runtime.model import Model, load

    if not Path(path).is_dir():
        return load(path)
    from snntha.export.freeze import freeze

    return Model(freeze(Path(path), trial, checkpoint))


def fit(*overrides: str, quiet: bool = True) -> Path:
    """Train as `snntha train` does with these overrides, `"dataset=mnist", "epochs=3"`, and return the run's folder.

    Args:
        quiet: show nothing; else what the command shows.

    Raises:
        UserError: the configuration is wrong, data are missing, or a seed failed.
    """
    from rich.console import Console

    from snntha.config import compose
    from snntha.run import run

    outcome = run(compose(overrides), console=Console(quiet=quiet))
    _ = outcome.score  # raises where a seed failed
    return outcome.folder


def __getattr__(name: str) -> Any:
    """What is imported when it is first asked for."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("snntha")
    if name == "nn":
        return import_module("snntha.nn")
    if name == "compose":
        return import_module("snntha.config").compose
    raise AttributeError(f"module 'snntha' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
