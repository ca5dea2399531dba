"""One training trial, top to bottom: step, evaluate, fit."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from snntha import optimizer as optimizers
from snntha.checkpoints import load_weights
from snntha.data.batch import Batch, Data, Split
from snntha.display import Display
from snntha.errors import UserError
from snntha.kernels.spec import Events, Result
from snntha.loss import membrane_loss, spike_count_loss
from snntha.network import SpikingNetwork
from snntha.records import SeedRecord
from snntha.schema import Config
from snntha.threshold import anneal_layers

SATURATED_RATE = 0.95  # spikes per neuron and step above which a layer says nothing any more


class TrialFailed(UserError):
    """Training cannot go on: the loss or a gradient is not a finite number."""


class Stopped(KeyboardInterrupt):
    """The user asked to stop, and a checkpoint was written."""


@dataclass
class Totals:
    """Sums over the minibatches of the running epoch."""

    loss: float = 0.0
    correct: int = 0
    samples: int = 0
    seconds: float = 0.0


@dataclass
class Progress:
    """Where a trial stands; with weights and optimizer all that going on needs. Plain data, saved as it is."""

    thresholds: list[float]
    previous_thresholds: list[float]  # before the last update
    epoch: int = 0  # finished epochs
    batch: int = 0  # finished minibatches of the running epoch
    iteration: int = 0  # finished minibatches of the trial
    seconds: float = 0.0
    best_epoch: int = 0
    best_score: float = -math.inf
    train_accuracy: float | None = None  # of the last finished epoch, percent
    totals: Totals = field(default_factory=Totals)

    @classmethod
    def restore(cls, state: dict[str, Any]) -> "Progress":
        return cls(**{**state, "totals": Totals(**state["totals"])})


@dataclass(frozen=True)
class Evaluation:
    """One pass over a split in evaluation mode; lists have one entry a layer."""

    loss: float
    accuracy: float | None  # percent; null where the data have no classes
    firing_rate: list[float]  # spikes per neuron and step
    dead_fraction: list[float]  # neurons without a spike in the whole pass
    spike_count_N: list[Tensor]  # mean spike count of each neuron per sample
    confusion: Tensor | None  # (label, prediction), samples
    output_membrane: list[float] | None  # one value a step, where the data give a target membrane

    @property
    def score(self) -> float:
        """What training maximises: accuracy, or minus the loss where there are no classes."""
        return -self.loss if self.accuracy is None else self.accuracy


def forward(network: SpikingNetwork, batch: Batch, thresholds: list[float], iteration: int) -> tuple[Tensor, Result]:
    """Loss of one minibatch and what the network did."""
    config = network.config
    if batch.target_TBN is not None:
        result = network(batch.inputs, thresholds, step=iteration, membrane=True)
        return membrane_loss(result.membrane_TBN, batch.target_TBN.to(network.device)), result
    assert batch.labels_B is not None
    result = network(batch.inputs, thresholds, step=iteration)
    labels_B = batch.labels_B.to(network.device)
    rates = config.loss.correct_rate, config.loss.incorrect_rate
    return spike_count_loss(result.spike_count_BN, labels_B, batch.inputs.time_steps, *rates), result


def train_step(
    network: SpikingNetwork,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    progress: Progress,
    half_period: float | None,
) -> Result:
    """Forward, backward, clips, optimizer, Eq. (4) for the thresholds; advances `progress` by one minibatch."""
    config = network.config
    optimizer.zero_grad()
    loss, result = forward(network, batch, progress.thresholds, progress.iteration)
    loss.backward()

    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    norm = nn.utils.get_total_norm(gradients)
    if not (torch.isfinite(loss) and torch.isfinite(norm)):
        raise TrialFailed(_locate_non_finite(network, batch, progress))
    if config.hparams.grad_clip is not None:
        nn.utils.clip_grads_with_norm_(network.parameters(), config.hparams.grad_clip, norm)

    for group in optimizer.param_groups:
        group["lr"] = optimizers.learning_rate(config.optimizer.lr, progress.iteration, half_period)
    clip = config.hparams.weight_clip
    if clip is not None and config.fidelity.weight_clip == "all_before_step":
        _clamp(list(network.parameters()), clip)
    optimizer.step()
    if clip is not None and config.fidelity.weight_clip == "weights_after_step":
        _clamp(network.latent_weights(), clip)

    threshold = config.hparams.threshold
    finals = [start + rise for start, rise in zip(threshold.start, threshold.rise, strict=True)]
    progress.previous_thresholds = progress.thresholds
    progress.thresholds = anneal_layers(progress.thresholds, finals, threshold.rate)

    samples = batch.inputs.batch
    progress.totals.loss += loss.item() * samples
    progress.totals.samples += samples
    if batch.labels_B is not None:
        progress.totals.correct += int((predict(result) == batch.labels_B.to(network.device)).sum())
    progress.iteration += 1
    progress.batch += 1
    return result


def predict(result: Result) -> Tensor:
    """The class with the highest spike count; ties go to the lowest index."""
    return result.spike_count_BN.detach().argmax(1)


@torch.no_grad()
def evaluate(network: SpikingNetwork, split: Split, thresholds: list[float]) -> Evaluation:
    """Accuracy, firing rates and dead neurons over a whole split."""
    network.eval()
    loss_sum, samples, steps = 0.0, 0, 0
    spike_counts = [torch.zeros(shape.neurons, dtype=torch.int64) for shape in network.shapes]
    classes = network.shapes[-1].neurons
    confusion = torch.zeros(classes, classes, dtype=torch.int64)
    labelled, output_membrane = False, None
    for positions in torch.arange(len(split)).split(network.config.hparams.batch_size):
        batch = split.batch(positions)
        loss, result = forward(network, batch, thresholds, iteration=0)
        loss_sum += loss.item() * len(positions)
        samples += len(positions)
        steps = batch.inputs.time_steps
        for total_N, layer in zip(spike_counts, result.layers, strict=True):
            total_N += layer.spike_count_N.cpu()
        if batch.labels_B is not None:
            labelled = True
            cells = batch.labels_B * classes + predict(result).cpu()
            confusion += torch.bincount(cells, minlength=classes**2).view(classes, classes)
        if result.membrane_TBN is not None:
            output_membrane = result.membrane_TBN[:, 0, 0].tolist()
    return Evaluation(
        loss=loss_sum / samples,
        accuracy=100 * confusion.trace().item() / samples if labelled else None,
        firing_rate=[total_N.double().mean().item() / (samples * steps) for total_N in spike_counts],
        dead_fraction=[(total_N == 0).double().mean().item() for total_N in spike_counts],
        spike_count_N=[total_N.double() / samples for total_N in spike_counts],
        confusion=confusion if labelled else None,
        output_membrane=output_membrane,
    )


@torch.no_grad()
def silenced_by_threshold(
    network: SpikingNetwork, batch: Batch, before: list[float], after: list[float]
) -> list[float]:
    """Share of each layer's neurons that fired before the last threshold update and not after it.

    What Eqs. (5)-(7) bound, measured: one layer's threshold moves at a time, its input stays as it was.
    """
    network.eval()
    if before == after:
        return [0.0] * len(before)
    fired = [layer.spike_count_N > 0 for layer in network(batch.inputs, before).layers]
    shares = []
    for layer, fired_N in enumerate(fired):
        moved = [*before[:layer], after[layer], *before[layer + 1 :]]
        fires_N = network(batch.inputs, moved, depth=layer + 1).layers[layer].spike_count_N > 0
        shares.append((fired_N & ~fires_N).double().mean().item())
    return shares


@torch.no_grad()
def sample_activity(network: SpikingNetwork, split: Split, thresholds: list[float]) -> dict[str, Any]:
    """Everything that the first sample of a split causes: input (T, inputs) and spikes_TN of each layer, to 255."""
    network.eval()
    batch = split.batch(torch.zeros(1, dtype=torch.int64))
    inputs = batch.inputs
    first = inputs.dense()[:, 0].flatten(1).clamp(max=255).byte() if isinstance(inputs, Events) else inputs.image_BX[0]
    result = network(inputs, thresholds, record=True)
    spikes = [layer.spikes_TBX for layer in result.layers]
    return {
        "input": first,
        "label": None if batch.labels_B is None else int(batch.labels_B[0]),
        "spikes_TN": [layer[:, 0].flatten(1).to(torch.uint8).cpu() for layer in spikes if layer is not None],
    }


def fit(
    network: SpikingNetwork,
    data: Data,
    trial: SeedRecord,
    display: Display,
    *,
    seed: int,
    resume: bool,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Train one trial to its end, with a checkpoint after every epoch, and return where it ended.

    Args:
        network: freshly initialised; a resumed trial fills it from its last checkpoint.
        seed: of the order of the samples; with the network's seed it fixes every bit.
        resume: go on from checkpoints/last.pt if there is one.
        on_epoch: called after each epoch, when its checkpoint is written; what it raises ends the trial.

    Raises:
        TrialFailed: a loss or gradient is not finite.
        Stopped: Ctrl-C; last.pt holds the minibatch reached.
    """
    config = network.config
    optimizer = optimizers.build(config.optimizer, network.parameters())
    start = config.hparams.threshold.start
    progress = Progress(thresholds=start, previous_thresholds=start)
    if resume and trial.checkpoint_path("last").exists():
        progress = load_checkpoint(trial, "last", network, optimizer)
    trial.forget_after(progress.epoch)

    batches = math.ceil(len(data.train) / config.hparams.batch_size)
    cosine_epochs = config.hparams.cosine_epochs
    half_period = None if cosine_epochs is None else cosine_epochs * batches
    selection = data.validation or data.test or data.train
    display.start_trial(seed, batches, progress)
    if progress.iteration == 0 and selection.batch(torch.arange(1)).target_TBN is not None:
        untrained = evaluate(network, selection, start)
        trial.save_activity("initial", {"output_membrane": untrained.output_membrane, "thresholds": start})

    while not is_finished(config, progress):
        started = time.perf_counter() - progress.totals.seconds
        order = torch.randperm(len(data.train), generator=_generator(seed, progress.epoch))
        network.train()
        for positions in order.split(config.hparams.batch_size)[progress.batch :]:
            result = train_step(network, optimizer, data.train.batch(positions), progress, half_period)
            progress.totals.seconds = time.perf_counter() - started
            display.minibatch(progress, result, len(positions))
            if display.stop_requested:
                save_checkpoint(trial, "last", network, optimizer, progress)
                raise Stopped

        evaluation = evaluate(network, selection, progress.thresholds)
        if not math.isfinite(evaluation.loss):
            raise TrialFailed(_locate_non_finite(network, selection.batch(torch.arange(1)), progress))
        first_batch = selection.batch(torch.arange(min(len(selection), config.hparams.batch_size)))
        silenced = silenced_by_threshold(network, first_batch, progress.previous_thresholds, progress.thresholds)
        totals = progress.totals
        progress.epoch += 1
        progress.batch = 0
        progress.seconds += time.perf_counter() - started
        improved = evaluation.score > progress.best_score
        if improved:
            progress.best_score, progress.best_epoch = evaluation.score, progress.epoch
        if evaluation.accuracy is not None:
            progress.train_accuracy = 100 * totals.correct / totals.samples
        progress.totals = Totals()

        metrics = {
            "epoch": progress.epoch,
            "iteration": progress.iteration,
            "train_loss": totals.loss / totals.samples,
            "train_accuracy": progress.train_accuracy,
            "validation_loss": evaluation.loss,
            "validation_accuracy": evaluation.accuracy,
            "selection": data.selected_on,
            "learning_rate": optimizer.param_groups[0]["lr"],
            "seconds": progress.seconds,
            "thresholds": progress.thresholds,
            "firing_rate": evaluation.firing_rate,
            "dead_fraction": evaluation.dead_fraction,
            "silenced_by_threshold": silenced,
            "warnings": layer_warnings(network, evaluation),
        }
        if evaluation.output_membrane is not None:
            metrics["output_membrane"] = evaluation.output_membrane
        trial.append_metrics(metrics)
        if progress.epoch == 1:
            trial.save_activity("start", {"spike_count_N": evaluation.spike_count_N, "thresholds": progress.thresholds})
        if improved:
            save_checkpoint(trial, "best", network, None, progress)
        save_checkpoint(trial, "last", network, optimizer, progress)
        display.epoch(metrics)
        on_epoch(progress)
        if display.stop_requested and not is_finished(config, progress):
            raise Stopped
    return progress


