"""A run: the seeds of one configuration, trained one after another, their record, and a look at it later."""

import json
import shlex
import statistics
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.columns import Columns
from rich.console import Console, Group
from rich.text import Text

from snntha import compiled, parallel
from snntha import data as datasets
from snntha import optimizer as optimizers
from snntha.config import Config, located
from snntha.data.batch import Data
from snntha.data.encoding import class_names
from snntha.diagnostics import class_inputs, sample_activity
from snntha.display import Display, layer_table, say
from snntha.errors import UserError, counted
from snntha.folder import RunFolder, spread
from snntha.follow import follow
from snntha.kernels.backend import choose
from snntha.kernels.cpu.ahead import Compilation
from snntha.logger import open_log, require
from snntha.network import SpikingNetwork
from snntha.neuron import fires
from snntha.progress import Progress
from snntha.published import PUBLISHED_SAMPLES, are_published
from snntha.records import Run, SeedRecord
from snntha.train import Evaluation, SeedFailed, Stopped, evaluate, fit


@dataclass(frozen=True)
class Outcome:
    """What a run came to."""

    config: Config
    folder: Path
    selected_on: str  # validation, test or training
    tested: bool  # whether there is a test set
    published_data: bool  # whether the data are the paper's
    seeds: list[dict[str, Any]]  # "trials" of summary.json

    @property
    def score(self) -> float:
        """Mean over the seeds of the best selection score.

        Raises:
            UserError: a seed failed.
        """
        failures = [entry["failed"] for entry in self.seeds if "failed" in entry]
        if failures:
            raise UserError(f"{len(failures)} of {counted(len(self.seeds), 'seed')} failed: {failures[0]}")
        return statistics.fmean(entry["best_score"] for entry in self.seeds)


def run(
    config: Config,
    resume: Path | None = None,
    console: Console | None = None,
    report: Callable[[list[float], int], None] = lambda scores, epoch: None,
    compilation: Compilation | None = None,
) -> Outcome:
    """Train all seeds.

    Args:
        config: what to run; of the folder's own config.yaml (with what may change) when resuming.
        resume: folder of a run to go on with.
        console: where to show progress; None: the terminal.
        report: called after each epoch with the best score of each seed begun and the seed's epoch; may raise.
        compilation: of the kernels, under way in other processes; it is waited for.

    Raises:
        UserError: a seed failed in a search; elsewhere the others are trained and the outcome says so.
        Stopped: Ctrl-C, after a checkpoint was written.
    """
    console = console or Console()
    config = follow(config) if resume is None else config
    require(config.logger)
    compiled.prepare(config.threads, config.backend)
    device = parallel.own_device(resolve_device(config.device))
    backend = choose(config.backend, device, config.precision)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed).to(device)
    writes = parallel.rank() == 0
    if resume is None:
        record = parallel.of_first(Run.create(config, data.fingerprint, data.samples) if writes else None)
    else:
        record = Run.open(resume, data.fingerprint)
        for number in range(config.trials):
            network = SpikingNetwork(config, seed=config.seed).to(device)
            record.seed(number).check(network, optimizers.build(config.optimizer, network.parameters()))
    for line in (_headline(config, data, device, backend), f"writing {record.folder}", *_notes(config, data)):
        say(console, line)

    seeds: list[dict[str, Any]] = []
    with record.lock() if writes else nullcontext(), Display(config, console) as display:
        if resume is not None and writes:
            record.write_config(config)
            record.add_environment(data.fingerprint)
        for number in range(config.trials):
            seed = config.seed + (number if config.fidelity.trial_seed == "seed_plus_trial" else 0)
            network = SpikingNetwork(config, seed=seed).to(device)
            if compilation is not None:
                if compilation.running:
                    say(console, "compiling the kernels that this network needs: once on this machine, some seconds")
                    optimizers.build(config.optimizer, network.parameters())  # the first one imports much of PyTorch
                compilation.wait()
            parallel.of_first()  # the others find what the first has compiled
            seed_record = record.seed(number)
            if writes:
                settings = {**asdict(config), "seed": seed}
                seed_record.log = open_log(config.logger, seed_record.folder, settings)
            scores = [entry["best_score"] for entry in seeds if "best_score" in entry]

            def on_epoch(progress: Progress, scores: list[float] = scores) -> None:
                report([*scores, progress.best_score], progress.epoch)

            try:
                goes_on = resume is not None
                progress = fit(network, data, seed_record, display, seed=seed, resume=goes_on, on_epoch=on_epoch)
                entry = {"seed": seed, **_finish(network, data, seed_record, progress)}
                if seed_record.log is not None:
                    seed_record.log.finish(entry)
            except SeedFailed as failure:
                if config.search is not None:
                    raise  # the other seeds could not save the mean
                entry = {"seed": seed, "failed": str(failure)}
                say(console, f"seed {seed} failed: {failure}", style="red")
            except (Stopped, OSError, SystemExit) as end:
                gone = isinstance(end, SystemExit)  # rich raises it where whoever read standard output has gone
                say(Console(stderr=True) if gone else console, f"stopped; go on with: {_go_on(record)}")
                raise
            except parallel.ProcessLost as error:
                raise parallel.ProcessLost(f"{error}; go on, with any number of them: {_go_on(record)}") from error
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
            if writes:
                record.write_summary(summary)
        if config.search is not None and display.stop_requested:
            raise Stopped(display.stop_requested)  # in the last epoch: else the search would begin its next trial
    published_data = are_published(config.dataset.name, data.samples, data.fingerprint)
    return Outcome(config, record.folder, data.selected_on, data.test is not None, published_data, seeds)


