"""The accuracies of the paper's Tables 1 and 2, to stand beside ours, and the sizes of its data sets."""

from functools import cache
from importlib import resources
from typing import Any, NamedTuple

import yaml

PUBLISHED_SAMPLES = {  # training, test
    "mnist": (60_000, 10_000),
    "fashion_mnist": (60_000, 10_000),
    "dvs_gesture": (1077, 264),
    "shd": (8156, 2264),
}


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
