"""A run: the trials of one configuration, their record, and the table at the end."""

import statistics
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from snntha import data as datasets
from snntha import kernels
from snntha.data.batch import Data
from snntha.display import Display
from snntha.errors import UserError
from snntha.logger import open_log, require
from snntha.network import SpikingNetwork
from snntha.published import PUBLISHED_SAMPLES, published
from snntha.records import Run
from snntha.schema import Config
from snntha.train import Progress, Stopped, TrialFailed, evaluate, fit, load_checkpoint, sample_activity


def run(
    config: Config,
    resume: Path | None = None,
    console: Console | None = None,
    report: Callable[[list[float], int], None] | None = None,
) -> float:
    """Train all trials and return the mean over trials of the best selection score.

    Args:
        config: what to run; of the folder's own config.yaml (with what may change) when resuming.
        resume: folder of a run to go on with.
        console: where to print; None: the terminal.
        report: called after each epoch with the best score of each trial begun and the trial's epoch; may raise.

    Raises:
        UserError: a trial failed, after the others were trained (in a search, at once).
        Stopped: Ctrl-C, after a checkpoint was written.
    """
    console = console or Console()
    require(config.logger)
    kernels.set_threads(config.threads)
    device = resolve_device(config.device)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    record = Run.create(config, data.fingerprint) if resume is None else _reopen(resume, data.fingerprint)
    console.print(_headline(config, data, record, device), soft_wrap=True, highlight=False)

    trials: list[dict[str, Any]] = []
    network = SpikingNetwork(config, seed=config.seed)
    neurons = [shape.neurons for shape in network.shapes]
    _announce_compilation(network, data, device, console)
    alone = record.lock() if config.search is None else nullcontext()  # a study's claims say whose a trial is
    with alone, Display(config, neurons, console) as display:
        if resume is not None:
            record.write_config(config)
            record.add_environment(data.fingerprint)
        for number in range(config.trials):
            seed = config.seed + (number if config.fidelity.trial_seed == "seed_plus_trial" else 0)
            network = SpikingNetwork(config, seed=seed).to(device)
            scores = [entry["best_score"] for entry in trials if "best_score" in entry]

            def on_epoch(progress: Progress, scores: list[float] = scores) -> None:
                if report is not None:
                    report([*scores, progress.best_score], progress.epoch)

            try:
                entry = _run_trial(network, data, record, number, display, seed, resume is not None, on_epoch)
            except TrialFailed as failure:
                if config.search is not None:
                    raise  # the other seeds could not save the mean
                entry = {"seed": seed, "failed": str(failure)}
                console.print(f"[red]trial {number + 1} failed[/]: {failure}", soft_wrap=True)
            except Stopped:
                console.print(
                    f"stopped; go on with: snntha train resume={record.folder}", soft_wrap=True, highlight=False
                )
                raise
            trials.append(entry)
            record.write_summary(_summary(config, data.selected_on, trials, network.footprint_bits))
        if config.search is not None and display.stop_requested:
            raise Stopped  # in the last epoch: without this the search would begin its next trial

    console.print(_trial_table(config, data.selected_on, trials))
    if data.test is not None:
        console.print(_accuracy_table(config, trials))
    if config.plots:
        _draw(record, console)
    console.print(f"output folder  {record.folder}", soft_wrap=True, highlight=False)
    console.print(f"next           snntha eval run={record.folder}", soft_wrap=True, highlight=False)
    failures = [entry["failed"] for entry in trials if "failed" in entry]
    if failures:
        raise UserError(f"{len(failures)} of {len(trials)} trials failed: {failures[0]}")
    return statistics.fmean(entry["best_score"] for entry in trials)


def _draw(record: Run, console: Console) -> None:
    """The run's pictures: files in its plots/, and a small one here."""
    from snntha import plots  # imports matplotlib, which a run without pictures need not wait for

    console.print(plots.terminal_picture(record.folder))
    pictures = plots.draw_run(record.folder)
    if pictures:
        names = ", ".join(path.name for path in pictures)
        console.print(f"pictures       {record.folder / 'plots'}: {names}", soft_wrap=True, highlight=False)


def _run_trial(
    network: SpikingNetwork,
    data: Data,
    record: Run,
    number: int,
    display: Display,
    seed: int,
    resume: bool,
    on_epoch: Callable[[Progress], None],
) -> dict[str, Any]:
    """Train, then evaluate the best epoch once on the test set; the trial's entry in summary.json.

    A hyperparameter search does not look at the test set.
    """
    trial = record.seed(number)
    trial.log = open_log(network.config.logger, trial.folder)
    progress = fit(network, data, trial, display, seed=seed, resume=resume, on_epoch=on_epoch)
    classes = data.train.batch(torch.arange(1)).labels_B is not None
    best = load_checkpoint(trial, "best", network)
    unseen = data.test if network.config.search is None else None
    test = evaluate(network, unseen, best.thresholds) if unseen is not None else None
    activity = {
        "thresholds": best.thresholds,
        "sample": sample_activity(network, unseen or data.train, best.thresholds),
    }
    if test is not None:
        activity.update(spike_count_N=test.spike_count_N, confusion=test.confusion)
    trial.save_activity("end", activity)
    return {
        "seed": seed,
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best_score": progress.best_score,
        "validation_accuracy": progress.best_score if classes else None,
        "test_accuracy": test.accuracy if test else None,
        "seconds": progress.seconds,
        "test_firing_rate": test.firing_rate if test else None,
        "test_dead_fraction": test.dead_fraction if test else None,
    }


