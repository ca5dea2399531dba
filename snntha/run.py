"""A run: the seeds of one configuration, trained one after another, their record, and a look at it later."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console, Group
from rich.text import Text

from snntha import data as datasets
from snntha.config import Config, override
from snntha.data.batch import Data
from snntha.diagnostics import sample_activity
from snntha.display import Display, layer_table
from snntha.errors import UserError
from snntha.folder import RunFolder, spread
from snntha.kernels.backend import fastest_for, set_threads
from snntha.logger import open_log, require
from snntha.network import SpikingNetwork
from snntha.neuron import fires
from snntha.progress import Progress
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
    report: Callable[[list[float], int], None] = lambda scores, epoch: None,
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
    backend = fastest_for(device) if config.backend == "auto" else config.backend
    say = partial(console.print, soft_wrap=True, highlight=False)
    say(_headline(config, data, device, backend), f"writing {record.folder}", *_other_size(config, data), sep="\n")

    seeds: list[dict[str, Any]] = []
    with record.lock(), Display(config, console) as display:
        if resume is not None:
            record.write_config(config)
            record.add_environment(data.fingerprint)
        for number in range(config.trials):
            seed = config.seed + (number if config.fidelity.trial_seed == "seed_plus_trial" else 0)
            network = SpikingNetwork(config, seed=seed).to(device)
            if number == 0 and backend == "numba":
                _announce_compilation(network, data, console)
            seed_record = record.seed(number)
            seed_record.log = open_log(config.logger, seed_record.folder)
            scores = [entry["best_score"] for entry in seeds if "best_score" in entry]

            def on_epoch(progress: Progress, scores: list[float] = scores) -> None:
                report([*scores, progress.best_score], progress.epoch)

            try:
                goes_on = resume is not None
                progress = fit(network, data, seed_record, display, seed=seed, resume=goes_on, on_epoch=on_epoch)
                entry = {"seed": seed, **_finish(network, data, seed_record, progress)}
            except SeedFailed as failure:
                if config.search is not None:
                    raise  # the other seeds could not save the mean
                entry = {"seed": seed, "failed": str(failure)}
                console.print(f"[red]seed {seed} failed[/]: {failure}", soft_wrap=True)
            except Stopped:
                say(f"stopped; go on with: snntha train resume={record.folder}")
                raise
            seeds.append(entry)
            summary = {
                "dataset": config.dataset.name,
                "mode": config.mode.name,
                "fidelity": config.fidelity.name,
                "selection": data.selected_on,
                "trials": seeds,
                "test_accuracy": spread(seeds),
                "footprint_bits": sum(spec.footprint_bits for spec in network.specs),
            }
            record.write_summary(summary)
        if config.search is not None and display.stop_requested:
            raise Stopped  # in the last epoch: without this the search would begin its next trial
    return Outcome(config, record.folder, data.selected_on, data.test is not None, seeds)


def _finish(network: SpikingNetwork, data: Data, record: SeedRecord, progress: Progress) -> dict[str, Any]:
    """Evaluate the best epoch once on the test set; the seed's entry in summary.json.

    A hyperparameter search does not look at the test set.
    """
    thetas = record.load_checkpoint("best", network).thresholds
    unseen = data.test if network.config.search is None else None
    test = None if unseen is None else evaluate(network, unseen, thetas)
    activity = {"thresholds": thetas, "sample": sample_activity(network, unseen or data.train, thetas)}
    if test is not None:
        activity |= {"spike_count_N": test.spike_count_N, "confusion": test.confusion}
    record.save_activity("end", activity)
    classes = data.train.batch(torch.arange(1)).labels_B is not None
    return {
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best_score": progress.best_score,
        "validation_accuracy": progress.best_score if classes else None,
        "test_accuracy": test.accuracy if test else None,
        "seconds": progress.seconds,
        "test_firing_rate": test.firing_rate if test else None,
        "test_dead_fraction": test.dead_fraction if test else None,
    }


def evaluate_run(folder: Path, trial: int, checkpoint: str, root: str | None = None) -> Group:
    """Evaluate a trial's checkpoint on the test set (on the training sample where there is no test set).

    Args:
        folder: of the run.
        trial: its number, from 0.
        checkpoint: best or last.
        root: folder of the data, where they lie elsewhere now.

    Raises:
        UserError: no such run, trial or checkpoint, or the data are not those of the run.
    """
    record = RunFolder(folder)
    config = record.load_config()
    seed_record = SeedRecord(record.seed(trial).folder)
    if root is not None:
        config = override(config, [f"dataset.root={root}"])
    set_threads(config.threads)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    record.check_data(data.fingerprint)
    network = SpikingNetwork(config, seed=config.seed).to(resolve_device(config.device))
    progress = seed_record.load_checkpoint(checkpoint, network)
    specs, thetas = network.specs, progress.thresholds
    found = evaluate(network, data.test or data.train, thetas)
    if found.accuracy is not None:
        outcome = f"test accuracy {found.accuracy:.2f} %, loss {found.loss:.4f}"
    else:
        spikes = np.flatnonzero(fires(np.array(found.output_membrane), thetas[-1], specs[-1].strict))
        outcome = f"loss {found.loss:.4f}, output neuron spikes at t = {', '.join(map(str, spikes)) or 'never'}"
    dead = zip(found.dead_fraction, specs, strict=True)
    columns = {
        "mean spike count": [f"{count_N.mean():.2f}" for count_N in found.spike_count_N],
        "dead neurons": [f"{round(share * spec.neurons)} ({share:.1%})" for share, spec in dead],
    }
    samples = f"{len(data.test)} test samples" if data.test else "training sample"
    head = f"{config.dataset.name} {config.mode.name}, {checkpoint} checkpoint (epoch {progress.epoch}), {samples}"
    return Group(Text(head), Text(outcome), layer_table(specs, thetas, found.firing_rate, columns))


def resolve_device(device: str) -> torch.device:
    """The device that the key names; auto is CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: torch sees no CUDA device; pass device=cpu")
    return torch.device(device)


def _announce_compilation(network: SpikingNetwork, data: Data, console: Console) -> None:
    """Say what the first minibatch of a first run waits for."""
    from snntha.kernels.cpu_network import has_kernels

    inputs = data.train.batch(torch.arange(1)).inputs
    if not has_kernels(inputs, network.layers(network.config.hparams.threshold.start)):
        console.print("compiling the kernels that this network needs: once on this machine, about a minute")


def _headline(config: Config, data: Data, device: torch.device, backend: str) -> str:
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    sizes = ", ".join(f"{len(split)} {name}" for name, split in splits.items() if split)
    return (
        f"{config.dataset.name} {config.mode.name}: {config.model.topology}, {sizes} samples, selection on "
        f"{data.selected_on}, {device.type} ({backend} kernels, {torch.get_num_threads()} threads)"
    )


def _other_size(config: Config, data: Data) -> list[str]:
    """A line where the data set is only a part of the published one, or another."""
    name, found = config.dataset.name, (len(data.train) + len(data.validation or ()), len(data.test or ()))
    expected = PUBLISHED_SAMPLES.get(name, found)
    if config.dataset.limit is not None or found == expected:
        return []
    return [f"note: the published {name} has {expected[0]} training and {expected[1]} test samples"]