def save_checkpoint(
    trial: SeedRecord, which: str, network: SpikingNetwork, optimizer: torch.optim.Optimizer | None, progress: Progress
) -> None:
    """Weights, thresholds, early stopping and position; to go on from it, also optimizer and random state.

    The schedule follows from these.
    """
    state = {"network": network.state_dict(), "progress": asdict(progress)}
    if optimizer is not None:
        state |= {"optimizer": optimizer.state_dict(), "random_state": torch.get_rng_state()}
    trial.save_checkpoint(which, state)


def load_checkpoint(
    trial: SeedRecord, which: str, network: SpikingNetwork, optimizer: torch.optim.Optimizer | None = None
) -> Progress:
    """Fill network (and optimizer with random state, to go on training) and return the position."""
    state = trial.load_checkpoint(which, network.device)
    load_weights(network, state["network"], trial.checkpoint_path(which))
    if optimizer is not None:
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random_state"].cpu())
    return Progress.restore(state["progress"])


def is_finished(config: Config, progress: Progress) -> bool:
    """All epochs done, no better epoch for `patience` epochs, or the wanted training accuracy reached."""
    if progress.epoch >= config.epochs:
        return True
    if config.patience is not None and progress.epoch - progress.best_epoch >= config.patience:
        return True
    target, reached = config.target_train_accuracy, progress.train_accuracy
    return target is not None and reached is not None and reached >= target


