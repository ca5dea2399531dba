"""From runs to results: one for each setting, over all its seeds."""

import json
import statistics
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snntha.config import CHOICES
from snntha.folder import RunFolder, SeedFolder

# Keys of config.yaml that leave the result of a seed as it is. Of the folders of the data, the fingerprint tells what
# was in them.
_NOT_A_SETTING = {
    *("seed", "trials", "device", "backend", "threads", "resume", "output_dir", "logger", "plots"),
    *("dataset.root", "dataset.cache", "dataset.download", "dataset.title"),
    *("hparams.name", "hparams.dataset", "hparams.mode"),
}
_OWN_COLUMN = {"dataset.name", "mode.name", "fidelity.name", "selection", "epochs"}


@dataclass
class Result:
    """Runs with one setting on the same data and their seeds, each once: the latest run's where it ended."""

    runs: list[RunFolder]
    seeds: list[SeedFolder]
    setting: str = ""  # what distinguishes it from the other results of this data set, mode and fidelity

    @property
    def run(self) -> RunFolder:
        """The latest, which speaks for all where they agree."""
        return self.runs[-1]

    @property
    def ended(self) -> list[SeedFolder]:
        return [seed for seed in self.seeds if seed.state == "finished"]

    @property
    def averaged(self) -> list[SeedFolder]:
        """The seeds that a row speaks of: those that ended, or all until one has ended."""
        return self.ended or self.seeds

    def mean(self, key: str) -> float | None:
        """Over the seeds that have this entry of summary.json."""
        return mean_of(seed.entry.get(key) for seed in self.ended)

    def per_layer(self, quantity: str) -> tuple[list[float], str]:
        """Mean over `averaged` for each layer, and what it was measured on."""
        known = [(values, on) for values, on in (seed.per_layer(quantity) for seed in self.averaged) if values]
        return layer_means(values for values, _ in known), " and ".join(sorted({on for _, on in known}))


def group(runs: list[RunFolder]) -> list[Result]:
    """Runs on the same data whose configuration differs in the seed only are one result, in the paper's order."""
    by_setting: dict[str, list[RunFolder]] = defaultdict(list)
    for run in runs:  # oldest first
        key = json.dumps([run.dataset, run.mode, run.data_fingerprint, settings(run)], sort_keys=True)
        by_setting[key if run.config else str(run.folder)].append(run)
    results = [Result(same, _latest_of_each_seed(same)) for same in by_setting.values()]
    _name_settings(results)
    return sorted(results, key=lambda result: _paper_order(result.run))


def settings(run: RunFolder) -> dict[str, Any]:
    """Flat configuration, `"hparams.beta": 0.9`, without what does not change a seed's result."""
    return {key: v for key, v in run.settings.items() if key not in _NOT_A_SETTING and not key.startswith("search.")}


def _latest_of_each_seed(runs: list[RunFolder]) -> list[SeedFolder]:
    """A later run's seeds replace an earlier one's, no failed one replaces one that ended; of one run all stay."""
    seeds = [seed for run in runs for seed in run.seeds]
    failed_first = sorted(seeds, key=lambda seed: not seed.failed)  # later entries overwrite earlier ones
    counting = {seed.entry.get("seed"): seed.run for seed in failed_first if seed.entry}
    return [seed for seed in seeds if not seed.entry or counting[seed.entry.get("seed")] is seed.run]


def _name_settings(results: list[Result]) -> None:
    """Fill `setting` with the keys, and the data, that differ among results of one data set, mode and fidelity."""
    alike: dict[tuple[str, str, str | None], list[Result]] = defaultdict(list)
    for result in results:
        alike[result.run.dataset, result.run.mode, result.run.fidelity].append(result)
    for same in alike.values():
        flat = [{**settings(result.run), "data": result.run.data_fingerprint} for result in same]
        keys = dict.fromkeys(key for values in flat for key in values if key not in _OWN_COLUMN)
        differing = [key for key in keys if len({json.dumps(values.get(key)) for values in flat}) > 1]
        for result, values in zip(same, flat, strict=True):
            result.setting = " ".join(_worded(key, values[key]) for key in differing if key in values)


def _worded(key: str, value: Any) -> str:
    """As on a command line, `hparams.dropout=[0.5]`; of data the beginning of the fingerprint, of each of its parts."""
    if key == "data":
        return "data unknown" if value is None else f"data {'-'.join(part[:8] for part in value.split('-'))}"
    return f"{key}={value if isinstance(value, str) else json.dumps(value, separators=(',', ':'))}"


def _paper_order(run: RunFolder) -> tuple[int, int, str, str]:
    datasets, modes = [*CHOICES["dataset.name"], run.dataset], [*CHOICES["mode.name"], run.mode]  # others come last
    return datasets.index(run.dataset), modes.index(run.mode), run.dataset, run.created


def layer_means(lists: Iterable[list[float] | None]) -> list[float]:
    """Of each layer the mean over the known lists."""
    return [statistics.fmean(values) for values in zip(*filter(None, lists), strict=False)]


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the known values."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None
