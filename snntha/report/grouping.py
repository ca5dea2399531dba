"""From runs to results: one for each setting, over all its seeds."""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snntha.config import CHOICES, REPLACED, flatten
from snntha.report.collect import RunRecord, TrialRecord

# Keys of config.yaml that leave the result of a seed as it is, or that copied another one in earlier versions. Of the
# folders of the data, the fingerprint tells what was in them.
_NOT_A_SETTING = {
    *("seed", "trials", "device", "backend", "threads", "resume", "output_dir", "logger", "plots"),
    *("dataset.root", "dataset.cache", "dataset.download"),
    *("hparams.name", "hparams.dataset", "hparams.mode"),
    *REPLACED,
}
_OWN_COLUMN = {"dataset.name", "mode.name", "fidelity.name", "selection", "epochs"}


@dataclass
class Result:
    """Runs with one setting on the same data and their trials, each seed once: the latest run's where it ended."""

    runs: list[RunRecord]
    trials: list[TrialRecord]
    setting: str = ""  # what distinguishes it from the other results of this data set, mode and fidelity

    @property
    def run(self) -> RunRecord:
        """The latest, which speaks for all where they agree."""
        return self.runs[-1]

    @property
    def ended(self) -> list[TrialRecord]:
        return [trial for trial in self.trials if trial.entry and not trial.failed]

    @property
    def averaged(self) -> list[TrialRecord]:
        """The trials that a row speaks of: those that ended, or all until one has ended."""
        return self.ended or self.trials

    def mean(self, key: str) -> float | None:
        """Over the trials that have this entry of summary.json."""
        return mean_of(trial.entry.get(key) for trial in self.ended)

    def per_layer(self, quantity: str) -> tuple[list[float] | None, str]:
        """Mean over `averaged` for each layer, and what it was measured on."""
        measured = [trial.per_layer(quantity) for trial in self.averaged]
        known = [(values, on) for values, on in measured if values]
        if not known:
            return None, ""
        layers = [statistics.fmean(values) for values in zip(*(values for values, _ in known), strict=False)]
        return layers, " and ".join(sorted({on for _, on in known}))

    def identity(self) -> dict[str, Any]:
        """The columns that every table begins with, so that no row is read without its conditions."""
        run = self.run
        return {
            "dataset": run.dataset,
            "mode": run.mode,
            "fidelity": run.fidelity,
            "setting": self.setting,
            "selection": run.selection,
            "epochs": _epochs([trial.epochs for trial in self.averaged], run.setting("epochs", int)),
            "trials": len(self.ended),
        }


def group(runs: list[RunRecord]) -> list[Result]:
    """Runs on the same data whose configuration differs in the seed only are one result.

    Data sets and modes keep the paper's order.
    """
    by_setting: dict[str, list[RunRecord]] = {}
    for run in runs:  # oldest first
        key = json.dumps([run.dataset, run.mode, run.data_fingerprint, settings(run)], sort_keys=True)
        by_setting.setdefault(key if run.config else str(run.folder), []).append(run)
    results = [Result(same, _latest_of_each_seed(same)) for same in by_setting.values()]
    _name_settings(results)
    return sorted(results, key=lambda result: _paper_order(result.run))


def settings(run: RunRecord) -> dict[str, Any]:
    """Flat configuration, `"hparams.beta": 0.9`, without what does not change a seed's result."""
    return {
        key: value for key, value in flatten(run.config) if key not in _NOT_A_SETTING and not key.startswith("search.")
    }


def _latest_of_each_seed(runs: list[RunRecord]) -> list[TrialRecord]:
    """A later run's seeds replace an earlier one's, but a failed trial replaces none that ended.

    Trials of one run stay, even where they share a seed.
    """
    trials = [(run, trial) for run in runs for trial in run.trials]
    failed_first = sorted(trials, key=lambda pair: not pair[1].failed)  # later entries overwrite earlier ones
    counting = {trial.entry.get("seed"): run for run, trial in failed_first if trial.entry}
    return [trial for run, trial in trials if not trial.entry or counting[trial.entry.get("seed")] is run]


def _name_settings(results: list[Result]) -> None:
    """Fill `setting` with the keys, and the data, that differ among results of one data set, mode and fidelity."""
    alike: dict[tuple[str, str, str | None], list[Result]] = {}
    for result in results:
        alike.setdefault((result.run.dataset, result.run.mode, result.run.fidelity), []).append(result)
    for same in alike.values():
        flat = [settings(result.run) for result in same]
        keys = dict.fromkeys(key for values in flat for key in values if key not in _OWN_COLUMN)
        differing = [key for key in keys if len({json.dumps(values.get(key)) for values in flat}) > 1]
        several_data = len({result.run.data_fingerprint for result in same}) > 1
        for result, values in zip(same, flat, strict=True):
            words = [f"{key}={_compact(values[key])}" for key in differing if key in values]
            words += [f"data {_short(result.run.data_fingerprint)}"] * several_data
            result.setting = " ".join(words)


def _paper_order(run: RunRecord) -> tuple[int, int, str, str]:
    dataset, mode = _place(run.dataset, CHOICES["dataset.name"]), _place(run.mode, CHOICES["mode.name"])
    return dataset, mode, run.dataset, run.created


def _compact(value: Any) -> str:
    """As on a command line: `[5.0,9.0]`, `moving`."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))


def _short(fingerprint: str | None) -> str:
    """`7770ec48-13252239`: the beginnings of a fingerprint's parts, of event data one for each split."""
    return "unknown" if fingerprint is None else "-".join(part[:8] for part in fingerprint.split("-"))


def _place(name: str, known: tuple[str, ...]) -> int:
    return known.index(name) if name in known else len(known)


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the known values."""
    known = [value for value in values if value is not None]
    return statistics.fmean(known) if known else None


def _epochs(trained: list[int], limit: int | None) -> str:
    """`87-112 of 500`: what the trials trained, and what they were allowed."""
    done = "-".join(str(number) for number in sorted({min(trained, default=0), max(trained, default=0)}))
    return f"{done} of {'unknown' if limit is None else limit}"