def _go_on(record: Run) -> str:
    torchrun = ["torchrun", f"--nproc-per-node={parallel.processes()}", "-m"] if parallel.processes() > 1 else []
    return shlex.join([*torchrun, "snntha", "train", f"resume={record.folder}"])


def _finish(network: SpikingNetwork, data: Data, record: SeedRecord, progress: Progress) -> dict[str, Any]:
    """Evaluate the best epoch once on the test set; the seed's entry in summary.json.

    A hyperparameter search does not look at the test set.
    """
    parallel.of_first()  # has written it
    thetas = record.load_checkpoint("best", network).thresholds
    unseen = data.test if network.config.search is None else None
    test = None if unseen is None else evaluate(network, unseen, thetas)
    activity = {"thresholds": thetas, "sample": sample_activity(network, unseen or data.train, thetas)}
    if unseen is not None and test is not None:
        classes, batch_size = network.config.dataset.classes, network.config.hparams.batch_size
        samples = class_inputs(unseen, classes, batch_size)
        activity |= {"spike_count_N": test.spike_count_N, "confusion": test.confusion, "class_inputs": samples}
    record.save_activity("end", activity)
    labelled = data.train.batch(torch.arange(1)).labels_B is not None
    return {
        "epochs": progress.epoch,
        "best_epoch": progress.best_epoch,
        "best_score": progress.best_score,
        "validation_accuracy": progress.best_score if labelled else None,
        "test_accuracy": test.accuracy if test else None,
        "seconds": progress.seconds,
        "test_firing_rate": test.firing_rate if test else None,
        "test_dead_fraction": test.dead_fraction if test else None,
    }


