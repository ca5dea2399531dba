"""The accuracies of the paper's Tables 1 and 2, to stand beside ours, and the sizes of its data sets."""

from collections.abc import Sequence
from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import yaml

PUBLISHED_SAMPLES = {  # training, test; what tells event data from others in the same format
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "dvs_gesture": (1077, 264),
    "shd": (8156, 2264),
}


PUBLISHED_FINGERPRINTS = {  # of images, whose files other data sets have in the same number
    "mnist": "6e970985fcd732d3c56bff8436bd4d0d",
    "fashion_mnist": "a3c342adc5a99fb156dbdf7c47c3703d",
}


def are_published(dataset: str, samples: Sequence[int] | None, fingerprint: str | None) -> bool:
    """Whether data are those of the paper, so that its figures may stand beside theirs.

    Args:
        dataset: the name they were trained under.
        samples: training and test samples, held-out ones with the former; None: unknown, then they are not.
        fingerprint: as in environment.json.
    """
    if dataset in PUBLISHED_FINGERPRINTS:
        return fingerprint == PUBLISHED_FINGERPRINTS[dataset]
    return samples is not None and tuple(samples) == PUBLISHED_SAMPLES.get(dataset)


class Accuracy(NamedTuple):
    """Test accuracy in percent over the trials of one data set and mode."""

    best: float
    mean: float
    std: float  # sample standard deviation


def published(dataset: str, mode: str) -> Accuracy | None:
    """The paper's result (5 trials, selected on the test set), None where it has none."""
    values = stored("published.yaml", "snntha").get(dataset, {}).get(mode)
    return None if values is None else Accuracy(*values)


@cache
def stored(name: str, package: str) -> dict[str, Any]:
    """The content of a YAML file that lies in a package of this project."""
    return yaml.safe_load(resources.files(package).joinpath(name).read_text(encoding="utf-8"))
