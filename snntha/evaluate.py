"""`snntha eval`: test accuracy, firing rates and dead neurons of a checkpoint."""

from pathlib import Path

from rich.console import Group
from rich.text import Text

from snntha import compiled
from snntha import config as configuration
from snntha import data as datasets
from snntha.diagnostics import spike_times
from snntha.display import layer_table
from snntha.folder import RunFolder
from snntha.network import SpikingNetwork
from snntha.progress import load_checkpoint
from snntha.records import Run
from snntha.run import resolve_device
from snntha.train import evaluate


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
    compiled.prepare(config.threads, config.backend)
    data = datasets.load(config.dataset, selection=config.selection, seed=config.seed)
    record.check_data(data.fingerprint)
    network = SpikingNetwork(config, seed=config.seed).to(resolve_device(config.device))
    progress = load_checkpoint(Run(folder).seed(trial), checkpoint, network)
    thetas = progress.thresholds
    found = evaluate(network, data.test or data.train, thetas)
    if found.accuracy is not None:
        outcome = f"test accuracy {found.accuracy:.2f} %, loss {found.loss:.4f}"
    else:
        assert found.output_membrane is not None
        spikes = spike_times(found.output_membrane, network.specs[-1], thetas[-1])
        outcome = f"loss {found.loss:.4f}, output neuron spikes at t = {', '.join(map(str, spikes)) or 'never'}"
    dead = zip(found.dead_fraction, network.specs, strict=True)
    columns = {
        "threshold": [f"{theta:.4f}" for theta in thetas],
        "spikes/neuron/step": [f"{rate:.4f}" for rate in found.firing_rate],
        "mean spike count": [f"{count_N.mean():.2f}" for count_N in found.spike_count_N],
        "dead neurons": [f"{round(share * spec.neurons)} ({share:.1%})" for share, spec in dead],
    }
    samples = f"{len(data.test)} test samples" if data.test else "training sample"
    head = f"{config.dataset.name} {config.mode.name}, {checkpoint} checkpoint (epoch {progress.epoch}), {samples}"
    return Group(Text(head), Text(outcome), layer_table(network.specs, columns))
