"""Events with a time become counts per time step: floor((t - t_first) / bin), nothing interpolated, nothing clipped.

Times are whole microseconds, so that an event on the edge of two bins falls into the later one whatever its float
representation was.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
class Recording:
    """One sample as a file holds it: events in any order."""

    times_us: NDArray[np.int64]
    index: NDArray[np.int64]  # of the input that fired, channels-last as in `Events`
    label: int
    group: int  # speaker or subject


@dataclass(frozen=True)
class Binning:
    """How time becomes steps: `time_steps` bins of `bin_us`, of which only those before `duration_us` are filled."""

    time_steps: int
    bin_us: int
    duration_us: int

    @classmethod
    def of(cls, dataset: Dataset, time_steps: int) -> "Binning":
        """From `dataset.bin_ms` and `dataset.window`, which is 'full' or 'first_T_ms'."""
        assert dataset.bin_ms is not None
        bin_us = round(dataset.bin_ms * 1000)
        return cls(time_steps, bin_us, time_steps * (min(bin_us, 1000) if dataset.window == "first_T_ms" else bin_us))


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
    subject = f"dataset={dataset.name}: the median recording of the {part} set"
    window = f"dataset.time_steps={binning.time_steps} of dataset.bin_ms={binning.bin_us / 1000:g}"
    remedy = "make the window as long as the recordings by dataset.bin_ms and dataset.time_steps"
    if found := suspicion(subject, unit, usage, binning, window, remedy):
        sentence, is_lost = found
        if is_lost:
            raise DataError(sentence)
        yield sentence
    if usage.inputs < _FEW_INPUTS * inputs:
        yield (
            f"dataset={dataset.name}: {usage.inputs} of {inputs} inputs ever fire in the {part} set; "
            f"are channels or pixels numbered from 0 and unscaled?"
        )


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


def microseconds(times: NDArray[np.number], unit_us: int) -> NDArray[np.int64]:
    """Times in units of `unit_us` microseconds, rounded to whole microseconds; float16 is widened first."""
    if np.issubdtype(times.dtype, np.integer):
        return times.astype(np.int64) * unit_us
    return np.rint(times.astype(np.float64) * unit_us).astype(np.int64)


def bin_events(recording: Recording, binning: Binning, inputs: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Counts of one recording, as (events in each step, shape (T,); their inputs, ascending within a step).

    An input that fired n times in a step stands there n times.
    """
    elapsed_us = recording.times_us - recording.times_us.min(initial=np.iinfo(np.int64).max)
    kept = elapsed_us < binning.duration_us
    step = elapsed_us[kept] // binning.bin_us
    cells = np.sort(step * inputs + recording.index[kept])
    return np.bincount(cells // inputs, minlength=binning.time_steps), cells % inputs
