"""A class of a user's own module, as docs/data.md has it: recordings in which class k fires in the k-th quarter."""

import numpy as np


class Mine:
    classes = ("low", "middle", "high", "highest")
    sensor_size = (16, 1, 1)

    def __init__(self, root: str, train: bool, samples: int = 24):
        self.rng = np.random.default_rng(int(train))
        self.labels = np.arange(samples) % 4
        self.times = np.sort(self.rng.integers(0, 100_000, (samples, 60)))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, position: int) -> tuple[np.ndarray, int]:
        channels = 4 * self.labels[position] + np.arange(60) % 4
        return np.stack([self.times[position], channels], 1), int(self.labels[position])
