"""A run: the seeds of one configuration, trained one after another, and their record."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from snntha import data as datasets
from snntha.config import Config
from snntha.data.batch import Data
from snntha.diagnostics import sample_activity
from snntha.display import Display
from snntha.errors import UserError
from snntha.kernels.backend import fastest_for, set_threads
from snntha.logger import open_log, require
from snntha.network import SpikingNetwork
from snntha.progress import Progress, load_checkpoint
from snntha.published import PUBLISHED_SAMPLES
from snntha.records import Run, SeedRecord
from snntha.train import SeedFailed, Stopped, evaluate, fit


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    config: Config
    folder: Path
    selected_on: str  # validation, test or training
    tested: bool  # whether there is a test set
    seeds: list[dict[str, Any]]  # "trials" of summary.json

    @property
    def score(self) -> float:
        """Mean over the seeds of the best selection score.

        Raises:
            UserError: a seed failed.
        """
        failures = [entry["failed"] for entry in self.seeds if "failed" in entry]
        if failures:
            raise UserError(f"{len(failures)} of {len(self.seeds)} seeds failed: {failures[0]}")
        return statistics.fmean(entry["best_score"] for entry in self.seeds)


def run(
    config: Config,
    resume: Path | None = None,
    console: Console | None = None,
    report: Callable[[list[float], int], None] | None = None,
) -> Outcome:
    """Train all seeds.

    Args:
        config: what to run; of the folder's own config.yaml (with what may change) when resuming.
        resume: folder of a run to go on with.
        console: where to show progress; None: the terminal.
        report: called after each epoch with the best score of each seed begun and the seed's epoch; may raise.

    Raises:
        UserError: a seed failed in a search; elsewhere the others are trained and the outcome says so.
        Stopped: Ctrl-C, after a checkpoint was written.
    """
    console = console or Console()
    require(config.logger)
    set_threads(config.threads)
    device = resolve_device(config.device)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    record = Run.create(config, data.fingerprint) if resume is None else Run.open(resume, data.fingerprint)
    console.print(_headline(config, data, record, device), soft_wrap=True, highlight=False)

    seeds: list[dict[str, Any]] = []
    network = SpikingNetwork(config, seed=config.seed)
    _announce_compilation(network, data, device, console)
    with record.lock(), Display(config, [spec.neurons for spec in network.specs], console) as display:
        if resume is not None:
            record.write_config(config)
            record.add_environment(data.fingerprint)
        for number in range(config.trials):
            seed = config.seed + (number if config.fidelity.trial_seed == "seed_plus_trial" else 0)
            network = SpikingNetwork(config, seed=seed).to(device)
            scores = [entry["best_score"] for entry in seeds if "best_score" in entry]

            def on_epoch(progress: Progress, scores: list[float] = scores) -> None:
                if report is not None:
                    report([*scores, progress.best_score], progress.epoch)

            try:
                entry = _train_seed(network, data, record.seed(number), display, seed, resume is not None, on_epoch)
            except SeedFailed as failure:
                if config.search is not None:
                    raise  # the other seeds could not save the mean
                entry = {"seed": seed, "failed": str(failure)}
                console.print(f"[red]seed {seed} failed[/]: {failure}", soft_wrap=True)
            except Stopped:
                console.print(
                    f"stopped; go on with: snntha train resume={record.folder}", soft_wrap=True, highlight=False
                )
                raise
            seeds.append(entry)
            footprint_bits = sum(spec.footprint_bits for spec in network.specs)
            record.write_summary(_summary(config, data.selected_on, seeds, footprint_bits))
        if config.search is not None and display.stop_requested:
            raise Stopped  # in the last epoch: without this the search would begin its next trial
    return Outcome(config, record.folder, data.selected_on, data.test is not None, seeds)


def _train_seed(
    network: SpikingNetwork,
    data: Data,
    record: SeedRecord,
    display: Display,
    seed: int,
    resume: bool,
    on_epoch: Callable[[Progress], None],
) -> dict[str, Any]:
    """Train, then evaluate the best epoch once on the test set; the seed's entry in summary.json.

    A hyperparameter search does not look at the test set.
    """
    record.log = open_log(network.config.logger, record.folder)
    progress = fit(network, data, record, display, seed=seed, resume=resume, on_epoch=on_epoch)
    classes = data.train.batch(torch.arange(1)).labels_B is not None
    best = load_checkpoint(record, "best", network)
    unseen = data.test if network.config.search is None else None
    test = evaluate(network, unseen, best.thresholds) if unseen is not None else None
    activity = {
        "thresholds": best.thresholds,
        "sample": sample_activity(network, unseen or data.train, best.thresholds),
    }
    if test is not None:
        activity.update(spike_count_N=test.spike_count_N, confusion=test.confusion)
    record.save_activity("end", activity)
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


def _announce_compilation(network: SpikingNetwork, data: Data, device: torch.device, console: Console) -> None:
    """Say what the first minibatch of a first run waits for."""
    backend = network.config.backend
    if backend == "numba" or (backend == "auto" and fastest_for(device) == "numba"):
        from snntha.kernels.cpu_network import has_kernels

        inputs = data.train.batch(torch.arange(1)).inputs
        if not has_kernels(inputs, network.layers(network.config.hparams.threshold.start)):
            console.print("compiling the kernels that this network needs: once on this machine, about a minute")


def _headline(config: Config, data: Data, record: Run, device: torch.device) -> str:
    sizes = [f"{len(data.train)} training"]
    sizes += [f"{len(split)} {name}" for name, split in (("validation", data.validation), ("test", data.test)) if split]
    backend = fastest_for(device) if config.backend == "auto" else config.backend
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


def _summary(config: Config, selected_on: str, seeds: list[dict[str, Any]], footprint_bits: int) -> dict[str, Any]:
    return {
        "dataset": config.dataset.name,
        "mode": config.mode.name,
        "fidelity": config.fidelity.name,
        "selection": selected_on,
        "trials": seeds,
        "test_accuracy": spread([entry.get("test_accuracy") for entry in seeds]),
        "footprint_bits": footprint_bits,
    }


def spread(values: list[float | None]) -> dict[str, float | None]:
    """Best, mean and sample standard deviation; null where unknown."""
    known = [value for value in values if value is not None]
    return {
        "best": max(known, default=None),
        "mean": statistics.fmean(known) if known else None,
        "std": statistics.stdev(known) if len(known) > 1 else None,
    }