def evaluate_run(
    folder: Path,
    trial: int,
    checkpoint: str,
    root: str | None = None,
    own_class: str | None = None,
    *,
    as_json: bool = False,
) -> Group | str:
    """Evaluate a trial's checkpoint on the test set (on the training sample where there is no test set).

    Args:
        folder: of the run.
        trial: its number, from 0.
        checkpoint: best or last.
        root: folder of the data, where they lie elsewhere now.
        own_class: the user's class whose samples they are, with dataset=own.
        as_json: return the numbers as a JSON object, accuracies in percent, instead of tables.

    Raises:
        UserError: no such run, trial or checkpoint, or the data are not those of the run.
    """
    record = RunFolder(folder)
    config = located(record.load_config(), root, own_class)
    seed_record = SeedRecord(record.seed(trial).folder)
    if not torch.cuda.is_available():
        config = on_cpu(config)
    compiled.prepare(config.threads, config.backend)
    device = resolve_device(config.device)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed).to(device)
    record.check_data(data.fingerprint)
    network = SpikingNetwork(config, seed=config.seed).to(device)
    progress = seed_record.load_checkpoint(checkpoint, network)
    specs, thetas = network.specs, progress.thresholds
    found = evaluate(network, data.test or data.train, thetas)
    spikes = None
    if found.output_membrane is not None:
        fired = fires(np.array(found.output_membrane), thetas[-1], specs[-1].strict)
        spikes = np.flatnonzero(fired).tolist()
    told = {
        "run": str(folder),
        "dataset": config.dataset.name,
        "mode": config.mode.name,
        "trial": trial,
        "checkpoint": checkpoint,
        "epoch": progress.epoch,
        "samples": len(data.test or data.train),
        "test_accuracy": found.accuracy,
        "class_accuracy": None if found.confusion is None else _class_accuracy(found.confusion),
        "loss": found.loss,
        "output_spikes": spikes,
        "thresholds": thetas,
        "firing_rate": found.firing_rate,
        "dead_fraction": found.dead_fraction,
        "spike_count": [count_N.mean().item() for count_N in found.spike_count_N],
    }
    if as_json:
        return json.dumps(told, indent=2)
    if spikes is None:
        outcome = f"test accuracy {found.accuracy:.2f} %, loss {found.loss:.4f}"
    else:
        outcome = f"loss {found.loss:.4f}, output neuron spikes at t = {', '.join(map(str, spikes)) or 'never'}"
    dead = zip(found.dead_fraction, specs, strict=True)
    columns = {
        "mean spike count": [f"{mean:.2f}" for mean in told["spike_count"]],
        "dead neurons": [f"{round(share * spec.neurons)} ({share:.1%})" for share, spec in dead],
    }
    samples = counted(told["samples"], f"{'test' if data.test else 'training'} sample")
    title = config.dataset.title or config.dataset.name
    head = f"{title} {config.mode.name}, {checkpoint} checkpoint (epoch {progress.epoch}), {samples}"
    by_class = _by_class(found, class_names(config.dataset))
    return Group(Text(head), Text(outcome), layer_table(specs, thetas, found.firing_rate, columns), *by_class)


def _class_accuracy(confusion: torch.Tensor) -> list[float | None]:
    """Percent of the samples of each class; null for a class without any."""
    pairs = zip(confusion.diagonal().tolist(), confusion.sum(dim=1).tolist(), strict=True)
    return [100 * right / samples if samples else None for right, samples in pairs]


def _by_class(found: Evaluation, names: Sequence[str]) -> list[Columns]:
    """The accuracy of each class with samples, and for what it is taken most often, side by side in the terminal."""
    if found.confusion is None:
        return []
    cells, width = [], max(map(len, names))
    for label, (row, percent) in enumerate(zip(found.confusion, _class_accuracy(found.confusion), strict=True)):
        if percent is None:
            continue
        wrong = row.clone()
        wrong[label] = 0
        taken = f", as {names[int(wrong.argmax())]}: {int(wrong.max())}" if wrong.any() else ""
        cells.append(Text(f"{names[label]:>{width}}  {percent:6.2f} % of {int(row.sum())}{taken}"))
    return [Columns(cells, equal=True, column_first=True, title="class, its accuracy, and its most frequent mistake")]


def resolve_device(device: str) -> torch.device:
    """The device that the key names; auto is CUDA where there is one."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise UserError("device=cuda: torch sees no CUDA device; pass device=cpu")
    return torch.device(device)


def on_cpu(config: Config) -> Config:
    """The configuration with which a run of a GPU is looked at where there is none."""
    gpu_only = config.backend == "triton" or config.precision != "float32"
    return replace(config, device="cpu", precision="float32", backend="auto" if gpu_only else config.backend)


def _headline(config: Config, data: Data, device: torch.device, backend: str) -> str:
    splits = {"training": data.train, "validation": data.validation, "test": data.test}
    sizes = ", ".join(f"{len(split)} {name}" for name, split in splits.items() if split)
    title = config.dataset.title or config.dataset.name
    return (
        f"{title} {config.mode.name}: {config.model.topology}, {sizes} samples, "
        f"selection on {data.selected_on}, {device.type} ({backend} kernels, "
        f"{counted(torch.get_num_threads(), 'thread')}"
        f"{f', {parallel.processes()} processes' * (parallel.processes() > 1)})"
    )


def _notes(config: Config, data: Data) -> list[str]:
    """What is odd about the data, and that they are others than those that were published under their name."""
    notes = [f"note: {note}" for note in data.notes]
    name, samples = config.dataset.name, PUBLISHED_SAMPLES.get(config.dataset.name)
    if samples is None or are_published(name, data.samples, data.fingerprint):
        return notes
    named = "" if config.dataset.title else "; dataset.title=... names them"
    return [
        *notes,
        f"note: other data than the published {name}, of {samples[0]} training and {samples[1]} test samples: no "
        f"published figure stands beside theirs{named}",
    ]
