"""`snntha eval`: test accuracy, firing rates and dead neurons of a checkpoint."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from snntha import config as configuration
from snntha import data as datasets
from snntha.diagnostics import spike_times
from snntha.folder import RunFolder
from snntha.kernels.backend import set_threads
from snntha.layers import LayerSpec
from snntha.network import SpikingNetwork
from snntha.progress import load_checkpoint
from snntha.records import Run
from snntha.run import resolve_device
from snntha.train import Evaluation, evaluate


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
    record.seed(trial)  # refuses one that the run does not have
    if root is not None:
        config = configuration.override(config, [f"dataset.root={root}"])
    set_threads(config.threads)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    record.check_data(data.fingerprint)
    network = SpikingNetwork(config, seed=config.seed).to(resolve_device(config.device))
    progress = load_checkpoint(Run(folder).seed(trial), checkpoint, network)
    split, name = (
        (data.train, "training sample") if data.test is None else (data.test, f"{len(data.test)} test samples")
    )
    evaluation = evaluate(network, split, progress.thresholds)
    head = f"{config.dataset.name} {config.mode.name}, {checkpoint} checkpoint (epoch {progress.epoch}), {name}"
    return Group(
        Text(head),
        Text(_outcome(evaluation, network.specs[-1], progress.thresholds[-1])),
        _layers(network.specs, evaluation, progress.thresholds),
    )


def _outcome(evaluation: Evaluation, output: LayerSpec, threshold: float) -> str:
    if evaluation.accuracy is not None:
        return f"test accuracy {evaluation.accuracy:.2f} %, loss {evaluation.loss:.4f}"
    assert evaluation.output_membrane is not None
    spikes = spike_times(evaluation.output_membrane, output, threshold)
    return f"loss {evaluation.loss:.4f}, output neuron spikes at t = {', '.join(map(str, spikes)) or 'never'}"


def _layers(specs: Sequence[LayerSpec], evaluation: Evaluation, thresholds: list[float]) -> Table:
    table = Table()
    for column in ("layer", "neurons", "threshold", "spikes/neuron/step", "mean spike count", "dead neurons"):
        table.add_column(column, justify="right")
    for number, spec in enumerate(specs):
        dead = evaluation.dead_fraction[number]
        table.add_row(
            f"{number + 1} {spec.kind}",
            str(spec.neurons),
            f"{thresholds[number]:.4f}",
            f"{evaluation.firing_rate[number]:.4f}",
            f"{evaluation.spike_count_N[number].mean():.2f}",
            f"{round(dead * spec.neurons)} ({dead:.1%})",
        )
    return table
