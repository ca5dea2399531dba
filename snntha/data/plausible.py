"""What looks wrong about recordings: their unit of time, their length, padding, inputs that never fire."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snntha.binning import Binning
from snntha.config.schema import Dataset
from snntha.data.files import DataError

UNITS_US = {"seconds": 1_000_000, "milliseconds": 1000, "microseconds": 1}
_PLAUSIBLE_US = (5e4, 3e7)  # how long a spoken digit or a gesture lasts, with room on both sides
# Of the median recording; below the first it is nearly lost, below the second odd.
_KEPT = (0.01, 0.1)  # share of its events
_USED = (0.02, 0.1)  # share of the time steps
_FEW_INPUTS = 0.05  # share of the inputs that ever fire
_PADDING = (3, 0.01)  # events at time 0 in input 0: so many, and so large a share of a recording, are no events


@dataclass(frozen=True)
class Usage:
    """What binning made of a split: medians over its recordings, and inputs. It shows a wrong unit."""

    kept: float  # share of a recording's events inside the window
    steps: float  # time steps up to the last of these
    span_us: float  # from the first event to the last
    inputs: int  # that ever fire


def suspicions(dataset: Dataset, part: str, unit: str, usage: Usage, binning: Binning, inputs: int) -> Iterator[str]:
    """What is odd about a split; `unit` is that of the file's times.

    Raises:
        DataError: the median recording is nearly lost: outside the window, or in one or a few steps.
    """
    used = usage.steps / binning.time_steps if usage.steps > 1 or binning.time_steps == 1 else 0.0
    sentence = (
        f"dataset={dataset.name}: the median recording of the {part} set lasts {usage.span_us / 1e6:g} s, times read "
        f"as {unit}; {usage.kept:.2%} of its events lie in the window, and fill {usage.steps:g} of "
        f"dataset.time_steps={binning.time_steps} of dataset.bin_ms={binning.bin_us / 1000:g}"
    )
    remedy = "make the window as long as the recordings by dataset.bin_ms and dataset.time_steps"
    if hint := other_unit(usage.span_us / UNITS_US[unit], unit):
        remedy = f"times{hint}: convert them to {unit}"
    if usage.kept < _KEPT[0] or used < _USED[0]:
        raise DataError(f"{sentence}; {remedy}")
    if usage.kept < _KEPT[1] or used < _USED[1]:
        yield f"{sentence}; {remedy}"
    if usage.inputs < _FEW_INPUTS * inputs:
        yield (
            f"dataset={dataset.name}: {usage.inputs} of {inputs} inputs ever fire in the {part} set; "
            f"are channels or pixels numbered from 0 and unscaled?"
        )


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
