"""Alternating rounds of the two steps, after parity held."""

import statistics
import timeit
from collections.abc import Callable
from dataclasses import dataclass

from snntha.bench import parity
from snntha.bench.parity import Parity
from snntha.bench.steps import LoopStep, OurStep
from snntha.bench.workload import Workload


@dataclass(frozen=True)
class Timing:
    """Seconds of every round, in order; a round is one step of each."""

    ours: list[float]
    loop: list[float]
    parity: Parity

    @property
    def our_median(self) -> float:
        return statistics.median(self.ours)

    @property
    def loop_median(self) -> float:
        return statistics.median(self.loop)

    @property
    def ratio(self) -> float:
        """How many times faster: quotient of the medians."""
        return self.loop_median / self.our_median

    @property
    def ratio_range(self) -> tuple[float, float]:
        """Smallest and largest quotient of one round."""
        ratios = [loop / ours for ours, loop in zip(self.ours, self.loop, strict=True)]
        return min(ratios), max(ratios)


def compare(workload: Workload, repeats: int) -> Timing:
    """Check parity, then time `repeats` rounds; one round before them warms up and is not counted.

    Raises:
        ParityError: the two do not compute the same.
    """
    agreement = parity.measure(workload)
    agreement.check()
    our_step, loop_step = OurStep(workload), LoopStep(workload)
    rounds = [(seconds(our_step), seconds(loop_step)) for _ in range(repeats + 1)][1:]
    return Timing([ours for ours, _ in rounds], [loop for _, loop in rounds], agreement)


def seconds(action: Callable[[], object]) -> float:
    """Wall-clock time of one call."""
    return timeit.timeit(action, number=1)


def median_seconds(action: Callable[[], object], repeats: int) -> float:
    """Of `repeats` calls after one that is not counted."""
    return statistics.median(timeit.repeat(action, number=1, repeat=repeats + 1)[1:])
