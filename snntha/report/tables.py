"""The paper's tables, ours beside the published figures, with the conditions in every row."""

import statistics
from dataclasses import asdict
from functools import cache
from importlib import resources
from typing import Any

import yaml

from snntha.config import compose, flatten
from snntha.published import published
from snntha.report.collect import RunRecord
from snntha.report.grouping import Result, mean_of, settings
from snntha.report.table import Column, Table

PUBLISHED_TRIALS = 5
PUBLISHED_SELECTION = "test"
MOST_KEYS = 3  # that are named of those whose value is not the published one
_PUBLISHED_KEYS = (
    *("model.", "loss.", "hparams.", "optimizer.", "patience"),
    *("dataset.time_steps", "dataset.test_time_steps", "dataset.bin_ms"),
)

IDENTITY = [
    Column("dataset", "data set"),
    Column("mode", "mode"),
    Column("fidelity", "fidelity"),
    Column("setting", "setting"),
    Column("selection", "selected on"),
    Column("epochs", "epochs"),
    Column("trials", "seeds", 0),
]


def results_table(results: list[Result]) -> Table:
    """Accuracies beside the published ones."""
    rows = []
    for result in results:
        run = result.run
        known = [value for trial in result.ended if (value := trial.entry.get("test_accuracy")) is not None]
        paper = published(run.dataset, run.mode)
        rows.append(
            {
                **result.identity(),
                "selection_accuracy": result.mean("validation_accuracy"),
                "selection_loss": mean_of(trial.selection_loss for trial in result.ended),
                "best": max(known, default=None),
                "mean": mean_of(known),
                "sigma": statistics.stdev(known) if len(known) > 1 else None,
                "published_best": paper.best if paper else None,
                "published_mean": paper.mean if paper else None,
                "published_sigma": paper.std if paper else None,
                "unlike_published": "; ".join(_unlike_published(result)) if paper else "",
            }
        )
    columns = [
        *IDENTITY,
        Column("selection_accuracy", "selection %", 2),
        Column("selection_loss", "selection loss", 3),
        Column("best", "test best %", 2),
        Column("mean", "mean %", 2),
        Column("sigma", "sigma", 2),
        Column("published_best", "published best %", 2),
        Column("published_mean", "published mean %", 2),
        Column("published_sigma", "published sigma", 2),
        Column("unlike_published", "unlike the published"),
    ]
    notes = [
        f"Published: {PUBLISHED_TRIALS} trials, best epoch selected on the test set (Tables 1 and 2). Selection on "
        "validation samples never sees the test set before the end, so its test accuracy is the more honest one.",
        "Sigma is the sample standard deviation over seeds. Selection % is the mean over seeds of the best epoch's.",
        *_repeated_seeds(results),
    ]
    return Table("results", "Test accuracy", columns, rows, notes)


def cost_table(results: list[Result]) -> Table:
    """Seconds, footprint and mean firing rate."""
    rows = []
    for result in results:
        run = result.run
        rates, measured_on = result.per_layer("firing_rate")
        paper = paper_figures()["annealed"].get(run.dataset, {}) if run.mode == "annealed" else {}
        rows.append(
            {
                **result.identity(),
                "seconds": mean_of(trial.seconds for trial in result.averaged),
                "footprint_bits": run.footprint_bits,
                "weights": sum(layer.weights for layer in run.layers) or None,
                "published_bits": paper.get("bits"),
                "firing_rate": _over_neurons(rates, run),
                "measured_on": measured_on,
            }
        )
    columns = [
        *IDENTITY,
        Column("seconds", "seconds a seed", 1),
        Column("footprint_bits", "footprint bits", 0),
        Column("weights", "weights", 0),
        Column("published_bits", "published bits", 0),
        Column("firing_rate", "firing rate", 4),
        Column("measured_on", "measured on"),
    ]
    notes = [
        "Footprint: 1 bit a weight (32 in flt32), and 32 bits for each bias, BatchNorm scale and shift, and one "
        "threshold a layer. Published bits are those Section 5.1 prints, of which two are slips: see the comparison.",
        "Epochs are those trained, of those allowed. Firing rate: spikes per neuron and time step, over all neurons.",
    ]
    return Table("cost", "Time, footprint and activity", columns, rows, notes)


def layers_table(results: list[Result]) -> Table:
    """Firing rate, dead neurons and threshold of each layer."""
    rows = []
    for result in results:
        run = result.run
        rates, measured_on = result.per_layer("firing_rate")
        dead, _ = result.per_layer("dead_fraction")
        final = [trial.best_epoch.get("thresholds") for trial in result.averaged]
        start = run.setting("hparams.threshold.start", list)
        paper = paper_figures()["dead_neurons"].get(run.dataset, {}).get(run.mode, [])
        for number in range(len(rates or dead or [])):
            shape = run.layers[number] if number < len(run.layers) else None
            rows.append(
                {
                    **result.identity(),
                    "layer": number + 1,
                    "kind": shape.kind if shape else None,
                    "neurons": shape.neurons if shape else None,
                    "threshold_start": _entry(start, number),
                    "threshold_best": mean_of(_entry(thresholds, number) for thresholds in final),
                    "firing_rate": _entry(rates, number),
                    "dead_fraction": _entry(dead, number),
                    "published_dead_fraction": None if number >= len(paper) else paper[number] / 100,
                    "measured_on": measured_on,
                }
            )
    columns = [
        *IDENTITY,
        Column("layer", "layer", 0),
        Column("kind", "kind"),
        Column("neurons", "neurons", 0),
        Column("threshold_start", "theta start", 3),
        Column("threshold_best", "theta best", 3),
        Column("firing_rate", "firing rate", 4),
        Column("dead_fraction", "dead %", 1, 100),
        Column("published_dead_fraction", "published dead %", 0, 100),
        Column("measured_on", "measured on"),
    ]
    notes = [
        "Firing rate: spikes per neuron and time step. Dead: neurons without a spike in the whole pass; published in "
        "Section 5.2, approximately. Theta: threshold at the first minibatch and at the best epoch. Means over seeds."
    ]
    return Table("layers", "Activity of the layers", columns, rows, notes)


@cache
def paper_figures() -> dict[str, Any]:
    """The figures of Sections 5.1 and 5.2."""
    return yaml.safe_load(resources.files("snntha.report").joinpath("paper.yaml").read_text(encoding="utf-8"))


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
    repeated = [result for result in results if len(result.trials) < sum(len(run.trials) for run in result.runs)]
    names = ", ".join(f"{result.run.dataset} {result.run.mode}" for result in repeated)
    note = f"Some seeds were run twice with the same setting ({names}): the latest that did not fail counts."
    return [note] if names else []


def _over_neurons(rates: list[float] | None, run: RunRecord) -> float | None:
    """Mean over all neurons of the layers' rates; None where the layers' sizes are unknown."""
    if not rates or len(rates) != len(run.layers):
        return None
    neurons = [layer.neurons for layer in run.layers]
    return sum(rate * number for rate, number in zip(rates, neurons, strict=True)) / sum(neurons)


def _entry(values: list[Any] | None, number: int) -> Any:
    return values[number] if values and number < len(values) else None
