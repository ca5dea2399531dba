"""TensorBoard events beside metrics.jsonl: the same names, with `firing_rate/layer_1` and so on for lists."""

from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from snntha.errors import UserError

Log = Callable[[dict[str, Any]], None]  # receives one epoch's line of metrics.jsonl


def require(logger: str) -> None:
    """Refuse a logger whose package is not installed; UserError says how to install it."""
    if logger == "tensorboard" and find_spec("tensorboard") is None:
        raise UserError(
            "logger=tensorboard: the package tensorboard is not installed; "
            "install it with: pip install 'snntha[tensorboard]', or pass logger=none"
        )


def open_log(logger: str, folder: Path) -> Log | None:
    """A function that writes epochs into <folder>/tensorboard, on disk when it returns; None for logger=none."""
    if logger == "none":
        return None
    from torch.utils.tensorboard import SummaryWriter

    writer: SummaryWriter | None = None

    def write(metrics: dict[str, Any]) -> None:
        nonlocal writer
        epoch = metrics["epoch"]
        if writer is None:  # a resumed seed's epochs replace those that it repeats
            writer = SummaryWriter(str(folder / "tensorboard"), purge_step=epoch)
        for name, value in scalars(metrics):
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return write


def scalars(metrics: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers as they are named, lists layer by layer; texts and `output_membrane`, a trace over time, are left out."""
    for name, value in metrics.items():
        if isinstance(value, list) and name not in ("warnings", "output_membrane"):
            yield from ((f"{name}/layer_{layer}", number) for layer, number in enumerate(value, start=1))
        elif isinstance(value, int | float) and name != "epoch":
            yield name, value
