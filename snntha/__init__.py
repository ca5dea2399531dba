"""Binarized spiking networks with threshold annealing. `load` runs an exported one, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from snntha.runtime import Model


def load(path: str | Path) -> Model:
    """The model in a packed file of `snntha export`, or of a name as `digits_annealed`, to be called with samples.

    Raises:
        UserError: no such file, or a damaged one.
    """
    from snntha.runtime.model import load as load_model

    return load_model(path)
