"""How strictly binary a network is, checked on its numbers: what keeps it from plain 1-bit hardware."""

from collections.abc import Callable
from typing import Literal

import numpy as np

from snntha.errors import UserError
from snntha.runtime.integer import BITS, SHIFTS, representable
from snntha.runtime.network import FrozenLayer, FrozenNetwork

Strictness = Literal["weights", "thresholds", "multiplier_free"]


def breaches(network: FrozenNetwork) -> dict[Strictness, list[str]]:
    """What breaks each property; an empty list where the network has it.

    weights: every weight is +1 or -1. thresholds: BatchNorm folds into one threshold a layer, which it does if its
    scales differ in sign alone. multiplier_free: no float scale is left, and beta is 1 minus at most
    SHIFTS powers of two.
    """
    found: dict[Strictness, list[str]] = {"weights": [], "thresholds": [], "multiplier_free": []}
    for number, layer in enumerate(network.layers, start=1):
        name = f"layer {number} ({layer.shape.kind})"
        if not layer.binary:
            found["weights"].append(f"{name} has float weights")
        if layer.scale_C is not None and len(np.unique(np.abs(layer.scale_C))) > 1:
            found["thresholds"].append(f"{name} has BatchNorm scales that need a threshold for each channel")
        if not layer.binary or layer.scale_C is not None:
            found["multiplier_free"].append(f"{name} multiplies by float {'scales' if layer.binary else 'weights'}")
        for beta in np.unique(layer.beta):
            if np.float32(representable(BITS["int16"], float(beta)).beta) != beta:
                found["multiplier_free"].append(
                    f"{name} has beta {beta:g}, which is not 1 minus {SHIFTS} powers of two"
                )
                break
    return found


def require(network: FrozenNetwork, strict: Strictness) -> None:
    """Raises UserError with every breach of a property."""
    if broken := breaches(network)[strict]:
        raise UserError(f"strict={strict}: {'; '.join(broken)}: train another configuration, or leave strict out")


class CannotSay(UserError):
    """A format has no words for what a network has."""


BETAS = "betas of single neurons"
_BEYOND: dict[str, Callable[[FrozenLayer], bool]] = {
    "delays": lambda layer: layer.delay_I is not None,
    "recurrent weights": lambda layer: layer.recurrent_NM is not None,
    BETAS: lambda layer: layer.beta.size > 1,
}


def refuse_beyond(network: FrozenNetwork, form: str, *, but: str | None = None) -> None:
    """Raises CannotSay where layers have what the paper's have not, `but` what the format can say of it."""
    for what, has in _BEYOND.items():
        layers = [str(number) for number, layer in enumerate(network.layers, start=1) if has(layer)]
        if layers and what != but:
            raise CannotSay(
                f"format={form} cannot say {what}, which layer {', '.join(layers)} has: export format=packed, or "
                f"format=nir with profile=exact"
            )


def describe(network: FrozenNetwork) -> str:
    """`strict: weights; not thresholds, multiplier_free`, for a line beside a network."""
    broken = breaches(network)
    kept = [name for name, problems in broken.items() if not problems]
    others = [name for name, problems in broken.items() if problems]
    return "; ".join([f"strict: {', '.join(kept) or 'nothing'}", *([f"not {', '.join(others)}"] if others else [])])
