"""The paper's tables, ours beside the published figures; what stands in which column is said in tables.yaml."""

import statistics
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from itertools import islice, zip_longest
from typing import Any

from snntha.catalog import is_result, short_id
from snntha.config import compose, flatten
from snntha.errors import counted
from snntha.folder import RunFolder, spread
from snntha.report.grouping import Result, group, layer_means, mean_of, settings
from snntha.report.table import Table, stored

PUBLISHED_TRIALS = 5
PUBLISHED_SELECTION = "test"
MOST_KEYS = 3  # that are named of those whose value is not the published one
_PUBLISHED_KEYS = (
    *("model.", "loss.", "hparams.", "optimizer.", "patience"),
    *("dataset.time_steps", "dataset.test_time_steps", "dataset.bin_ms"),
)


def build_tables(runs: list[RunFolder]) -> list[Table]:
    """Results, accuracies, cost, layers, the networks of Section 5.1, and what is missing in the records.

    Smoke and overfit runs are in none of them but the last.
    """
    results = group([run for run in runs if is_result(run)])
    facts = [_facts(result) for result in results]
    layers = [row for result, told in zip(results, facts, strict=True) for row in _layer_rows(result, told)]
    repeated = [result.run for result in results if len(result.seeds) < sum(len(run.seeds) for run in result.runs)]
    names = ", ".join(f"{run.dataset} {run.mode}" for run in repeated)
    twice = f"Some seeds were run twice with the same setting ({names}): the latest that did not fail counts."
    notes = [twice] if repeated else []
    left_out = [short_id(run.folder) for run in runs if not is_result(run)]
    selections = ", ".join(sorted({str(told["selection"] or "unknown") for told in facts}))
    untold = [f"Smoke and overfit runs are no results and left out: {', '.join(left_out)}."]
    paper = [
        "Paper: mean of 5 seeds selected on the test set; what else differs from the published experiment is in the "
        "table accuracy."
    ] * any(told["published_mean"] is not None for told in facts)
    remarks = [*paper, f"Best epoch selected on: {selections}.", *notes, *untold * bool(left_out)]
    alike = Counter((told["dataset"], told["mode"]) for told in facts)
    brief = [told if alike[told["dataset"], told["mode"]] > 1 else {**told, "id": None} for told in facts]
    tables = [
        Table.laid_out("results", brief, remarks),
        Table.laid_out("accuracy", facts, notes),
        Table.laid_out("cost", facts),
        Table.laid_out("layers", layers),
        Table.laid_out("lightweight", _lightweight_rows(facts)),
    ]
    # last, because reading the epochs for the others may find more
    problems = [{"folder": str(run.folder), "problem": problem} for run in runs for problem in run.problems]
    return [*tables, Table.laid_out("problems", problems)]


def _facts(result: Result) -> dict[str, Any]:
    """What the tables choose from; it begins with the conditions, without which no row is read."""
    run, trained = result.run, {seed.epochs for seed in result.averaged} or {0}
    limit, epochs = run.setting("epochs", int), "-".join(map(str, sorted({min(trained), max(trained)})))
    ours, paper = spread(seed.entry for seed in result.ended), run.published
    columns = [f"{whose}{statistic}" for whose in ("", "published_") for statistic in ("best", "mean", "sigma")]
    like_published = run.mode == "annealed" and run.has_published_data
    annealed = stored("paper.yaml")["annealed"].get(run.dataset, {}) if like_published else {}
    (rates, measured_on), (dead, _) = result.per_layer("firing_rate"), result.per_layer("dead_fraction")
    neurons = [layer.neurons for layer in run.layers]
    return {
        **{key: getattr(run, key) for key in ("mode", "fidelity", "selection", "footprint_bits")},
        "dataset": run.title,
        "published_data": run.dataset if run.has_published_data else "",
        "id": short_id(run.folder),
        "setting": result.setting,
        "epochs_trained": epochs,
        "epochs": f"{epochs} of {limit or 'unknown'}",  # `87-112 of 500`: trained, and allowed
        "trials": len(result.ended),
        "selection_accuracy": result.mean("validation_accuracy"),
        "selection_loss": mean_of(seed.selection_loss for seed in result.ended),
        **dict(zip(columns, [*ours.values(), *(paper or [None] * 3)], strict=True)),
        "unlike_published": "; ".join(_unlike_published(result)) if paper else "",
        "seconds": mean_of(seed.seconds for seed in result.averaged),
        "weights": sum(layer.weights for layer in run.layers) or None,
        "published_bits": annealed.get("printed_bits"),
        "firing_rate": statistics.fmean(rates, neurons) if rates and len(rates) == len(neurons) else None,
        "dead_fraction": statistics.fmean(dead, neurons) if dead and len(dead) == len(neurons) else None,
        "measured_on": measured_on,
    }