def layer_warnings(network: SpikingNetwork, evaluation: Evaluation) -> list[str]:
    """Silent and saturated layers, with what to turn."""
    messages = []
    for number, (rate, shape) in enumerate(zip(evaluation.firing_rate, network.shapes, strict=True)):
        layer = f"layer {number + 1} of {len(network.shapes)} ({shape.kind}, {shape.neurons} neurons)"
        knob = f"hparams.threshold.start.{number}"
        if rate == 0:
            messages.append(
                f"{layer} is silent: no neuron fired; lower {knob} or hparams.threshold.rise.{number}, "
                f"or raise hparams.beta"
            )
        elif rate > SATURATED_RATE:
            messages.append(
                f"{layer} is saturated: {rate:.2f} spikes per neuron and step; raise {knob} or lower hparams.beta"
            )
    return messages


@torch.no_grad()
def _locate_non_finite(network: SpikingNetwork, batch: Batch, progress: Progress) -> str:
    """Where the first NaN or Inf stands: a weight, a membrane in the forward pass, or a gradient."""
    position = f"epoch {progress.epoch + 1}, iteration {progress.iteration}"
    remedy = "lower optimizer.lr or set hparams.grad_clip"
    for number, synapse in enumerate(network.synapses):
        for name, parameter in synapse.named_parameters():
            if not parameter.isfinite().all():
                return f"NaN or Inf at {position}: {name} of layer {number + 1} is not finite; {remedy}"
    result = network(batch.inputs, progress.thresholds, step=progress.iteration, record=True)
    for number, layer in enumerate(result.layers):
        assert layer.membrane_TBX is not None
        if not layer.membrane_TBX.isfinite().all():
            return f"NaN or Inf at {position}: the membrane of layer {number + 1} is not finite; {remedy}"
    for number, synapse in reversed(list(enumerate(network.synapses))):
        for name, parameter in synapse.named_parameters():
            if parameter.grad is not None and not parameter.grad.isfinite().all():
                return f"NaN or Inf at {position}: the gradient of {name} of layer {number + 1} is not finite; {remedy}"
    return f"NaN or Inf at {position}: the loss is not finite although every layer is; {remedy}"


@torch.no_grad()
def _clamp(parameters: list[Tensor], bound: float) -> None:
    for parameter in parameters:
        parameter.clamp_(-bound, bound)


def _generator(seed: int, epoch: int) -> torch.Generator:
    """The order of an epoch's samples follows from seed and epoch alone."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
