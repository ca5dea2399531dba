"""The paper's tables, ours beside the published figures; what stands in which column is said in tables.yaml."""

import statistics
from dataclasses import asdict
from functools import cache
from typing import Any

from snntha.config import compose, flatten
from snntha.folder import RunFolder
from snntha.published import published
from snntha.report.grouping import Result, group, mean_of, settings
from snntha.report.table import Table, stored

PUBLISHED_TRIALS = 5
PUBLISHED_SELECTION = "test"
MOST_KEYS = 3  # that are named of those whose value is not the published one
_PUBLISHED_KEYS = (
    *("model.", "loss.", "hparams.", "optimizer.", "patience"),
    *("dataset.time_steps", "dataset.test_time_steps", "dataset.bin_ms"),
)


def build_tables(runs: list[RunFolder]) -> list[Table]:
    """Accuracies, cost, layers, the networks of Section 5.1, and what is missing in the records."""
    results = group(runs)
    layers = [row for result in results for row in _layer_rows(result)]
    tables = [
        Table.laid_out("results", map(_accuracies, results), _repeated_seeds(results)),
        Table.laid_out("cost", map(_cost, results)),
        Table.laid_out("layers", layers),
        Table.laid_out("lightweight", _lightweight_rows(results)),
    ]
    # last, because reading the epochs for the others may find more
    problems = [{"folder": str(run.folder), "problem": problem} for run in runs for problem in run.problems]
    return [*tables, Table.laid_out("problems", problems)]


def _accuracies(result: Result) -> dict[str, Any]:
    known = [value for seed in result.ended if (value := seed.entry.get("test_accuracy")) is not None]
    paper = published(result.run.dataset, result.run.mode)
    best, mean, sigma = paper or (None, None, None)
    return {
        **result.identity(),
        "selection_accuracy": result.mean("validation_accuracy"),
        "selection_loss": mean_of(seed.selection_loss for seed in result.ended),
        "best": max(known, default=None),
        "mean": mean_of(known),
        "sigma": statistics.stdev(known) if len(known) > 1 else None,
        "published_best": best,
        "published_mean": mean,
        "published_sigma": sigma,
        "unlike_published": "; ".join(_unlike_published(result)) if paper else "",
    }


def _cost(result: Result) -> dict[str, Any]:
    run = result.run
    rates, measured_on = result.per_layer("firing_rate")
    paper = stored("paper.yaml")["annealed"].get(run.dataset, {}) if run.mode == "annealed" else {}
    return {
        **result.identity(),
        "seconds": mean_of(seed.seconds for seed in result.averaged),
        "footprint_bits": run.footprint_bits,
        "weights": sum(layer.weights for layer in run.layers) or None,
        "published_bits": paper.get("printed_bits"),
        "firing_rate": _over_neurons(rates, run),
        "measured_on": measured_on,
    }


def _layer_rows(result: Result) -> list[dict[str, Any]]:
    run = result.run
    rates, measured_on = result.per_layer("firing_rate")
    dead, _ = result.per_layer("dead_fraction")
    start = run.setting("hparams.threshold.start", list)
    final = [seed.best_epoch.get("thresholds") for seed in result.averaged]
    paper = stored("paper.yaml")["dead_neurons"].get(run.dataset, {}).get(run.mode)
    return [
        {
            **result.identity(),
            "layer": number + 1,
            "kind": getattr(_entry(run.layers, number), "kind", None),
            "neurons": getattr(_entry(run.layers, number), "neurons", None),
            "threshold_start": _entry(start, number),
            "threshold_best": mean_of(_entry(thresholds, number) for thresholds in final),
            "firing_rate": _entry(rates, number),
            "dead_fraction": _entry(dead, number),
            "published_dead_fraction": _entry(paper, number),
            "measured_on": measured_on,
        }
        for number in range(len(rates or dead or []))
    ]


def _lightweight_rows(results: list[Result]) -> list[dict[str, Any]]:
    """The networks that Section 5.1 compares, of each data set those of others, the paper's, and ours."""
    annealed = {"network": "annealed, published", "weights_are": "binary", "source": "Eshraghian & Lu (2022)"}
    rows: list[dict[str, Any]] = []
    for dataset, networks in stored("paper.yaml")["lightweight"].items():
        published_row = annealed | stored("paper.yaml")["annealed"][dataset]
        rows += [{"dataset": dataset, "selection": "test", **network} for network in [*networks, published_row]]
        rows += [_own_row(result) for result in results if result.run.dataset == dataset and result.ended]
    return rows


def _own_row(result: Result) -> dict[str, Any]:
    bits = 32 if result.run.mode == "flt32" else 1
    return {
        **result.identity(),
        "network": f"{result.run.mode}, ours",
        "weights_are": "binary" if bits == 1 else "float",
        "accuracy": result.mean("test_accuracy"),
        "weight_bits": sum(bits * layer.weights for layer in result.run.layers) or None,
        "footprint_bits": result.run.footprint_bits,
        "source": "this report",
        "remark": result.setting,
    }


def _unlike_published(result: Result) -> list[str]:
    """What forbids to read the row as a repetition of the published experiment."""
    run, found = result.run, []
    if run.selection != PUBLISHED_SELECTION:
        found.append(f"selected on {run.selection or 'unknown'}, not {PUBLISHED_SELECTION}")
    if len(result.ended) != PUBLISHED_TRIALS:
        found.append(f"{len(result.ended)} seeds, not {PUBLISHED_TRIALS}")
    tuned = _published_settings(run.dataset, run.mode)
    limit = run.setting("epochs", int)
    if limit is not None and limit != tuned["epochs"]:
        found.append(f"at most {limit} epochs, not {tuned['epochs']}")
    if samples := run.setting("dataset.limit", int):
        found.append(f"only {samples} samples of each split")
    own = settings(run)
    keys = [key for key in own if key in tuned and key.startswith(_PUBLISHED_KEYS) and own[key] != tuned[key]]
    if keys:
        more = f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else ""
        found.append(f"other {', '.join(keys[:MOST_KEYS])}{more}")
    return found


@cache
def _published_settings(dataset: str, mode: str) -> dict[str, Any]:
    """Flat configuration with the published hyperparameters; no key of _PUBLISHED_KEYS follows from the fidelity."""
    return dict(flatten(asdict(compose([f"dataset={dataset}", f"mode={mode}"]))))


def _repeated_seeds(results: list[Result]) -> list[str]:
    repeated = [result for result in results if len(result.seeds) < sum(len(run.seeds) for run in result.runs)]
    names = ", ".join(f"{result.run.dataset} {result.run.mode}" for result in repeated)
    note = f"Some seeds were run twice with the same setting ({names}): the latest that did not fail counts."
    return [note] if names else []


def _over_neurons(rates: list[float] | None, run: RunFolder) -> float | None:
    """Mean over all neurons of the layers' rates; None where the layers' sizes are unknown."""
    neurons = [layer.neurons for layer in run.layers]
    return statistics.fmean(rates, neurons) if rates and len(rates) == len(neurons) else None


def _entry(values: list[Any] | None, number: int) -> Any:
    return values[number] if values and number < len(values) else None
