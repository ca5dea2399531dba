"""Events with a time become counts per time step: floor((t - t_first) / bin), nothing interpolated, nothing clipped.

Times are whole microseconds, so that an event on the edge of two bins falls into the later one whatever its float
representation was. Training's data and `runtime` bin by this; it needs numpy alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from snntha.config.schema import Dataset


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
    def of(cls, dataset: Dataset, time_steps: int) -> Binning:
        """From `dataset.bin_ms` and `dataset.window`, which is 'full' or 'first_T_ms'."""
        assert dataset.bin_ms is not None
        bin_us = round(dataset.bin_ms * 1000)
        return cls(time_steps, bin_us, time_steps * (min(bin_us, 1000) if dataset.window == "first_T_ms" else bin_us))


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
