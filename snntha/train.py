"""Training one seed, top to bottom: step, evaluate, fit."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from snntha import optimizer as optimizers
from snntha import parallel
from snntha.config.schema import Config
from snntha.data.batch import Batch, Data, Split
from snntha.diagnostics import layer_warnings, locate_non_finite, silenced_by_threshold
from snntha.errors import UserError
from snntha.kernels.spec import Result
from snntha.loss import membrane_loss, spike_count_loss
from snntha.network import SpikingNetwork
from snntha.parallel import WHOLE, Share
from snntha.progress import Progress, Totals

if TYPE_CHECKING:
    from snntha.display import Display
    from snntha.records import SeedRecord


class SeedFailed(UserError):
    """Training cannot go on: the loss or a gradient is not a finite number."""


class Stopped(KeyboardInterrupt):
    """The user asked to stop, by the signal that is the argument, and a checkpoint was written."""


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


def forward(
    network: SpikingNetwork, batch: Batch, thresholds: list[float], iteration: int, share: Share = WHOLE
) -> tuple[Tensor, Result]:
    """Loss of one minibatch and what the network did."""
    config = network.config
    if batch.target_TBN is not None:
        result = network(batch.inputs, thresholds, step=iteration, share=share, membrane=True)
        return membrane_loss(result.membrane_TBN, batch.target_TBN.to(network.device)), result
    assert batch.labels_B is not None
    result = network(batch.inputs, thresholds, step=iteration, share=share)
    labels_B = batch.labels_B.to(network.device)
    rates = config.loss.correct_rate, config.loss.incorrect_rate
    return spike_count_loss(result.spike_count_BN, labels_B, batch.inputs.time_steps, *rates), result


def train_step(
    network: SpikingNetwork,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    progress: Progress,
    half_period: float | None,
    share: Share = WHOLE,
) -> Result:
    """Forward, backward, clips, optimizer, Eq. (4) for the thresholds; advances `progress` by one minibatch.

    On a GPU nothing here waits for it: what was not finite is found when `progress.totals` are read.
    """
    config = network.config
    optimizer.zero_grad()
    loss, result = forward(network, batch, progress.thresholds, progress.iteration, share)
    (loss * share.weight).backward()

    samples = batch.inputs.batch
    correct = torch.zeros_like(loss)
    if batch.labels_B is not None:
        correct = (predict(result) == batch.labels_B.to(network.device)).sum().to(loss.dtype)
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    sums = [loss.detach() * share.weight, correct * (share.weight * (samples + share.others) / samples)]
    parallel.add_up([*gradients, *sums, *_own_statistics(network, share)])
    norm = nn.utils.get_total_norm(gradients)
    outcome = torch.stack([sums[0], norm, sums[1]])
    if outcome.is_cpu and not outcome.isfinite().all():
        raise _failed(network, batch, progress, progress.iteration)
    if config.hparams.grad_clip is not None:
        clipped = network.clipped()
        if network.timing():
            norm = nn.utils.get_total_norm([parameter.grad for parameter in clipped if parameter.grad is not None])
        nn.utils.clip_grads_with_norm_(clipped, config.hparams.grad_clip, norm)

    for group in optimizer.param_groups:
        group["lr"] = optimizers.learning_rate(config.optimizer.lr, progress.iteration, half_period)
    clip = config.hparams.weight_clip
    if clip is not None and config.fidelity.weight_clip == "all_before_step":
        _clamp(network.clipped(), clip)
    optimizer.step()
    network.keep_in_range()
    if clip is not None and config.fidelity.weight_clip == "weights_after_step":
        _clamp(network.latent_weights(), clip)

    progress.previous_thresholds = progress.thresholds
    progress.thresholds = network.anneal(progress.thresholds)

    progress.totals.add(outcome, samples + share.others, progress.iteration)
    progress.iteration += 1
    progress.batch += 1
    return result


def _own_statistics(network: SpikingNetwork, share: Share) -> list[Tensor]:
    """Running statistics of BatchNorm that each process has of its own, times its share: their sum is what is kept."""
    if share == WHOLE or network.config.batch_statistics == "shared":
        return []
    return [buffer.mul_(share.weight) for buffer in network.buffers() if buffer.is_floating_point()]


def predict(result: Result) -> Tensor:
    """The class with the highest spike count; ties go to the lowest index."""
    return result.spike_count_BN.detach().argmax(1)


@torch.no_grad()
def evaluate(network: SpikingNetwork, split: Split, thresholds: list[float]) -> Evaluation:
    """Accuracy, firing rates and dead neurons over a whole split, which the processes of a run share."""
    network.eval()
    first = split.batch(torch.arange(1))
    labelled, steps, samples = first.labels_B is not None, first.inputs.time_steps, len(split)
    classes, device = network.specs[-1].neurons, network.device
    spike_counts = [torch.zeros(spec.neurons, dtype=torch.int64, device=device) for spec in network.specs]
    confusion = torch.zeros(classes, classes, dtype=torch.int64, device=device)
    losses, output_membrane = [], None
    own = torch.arange(samples).tensor_split(parallel.processes())[parallel.rank()]
    for positions in own.split(network.config.hparams.batch_size) if len(own) else ():
        batch = split.batch(positions)
        loss, result = forward(network, batch, thresholds, iteration=0)
        losses.append((loss, len(positions)))
        for total_N, layer in zip(spike_counts, result.layers, strict=True):
            total_N += layer.spike_count_N
        if batch.labels_B is not None:
            cells = batch.labels_B.to(device) * classes + predict(result)
            confusion.view(-1).index_add_(0, cells, torch.ones_like(cells))
        if result.membrane_TBN is not None:
            output_membrane = result.membrane_TBN[:, 0, 0].tolist()
    loss_sum = torch.tensor(sum(loss.item() * count for loss, count in losses), dtype=torch.float64, device=device)
    parallel.add_up([loss_sum])
    parallel.add_up([*spike_counts, confusion])
    confusion, *spike_counts = confusion.cpu(), *(total_N.cpu() for total_N in spike_counts)
    return Evaluation(
        loss=loss_sum.item() / samples,
        accuracy=100 * confusion.trace().item() / samples if labelled else None,
        firing_rate=[total_N.double().mean().item() / (samples * steps) for total_N in spike_counts],
        dead_fraction=[(total_N == 0).double().mean().item() for total_N in spike_counts],
        spike_count_N=[total_N.double() / samples for total_N in spike_counts],
        confusion=confusion if labelled else None,
        output_membrane=output_membrane,
    )


def fit(
    network: SpikingNetwork,
    data: Data,
    recorder: "SeedRecord",
    display: "Display",
    *,
    seed: int,
    resume: bool,
    on_epoch: Callable[[Progress], None] = lambda progress: None,
) -> Progress:
    """Train one seed to its end, with a checkpoint after every epoch, and return where it ended.

    Args:
        network: freshly initialised; a resumed seed fills it from its last checkpoint.
        seed: of the order of the samples; with the network's seed it fixes every bit.
        resume: go on from checkpoints/last.pt if there is one.
        on_epoch: called after each epoch, when its checkpoint is written; what it raises ends the seed.

    Raises:
        SeedFailed: a loss or gradient is not finite.
        Stopped: Ctrl-C; last.pt holds the minibatch reached.
    """
    config = network.config
    optimizer = optimizers.build(config.optimizer, network.parameters())
    start = config.hparams.threshold.start
    progress = Progress(thresholds=start, previous_thresholds=start)
    if resume and recorder.checkpoint_path("last").exists():
        progress = recorder.load_checkpoint("last", network, optimizer)
    recorder.forget_after(progress.epoch)

    batches = math.ceil(len(data.train) / config.hparams.batch_size)
    cosine_epochs = config.hparams.cosine_epochs
    half_period = None if cosine_epochs is None else cosine_epochs * batches
    selection = data.validation or data.test or data.train
    display.start_seed(seed, batches, progress)
    if progress.iteration == 0 and selection.batch(torch.arange(1)).target_TBN is not None:
        membrane = evaluate(network, selection, start).output_membrane
        recorder.save_activity("initial", {"output_membrane": membrane, "thresholds": start})

    while not is_finished(config, progress):
        started = time.perf_counter() - progress.totals.seconds
        order = torch.randperm(len(data.train), generator=_generator(seed, progress.epoch))
        network.train()
        progress.signs = progress.signs or network.signs()
        for positions in order.split(config.hparams.batch_size)[progress.batch :]:
            own, share = parallel.share(positions)
            batch = data.train.batch(own)
            result = train_step(network, optimizer, batch, progress, half_period, share)
            progress.totals.seconds = time.perf_counter() - started
            display.minibatch(progress, result, len(own))
            if stop := parallel.greatest(display.stop_requested):
                _read_totals(network, batch, progress)
                recorder.save_checkpoint("last", network, progress, optimizer)
                raise Stopped(stop)

        _read_totals(network, data.train.batch(torch.arange(1)), progress)
        evaluation = evaluate(network, selection, progress.thresholds)
        if not math.isfinite(evaluation.loss):
            raise _failed(network, selection.batch(torch.arange(1)), progress, progress.iteration)
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
        signs = zip(progress.signs, network.signs(), strict=True)
        flips = [(before != after).double().mean().item() for before, after in signs]
        progress.signs = []

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
            **silenced,
            "warnings": layer_warnings(network.specs, evaluation.firing_rate, data.notes),
        }
        if flips:
            metrics["sign_flips"] = flips
        betas = [beta_C.double() for beta_C in network.betas() if beta_C is not None]
        if betas:
            metrics["beta_mean"] = [beta_C.mean().item() for beta_C in betas]
            metrics["beta_std"] = [beta_C.std(correction=0).item() for beta_C in betas]
        if evaluation.output_membrane is not None:
            metrics["output_membrane"] = evaluation.output_membrane
        recorder.append_metrics(metrics)
        if progress.epoch == 1:
            activity = {"spike_count_N": evaluation.spike_count_N, "thresholds": progress.thresholds}
            recorder.save_activity("start", activity)
        if improved:
            recorder.save_checkpoint("best", network, progress)
        recorder.save_checkpoint("last", network, progress, optimizer)
        display.epoch(metrics)
        on_epoch(progress)
        if (stop := parallel.greatest(display.stop_requested)) and not is_finished(config, progress):
            raise Stopped(stop)
    return progress


def is_finished(config: Config, progress: Progress) -> bool:
    """All epochs done, no better epoch for `patience` epochs, or the wanted training accuracy reached."""
    if progress.epoch >= config.epochs:
        return True
    if config.patience is not None and progress.epoch - progress.best_epoch >= config.patience:
        return True
    target, reached = config.target_train_accuracy, progress.train_accuracy
    return target is not None and reached is not None and reached >= target


def _read_totals(network: SpikingNetwork, batch: Batch, progress: Progress) -> None:
    """Bring the totals up to date; raises SeedFailed where a minibatch was not finite."""
    progress.totals.read()
    if progress.totals.bad_iteration is not None:
        raise _failed(network, batch, progress, progress.totals.bad_iteration)


def _failed(network: SpikingNetwork, batch: Batch, progress: Progress, iteration: int) -> SeedFailed:
    where = locate_non_finite(network, batch, progress.thresholds, progress.iteration)
    recurrent = any(spec.recurrent for spec in network.specs)
    return SeedFailed(
        f"NaN or Inf at epoch {progress.epoch + 1}, iteration {iteration}: {where}; "
        f"lower {'hparams.recurrent_gradient, ' * recurrent}optimizer.lr or set hparams.grad_clip"
    )


@torch.no_grad()
def _clamp(parameters: list[Tensor], bound: float) -> None:
    for parameter in parameters:
        parameter.clamp_(-bound, bound)


def _generator(seed: int, epoch: int) -> torch.Generator:
    """The order of an epoch's samples follows from seed and epoch alone."""
    return torch.Generator().manual_seed(seed * 1_000_003 + epoch)
