"""What a run shows while it trains: a live table in a terminal, plain lines elsewhere. Also listens for Ctrl-C."""

import signal
import time
from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from rich.console import Console, ConsoleRenderable, Group
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from snntha import layers
from snntha.config.schema import Config
from snntha.errors import PRINTABLE
from snntha.kernels.spec import Result
from snntha.layers import LayerSpec
from snntha.progress import Progress

REFRESH_SECONDS = 0.5
NARROW = 60  # characters of the live table at most


class Display:
    """Progress of a run. Use it as a context: inside, the first Ctrl-C (or SIGTERM, SIGHUP) only sets `stop_requested`.

    Args:
        config: of the run.
        console: where to print; live output only if it is a terminal.
    """

    def __init__(self, config: Config, console: Console):
        self.config = config
        self.specs = layers.resolve(config)
        self.console = console
        self.stop_requested = 0
        self.seeds_begun = 0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._drawn = 0.0

    def __enter__(self) -> "Display":
        kinds = [signal.SIGINT, signal.SIGTERM]  # Ctrl-C, and what clusters send
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # of a terminal that is closed; nohup has it ignored
            kinds.append(signal.SIGHUP)
        self._handlers = {kind: signal.signal(kind, self._request_stop) for kind in kinds}
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
        for kind, handler in self._handlers.items():
            signal.signal(kind, handler)

    def start_seed(self, seed: int, batches: int, progress: Progress) -> None:
        self.seeds_begun += 1
        self.batches = batches
        self._started = time.perf_counter()
        self._done_before = progress.iteration
        self._last_metrics: dict[str, Any] | None = None
        self._warned: set[str] = set()
        resumed = f", going on after iteration {progress.iteration}" if progress.iteration else ""
        place = f" (trial_{self.seeds_begun - 1} of {self.config.trials})" if self.config.trials > 1 else ""
        say(self.console, f"seed {seed}{place}{resumed}")

    def minibatch(self, progress: Progress, result: Result, samples: int) -> None:
        """Redraw the live table, at most twice a second."""
        now = time.perf_counter()
        if self._live is not None and now - self._drawn >= REFRESH_SECONDS:
            self._drawn = now
            progress.totals.read()
            counts = [layer.spike_count_N.double().mean().item() for layer in result.layers]
            rates = [count / (samples * self.config.dataset.time_steps) for count in counts]
            self._live.update(self._table(progress, rates), refresh=True)

    def epoch(self, metrics: dict[str, Any]) -> None:
        """One plain line for an epoch, where there is no live table; warnings once a seed, everywhere."""
        self._last_metrics = metrics
        if self._live is None:
            say(self.console, self._line(metrics))
        for warning in metrics["warnings"]:
            if warning not in self._warned:
                self._warned.add(warning)
                say(self.console, f"warning: epoch {metrics['epoch']}: {warning}", style="yellow")

    def _request_stop(self, number: int, frame: object) -> None:
        if self.stop_requested:
            raise KeyboardInterrupt(number)
        self.stop_requested = number
        say(self.console, "stopping after this minibatch; press Ctrl-C again to stop without a checkpoint")

    def _table(self, progress: Progress, rates: list[float]) -> ConsoleRenderable:
        """Never wider than NARROW: where a window shrinks, what stands in it must not be broken into more lines."""
        totals, minibatches = progress.totals, self.config.epochs * self.batches
        pace = (time.perf_counter() - self._started) / (progress.iteration - self._done_before)
        left = timedelta(seconds=round(pace * max(minibatches - progress.iteration, 0)))
        bar = Table.grid(Column(ratio=1), padding=0, expand=True)  # its row ends the line, which the bar alone does not
        bar.add_row(ProgressBar(total=minibatches, completed=progress.iteration))
        where = f"epoch {progress.epoch + 1} of {self.config.epochs}, minibatch {progress.batch} of {self.batches}"
        now = f"at most {left} left, loss {totals.loss / totals.samples:.4f}"
        if progress.train_accuracy is not None or totals.correct:
            now += f", accuracy {100 * totals.correct / totals.samples:.2f} %"
        last = self._last_metrics
        dead = [f"{share:.1%}" for share in last["dead_fraction"]] if last else [""] * len(rates)
        further = {"dead": dead}
        if progress.signs:
            further["flips"] = [f"{share:.1%}" for share in last["sign_flips"]] if last else [""] * len(rates)
        table = layer_table(self.specs, progress.thresholds, rates, further)
        table.box, table.padding = None, (0, 2, 0, 0)
        lines = [bar, Text(where), Text(now), table]
        if last is not None:
            lines.append(Text(f"last epoch: {', '.join(self._outcome(last))}", style="dim"))
        return Constrain(Group(*lines), NARROW)

    def _outcome(self, metrics: dict[str, Any]) -> list[str]:
        """Loss, and accuracies where there are any."""
        parts = [f"loss {metrics['train_loss']:.4f}"]
        if metrics["train_accuracy"] is not None:
            selected = f"{metrics['selection']} {metrics['validation_accuracy']:.2f} %"
            parts += [f"train {metrics['train_accuracy']:.2f} %", selected]
        return parts

    def _line(self, metrics: dict[str, Any]) -> str:
        parts = [f"epoch {metrics['epoch']}/{self.config.epochs}", *self._outcome(metrics)]
        parts.append("theta " + " ".join(f"{theta:.3f}" for theta in metrics["thresholds"]))
        parts.append("rate " + " ".join(f"{rate:.4f}" for rate in metrics["firing_rate"]))
        parts.append("dead " + " ".join(f"{share:.1%}" for share in metrics["dead_fraction"]))
        if "sign_flips" in metrics:
            parts.append("flips " + " ".join(f"{share:.1%}" for share in metrics["sign_flips"]))
        parts.append(f"{metrics['seconds']:.1f} s")
        return "  ".join(parts)


def say(console: Console, text: str, style: str | None = None) -> None:
    """One plain line, not broken, so that commands in it can be copied."""
    console.print(plain(text, style), soft_wrap=True)


def plain(text: str, style: str | None = None) -> Text:
    """A text of someone else for a terminal: neither markup nor an escape sequence."""
    return Text(text.translate(PRINTABLE), style=style or "")


def layer_table(
    specs: Sequence[LayerSpec], thresholds: Sequence[float], rates: Sequence[float], further: dict[str, list[str]]
) -> Table:
    """A row for each layer, rates in spikes per neuron and step, with further columns."""
    layers = enumerate(zip(specs, thresholds, rates, *further.values(), strict=True), start=1)
    rows = [
        (f"{number} {spec.kind}", spec.neurons, f"{theta:.4f}", f"{rate:.4f}", *cells)
        for number, (spec, theta, rate, *cells) in layers
    ]
    return number_table(["layer", "neurons", "threshold", "spikes / neuron / step", *further], rows)


def number_table(heads: Sequence[str], rows: Iterable[Sequence[Any]], title: str | None = None) -> Table:
    """A table whose cells stand to the right: a percentage, any float, with two digits, None as `-`."""
    table = Table(*(Column(head, justify="right") for head in heads), title=title)
    for row in rows:
        table.add_row(
            *(f"{cell:.2f}" if isinstance(cell, float) else "-" if cell is None else str(cell) for cell in row)
        )
    return table
