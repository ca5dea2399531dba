"""What looks wrong about recordings: their unit of time, their length, padding, inputs that never fire."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snntha.binning import Binning

UNITS_US = {"seconds": 1_000_000, "milliseconds": 1000, "microseconds": 1}
_PLAUSIBLE_US = (5e4, 3e7)  # how long a spoken digit or a gesture lasts, with room on both sides
# Of the median recording; below the first it is nearly lost, below the second odd.
_KEPT = (0.01, 0.1)  # share of its events
_USED = (0.02, 0.1)  # share of the time steps
_PADDING = (3, 0.01)  # events at time 0 in input 0: so many, and so large a share of a recording, are no events


@dataclass(frozen=True)
class Usage:
    """What binning made of a split: medians over its recordings, and inputs. It shows a wrong unit."""

    kept: float  # share of a recording's events inside the window
    steps: float  # time steps up to the last of these
    span_us: float  # from the first event to the last
    inputs: int  # that ever fire


def suspicion(
    subject: str, unit: str, usage: Usage, binning: Binning, window: str, remedy: str
) -> tuple[str, bool] | None:
    """What is odd about how a recording, the subject of the sentence, lies in a window, and whether it is nearly lost.

    Args:
        unit: in which its times were read.
        window: the steps there are, in words.
        remedy: where its times do not look like those in another unit.
    """
    used = usage.steps / binning.time_steps if usage.steps > 1 or binning.time_steps == 1 else 0.0
    if usage.kept >= _KEPT[1] and used >= _USED[1]:
        return None
    if hint := other_unit(usage.span_us / UNITS_US[unit], unit):
        remedy = f"times{hint}: convert them to {unit}"
    sentence = (
        f"{subject} lasts {usage.span_us / 1e6:g} s, times read as {unit}; {usage.kept:.2%} of its events lie in the "
        f"window, and fill {usage.steps:g} of {window}; {remedy}"
    )
    return sentence, usage.kept < _KEPT[0] or used < _USED[0]


def other_unit(span: float, unit: str) -> str:
    """What to say of a recording that is one of a word or a gesture only in another unit than this; else nothing."""
    shortest, longest = _PLAUSIBLE_US
    fitting = [name for name, us in UNITS_US.items() if shortest <= span * us <= longest]
    return f", which look like {fitting[0]}" if fitting and unit not in fitting else ""


def are_whole(values: NDArray) -> bool:
    """Whether these are integers, or floats without a fraction; NaN and other kinds are none."""
    kind = values.dtype.kind
    return kind in "iu" or (kind == "f" and bool(np.all(np.isfinite(values) & (np.floor(values) == values))))


def is_padded(times: NDArray[np.number], zero: NDArray[np.bool_]) -> bool:
    """Whether a recording was filled up with zeros, which would become spikes of input 0 at its beginning.

    Args:
        zero: of each event, whether its input, too, is all zeros.
    """
    count = int(np.count_nonzero(zero & (times == 0)))
    return count >= _PADDING[0] and count > _PADDING[1] * len(times)
