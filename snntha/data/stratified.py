"""Which samples go into which split: seeded, stratified by class and by speaker or subject."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Strata:
    """What a sample of a set shall represent: classes, and speakers or subjects where the data name them."""

    labels_B: NDArray[np.int64]
    groups_B: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels_B)

    def take(self, positions: NDArray[np.int64]) -> "Strata":
        return Strata(self.labels_B[positions], None if self.groups_B is None else self.groups_B[positions])


@dataclass(frozen=True)
class Positions:
    """The samples of each split; training and validation both point into the training set."""

    train: NDArray[np.int64]
    validation: NDArray[np.int64] | None
    test: NDArray[np.int64]


def hold_out_and_limit(train: Strata, test: Strata, fraction: float | None, limit: int | None, seed: int) -> Positions:
    """Hold out `fraction` of the training set for validation, if any, then keep `limit` samples of each split."""

    def limited(strata: Strata, positions: NDArray[np.int64], stream: int) -> NDArray[np.int64]:
        if limit is None or limit >= len(positions):
            return positions
        return positions[stratified_sample(strata.take(positions), limit, np.random.default_rng([seed, stream]))]

    validation = None
    train_positions = np.arange(len(train))
    if fraction is not None:
        size = min(max(1, round(fraction * len(train))), len(train) - 1)
        held_out = stratified_sample(train, size, np.random.default_rng([seed, 0]))
        train_positions = complement(held_out, len(train))
        validation = limited(train, held_out, stream=1)
    return Positions(
        train=limited(train, train_positions, stream=2),
        validation=validation,
        test=limited(test, np.arange(len(test)), stream=3),
    )


def stratified_sample(strata: Strata, size: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """`size` positions, ascending, with the shares of each class and nearly those of each group in it.

    Systematic sampling: the samples stand in a row, class after class, the groups of a class in random order and the
    samples of a group too; every (len / size)-th is taken. So a class of n samples gives n size / len, rounded
    down or up, and so does each of its groups.
    """
    total = len(strata)
    assert 0 <= size <= total
    groups_B = np.zeros_like(strata.labels_B) if strata.groups_B is None else strata.groups_B
    _, cell_B = np.unique(np.stack([strata.labels_B, groups_B]), axis=1, return_inverse=True)
    rank_of_cell = rng.permutation(cell_B.max() + 1)
    row = np.lexsort((rng.random(total), rank_of_cell[cell_B], strata.labels_B))
    picks = np.floor((np.arange(size) + rng.random()) * total / size).astype(np.int64)
    return np.sort(row[np.minimum(picks, total - 1)])


def complement(positions: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """The other positions below `total`, ascending."""
    return np.setdiff1d(np.arange(total), positions, assume_unique=True)