def resolve_device(device: str) -> torch.device:
    """The device that the key names; auto is CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: torch sees no CUDA device; pass device=cpu")
    return torch.device(device)


def _reopen(folder: Path, data_fingerprint: str) -> Run:
    """The record of an interrupted run, on the same data."""
    record = Run.open(folder)
    record.check_data(data_fingerprint)
    return record


def _announce_compilation(network: SpikingNetwork, data: Data, device: torch.device, console: Console) -> None:
    """Say what the first minibatch of a first run waits for."""
    backend = network.config.backend
    if backend == "numba" or (backend == "auto" and kernels.fastest_for(device) == "numba"):
        from snntha.kernels.compiled import is_compiled

        inputs = data.train.batch(torch.arange(1)).inputs
        if not is_compiled(inputs, network.layers(network.config.hparams.threshold.start)):
            console.print("compiling the kernels that this network needs: once on this machine, about a minute")


def _headline(config: Config, data: Data, record: Run, device: torch.device) -> str:
    sizes = [f"{len(data.train)} training"]
    sizes += [f"{len(split)} {name}" for name, split in (("validation", data.validation), ("test", data.test)) if split]
    backend = kernels.fastest_for(device) if config.backend == "auto" else config.backend
    return (
        f"{config.dataset.name} {config.mode.name}: {config.model.topology}, {', '.join(sizes)} samples, "
        f"selection on {data.selected_on}, {device.type} ({backend} kernels, {torch.get_num_threads()} threads)\n"
        f"writing {record.folder}{_other_size(config, data)}"
    )


def _other_size(config: Config, data: Data) -> str:
    """A line where the data set is only a part of the published one, or another."""
    expected = PUBLISHED_SAMPLES.get(config.dataset.name)
    found = len(data.train) + len(data.validation or ()), len(data.test or ())
    if expected is None or config.dataset.limit is not None or found == expected:
        return ""
    return f"\nnote: the published {config.dataset.name} has {expected[0]} training and {expected[1]} test samples"


def _summary(config: Config, selected_on: str, trials: list[dict[str, Any]], footprint_bits: int) -> dict[str, Any]:
    return {
        "dataset": config.dataset.name,
        "mode": config.mode.name,
        "fidelity": config.fidelity.name,
        "selection": selected_on,
        "trials": trials,
        "test_accuracy": _spread([entry.get("test_accuracy") for entry in trials]),
        "footprint_bits": footprint_bits,
    }


def _spread(values: list[float | None]) -> dict[str, float | None]:
    """Best, mean and sample standard deviation; null where unknown."""
    known = [value for value in values if value is not None]
    return {
        "best": max(known, default=None),
        "mean": statistics.fmean(known) if known else None,
        "std": statistics.stdev(known) if len(known) > 1 else None,
    }


def _trial_table(config: Config, selected_on: str, trials: list[dict[str, Any]]) -> Table:
    table = Table(title=f"{config.dataset.name} {config.mode.name}: trials, best epoch selected on {selected_on}")
    for column in ("trial", "seed", "epochs", "best epoch", f"{selected_on} %", "test %", "seconds"):
        table.add_column(column, justify="right")
    for number, entry in enumerate(trials):
        if "failed" in entry:
            table.add_row(str(number + 1), str(entry["seed"]), "failed")
            continue
        classes = entry["validation_accuracy"] is not None
        score = _percent(entry["validation_accuracy"]) if classes else f"loss {-entry['best_score']:.4f}"
        epochs = [str(entry[key]) for key in ("seed", "epochs", "best_epoch")]
        table.add_row(str(number + 1), *epochs, score, _percent(entry["test_accuracy"]), f"{entry['seconds']:.1f}")
    return table


def _accuracy_table(config: Config, trials: list[dict[str, Any]]) -> Table:
    """Best, mean and sigma over the trials beside the published row."""
    table = Table(title="test accuracy, percent")
    for column in ("", "best", "mean", "sigma", "trials", "epochs", "selected on"):
        table.add_column(column, justify="right")
    ours = _spread([entry.get("test_accuracy") for entry in trials])
    values = [_percent(ours[key]) for key in ("best", "mean", "std")]
    table.add_row("this run", *values, str(len(trials)), f"up to {config.epochs}", config.selection)
    paper = published(config.dataset.name, config.mode.name)
    if paper is not None:
        table.add_row("published", *[_percent(value) for value in paper], "5", "up to 500", "test")
    return table


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
