"""Several seeds as several seeds: one quantity's curve of each, the mean of all, and the range that they span."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Curves:
    """One quantity over the epochs: a curve a seed, shorter where a seed stopped early; None is unknown."""

    of_seeds: Sequence[Sequence[Any]]  # numbers or None, or a list of them for each epoch

    def of_layer(self, layer: int, factor: float = 1) -> "Curves":
        """The numbers of one layer, times the factor."""
        return Curves([[factor * epoch[layer] for epoch in seed] for seed in self.of_seeds])

    @cached_property
    def common(self) -> NDArray[np.float64]:
        """Seeds x epochs, as far as all of them go: a mean over fewer would jump where one ends."""
        length = min(map(len, self.of_seeds))
        return np.array([curve[:length] for curve in self.of_seeds], dtype=float)

    @property
    def mean(self) -> list[float]:
        return self.common.mean(axis=0).tolist()

    @property
    def lowest(self) -> list[float]:
        return self.common.min(axis=0).tolist()

    @property
    def highest(self) -> list[float]:
        return self.common.max(axis=0).tolist()
