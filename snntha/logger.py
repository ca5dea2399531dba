"""TensorBoard events beside metrics.jsonl: the same names, with `firing_rate/layer_1` and so on for lists."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from snntha.errors import UserError

Log = Callable[[dict[str, Any]], None]  # receives one epoch's line of metrics.jsonl


def require(logger: str) -> None:
    """Refuse a logger whose package is not installed; UserError says how to install it."""
    if logger == "tensorboard":
        try:
            import tensorboard  # noqa: F401
        except ImportError as error:
            raise UserError(
                "logger=tensorboard: the package tensorboard is not installed; "
                "install it with: pip install 'snntha[tensorboard]', or pass logger=none"
            ) from error


def open_log(logger: str, folder: Path) -> Log | None:
    """A function that writes epochs into <folder>/tensorboard; None for logger=none."""
    return TensorBoard(folder / "tensorboard").write if logger == "tensorboard" else None


class TensorBoard:
    """Writes at the first epoch, not before; a resumed trial's epochs replace those it repeats."""

    def __init__(self, folder: Path):
        self.folder = folder
        self._writer = None

    def write(self, metrics: dict[str, Any]) -> None:
        """One step of each scalar, on disk when this returns."""
        from torch.utils.tensorboard import SummaryWriter

        if self._writer is None:
            self._writer = SummaryWriter(str(self.folder), purge_step=metrics["epoch"])
        for name, value in scalars(metrics):
            self._writer.add_scalar(name, value, metrics["epoch"])
        self._writer.flush()


def scalars(metrics: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers as they are named, lists layer by layer; texts and `output_membrane`, a trace over time, are left out."""
    for name, value in metrics.items():
        if isinstance(value, list) and name not in ("warnings", "output_membrane"):
            yield from ((f"{name}/layer_{layer}", number) for layer, number in enumerate(value, start=1))
        elif isinstance(value, int | float) and name != "epoch":
            yield name, value
