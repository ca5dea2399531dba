"""What a run shows while it trains: a live table in a terminal, plain lines elsewhere. Also listens for Ctrl-C."""

import signal
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from snntha.config.schema import Config

if TYPE_CHECKING:
    from snntha.kernels.spec import Result
    from snntha.progress import Progress

REFRESH_SECONDS = 0.5


class Display:
    """Progress of a run. Use it as a context: inside, the first Ctrl-C only sets `stop_requested`.

    Args:
        config: of the run.
        neurons: neurons of each spiking layer.
        console: where to print; live output only if it is a terminal.
    """

    def __init__(self, config: Config, neurons: list[int], console: Console):
        self.config = config
        self.neurons = neurons
        self.console = console
        self.stop_requested = False
        self.seeds_begun = 0
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._warned: set[str] = set()
        self._last_metrics: dict[str, Any] | None = None
        self._rates: list[float] | None = None
        self._drawn = 0.0

    def __enter__(self) -> "Display":
        self._handlers = {number: signal.signal(number, self._request_stop) for number in _STOP_SIGNALS}
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._live is not None:
            self._live.stop()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def start_seed(self, seed: int, batches: int, progress: "Progress") -> None:
        self.seeds_begun += 1
        self.batches = batches
        self._started = time.perf_counter()
        self._done_before = progress.iteration
        self._last_metrics = None
        self._warned.clear()
        resumed = f", going on after iteration {progress.iteration}" if progress.iteration else ""
        self.console.print(f"seed {seed}, {self.seeds_begun} of {self.config.trials}{resumed}")

    def minibatch(self, progress: "Progress", result: "Result", samples: int) -> None:
        """Redraw the live table, at most twice a second."""
        now = time.perf_counter()
        if self._live is None or now - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = now
        rates = []
        for layer, neurons in zip(result.layers, self.neurons, strict=True):
            steps = self.config.dataset.time_steps
            rates.append(layer.spike_count_N.sum().item() / (neurons * samples * steps))
        self._rates = rates
        self._live.update(self._table(progress), refresh=True)

    def epoch(self, metrics: dict[str, Any]) -> None:
        """One plain line for an epoch, where there is no live table; warnings once a seed, everywhere."""
        self._last_metrics = metrics
        if self._live is None:
            self.console.print(self._line(metrics), soft_wrap=True, highlight=False)
        for warning in metrics["warnings"]:
            if warning not in self._warned:
                self._warned.add(warning)
                self.console.print(f"[yellow]warning[/]: epoch {metrics['epoch']}: {warning}", soft_wrap=True)

    def _request_stop(self, number: int, frame: object) -> None:
        if self.stop_requested:
            raise KeyboardInterrupt
        self.stop_requested = True
        self.console.print("stopping after this minibatch; press Ctrl-C again to stop without a checkpoint")

    def _time_left(self, progress: "Progress") -> str:
        done = progress.iteration - self._done_before
        if done < 1:
            return "?"
        left = self.config.epochs * self.batches - progress.iteration
        seconds = (time.perf_counter() - self._started) / done * max(left, 0)
        return str(timedelta(seconds=round(seconds)))

    def _table(self, progress: "Progress") -> Group:
        epochs, totals = self.config.epochs, progress.totals
        accuracy = ""
        if progress.train_accuracy is not None or totals.correct:
            accuracy = f"   accuracy {100 * totals.correct / totals.samples:.2f} %"
        head = Text(
            f"epoch {progress.epoch + 1} of {epochs}   minibatch {progress.batch} of {self.batches}   "
            f"at most {self._time_left(progress)} left   loss {totals.loss / totals.samples:.4f}{accuracy}"
        )
        bar = ProgressBar(total=epochs * self.batches, completed=progress.iteration, width=60)
        layers = Table(box=None, padding=(0, 2))
        for column in ("layer", "neurons", "threshold", "spikes/neuron/step", "dead (last epoch)"):
            layers.add_column(column, justify="right")
        dead = self._last_metrics["dead_fraction"] if self._last_metrics else [None] * len(self.neurons)
        rates = self._rates or [0.0] * len(self.neurons)
        for number, row in enumerate(zip(self.neurons, progress.thresholds, rates, dead, strict=True)):
            neurons, theta, rate, share = row
            layers.add_row(
                str(number + 1), str(neurons), f"{theta:.4f}", f"{rate:.4f}", "" if share is None else f"{share:.1%}"
            )
        parts: list[Any] = [bar, head, layers]
        if self._last_metrics is not None:
            parts.append(Text(f"last: {self._line(self._last_metrics)}", style="dim"))
        return Group(*parts)

    def _line(self, metrics: dict[str, Any]) -> str:
        parts = [f"epoch {metrics['epoch']}/{self.config.epochs}", f"loss {metrics['train_loss']:.4f}"]
        if metrics["train_accuracy"] is not None:
            parts.append(f"train {metrics['train_accuracy']:.2f} %")
            parts.append(f"{metrics['selection']} {metrics['validation_accuracy']:.2f} %")
        parts.append("theta " + " ".join(f"{theta:.3f}" for theta in metrics["thresholds"]))
        parts.append("rate " + " ".join(f"{rate:.4f}" for rate in metrics["firing_rate"]))
        parts.append("dead " + " ".join(f"{share:.1%}" for share in metrics["dead_fraction"]))
        parts.append(f"{metrics['seconds']:.1f} s")
        return "  ".join(parts)


_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