def _layer_rows(result: Result, facts: dict[str, Any]) -> list[dict[str, Any]]:
    run = result.run
    columns = {
        "kind": [layer.kind for layer in run.layers],
        "neurons": [layer.neurons for layer in run.layers],
        "threshold_start": run.setting("hparams.threshold.start", list),
        "threshold_best": layer_means(seed.best_epoch.get("thresholds") for seed in result.averaged),
        "firing_rate": result.per_layer("firing_rate")[0],
        "dead_fraction": result.per_layer("dead_fraction")[0],
        "published_dead_fraction": stored("paper.yaml")["dead_neurons"].get(facts["published_data"], {}).get(run.mode),
    }
    recorded = len(columns["firing_rate"] or columns["dead_fraction"])
    rows = islice(zip_longest(*(values or [] for values in columns.values())), recorded)
    return [{**facts, "layer": n, **dict(zip(columns, row, strict=True))} for n, row in enumerate(rows, start=1)]


def _lightweight_rows(facts: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The networks that Section 5.1 compares, of each data set those of others, the paper's, and ours."""
    annealed = {"network": "annealed, published", "weights_are": "binary", "source": "Eshraghian & Lu (2022)"}
    for dataset, networks in stored("paper.yaml")["lightweight"].items():
        if not any(told["dataset"] == dataset and told["trials"] for told in facts):
            continue  # nothing of ours to compare with
        for network in [*networks, annealed | stored("paper.yaml")["annealed"][dataset]]:
            yield {"dataset": dataset, "selection": "test", **network}
        for told in facts:
            if told["published_data"] == dataset and told["trials"]:
                weights_are, bits = ("float", 32) if told["mode"] == "flt32" else ("binary", 1)
                yield {
                    **told,
                    "network": f"{told['mode']}, ours",
                    "weights_are": weights_are,
                    "accuracy": told["mean"],
                    "weight_bits": told["weights"] and bits * told["weights"],
                    "source": "this report",
                    "remark": told["setting"],
                }


def _unlike_published(result: Result) -> Iterator[str]:
    """What forbids to read the row as a repetition of the published experiment."""
    run, tuned = result.run, _published_settings(result.run.dataset, result.run.mode)
    if run.selection != PUBLISHED_SELECTION:
        yield f"selected on {run.selection or 'unknown'}, not {PUBLISHED_SELECTION}"
    if len(result.ended) != PUBLISHED_TRIALS:
        yield f"{counted(len(result.ended), 'seed')}, not {PUBLISHED_TRIALS}"
    if run.setting("epochs", int) not in (None, tuned["epochs"]):
        yield f"at most {run.setting('epochs', int)} epochs, not {tuned['epochs']}"
    if samples := run.setting("dataset.limit", int):
        yield f"only {samples} samples of each split"
    own = settings(run)
    keys = [key for key in own if key in tuned and key.startswith(_PUBLISHED_KEYS) and own[key] != tuned[key]]
    if keys:
        more = f" and {len(keys) - MOST_KEYS} more" if len(keys) > MOST_KEYS else ""
        yield f"other {', '.join(keys[:MOST_KEYS])}{more}"


@cache
def _published_settings(dataset: str, mode: str) -> dict[str, Any]:
    """Flat configuration with the published hyperparameters; no key of _PUBLISHED_KEYS follows from the fidelity."""
    return dict(flatten(asdict(compose([f"dataset={dataset}", f"mode={mode}"]))))
