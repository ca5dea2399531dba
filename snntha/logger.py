"""Other programs' records beside metrics.jsonl: the same names, with `firing_rate/layer_1` and so on for lists.

TensorBoard writes into the seed's folder. MLflow and Weights & Biases go where their own environment variables say
(MLFLOW_TRACKING_URI, WANDB_MODE=offline, WANDB_PROJECT); a resumed seed goes on in the run that it began there.
"""

# mlflow and wandb are extras, which the type check does without:
# pyright: reportMissingImports=false

import os
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from snntha.config import flatten
from snntha.errors import UserError

_RUN_ID = "mlflow_run_id"  # file of the seed's folder
_PROJECT = "snntha"


class Log(Protocol):
    """Where one seed's epochs go."""

    def epoch(self, metrics: Mapping[str, Any]) -> None:
        """One epoch's line of metrics.jsonl; stored when it returns."""
        ...

    def finish(self, result: Mapping[str, Any]) -> None:
        """The seed's entry of summary.json, when it has ended."""
        ...


def require(logger: str) -> None:
    """Refuse a logger whose package is not installed; UserError says how to install it."""
    if logger != "none" and find_spec(logger) is None:
        raise UserError(
            f"logger={logger}: the package {logger} is not installed; "
            f"install it with: pip install 'snntha[{logger}]', or pass logger=none"
        )


def open_log(logger: str, folder: Path, config: Mapping[str, Any]) -> Log | None:
    """Where a seed, by its folder, is logged with the configuration of its run; None for logger=none."""
    if logger == "none":
        return None
    settings = {
        key: value if isinstance(value, bool | int | float) else str(value) for key, value in flatten(dict(config))
    }
    return {"tensorboard": TensorBoard, "mlflow": MLflow, "wandb": WeightsAndBiases}[logger](folder, settings)


class TensorBoard:
    """Events in <folder>/tensorboard; when a seed has ended, also a row of the HParams table."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        self.folder, self.settings = folder / "tensorboard", dict(settings)
        self.writer: Any = None

    def epoch(self, metrics: Mapping[str, Any]) -> None:
        epoch = metrics["epoch"]
        writer = self.writer or self._open(epoch)  # a resumed seed's epochs replace those that it repeats
        for name, value in scalars(metrics):
            writer.add_scalar(name, value, epoch)
        writer.flush()

    def finish(self, result: Mapping[str, Any]) -> None:
        writer = self.writer or self._open(None)
        outcome = {f"result/{name}": value for name, value in scalars(result)}
        writer.add_hparams(self.settings, outcome, run_name=".")  # a table's row of this folder, not of one below
        writer.close()

    def _open(self, epoch: int | None) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(self.folder), purge_step=epoch)
        return self.writer


class MLflow:
    """A run of the experiment snntha, on the server or in the store that MLFLOW_TRACKING_URI names."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        self.client, known = MlflowClient(), folder / _RUN_ID
        if known.is_file():
            self.run_id = known.read_text()
            return
        experiment = self.client.get_experiment_by_name(_PROJECT)
        place = experiment.experiment_id if experiment else self.client.create_experiment(_PROJECT)
        self.run_id = self.client.create_run(place, run_name=f"{folder.parent.name}/{folder.name}").info.run_id
        self.client.log_batch(self.run_id, params=[Param(key, str(value)) for key, value in settings.items()])
        folder.mkdir(parents=True, exist_ok=True)
        known.write_text(self.run_id)

    def epoch(self, metrics: Mapping[str, Any]) -> None:
        self._log(metrics, metrics["epoch"])

    def finish(self, result: Mapping[str, Any]) -> None:
        self._log({f"result_{name}": value for name, value in result.items()}, result["epochs"])
        self.client.set_terminated(self.run_id)

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self.client.log_batch(self.run_id, [Metric(name, value, now, step) for name, value in scalars(values)])


class WeightsAndBiases:
    """A run of the project snntha, or of WANDB_PROJECT; its files lie in the seed's folder."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]):
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        name = f"{folder.parent.name}-{folder.name}"
        project = os.environ.get("WANDB_PROJECT", _PROJECT)
        known = wandb.init(project=project, dir=str(folder), name=name, id=name, resume="allow", reinit="create_new")
        known.config.update(dict(settings), allow_val_change=True)  # a resumed run may be allowed more epochs
        self.run = known

    def epoch(self, metrics: Mapping[str, Any]) -> None:
        self.run.log(dict(scalars(metrics)), step=metrics["epoch"])

    def finish(self, result: Mapping[str, Any]) -> None:
        self.run.summary.update({f"result/{name}": value for name, value in scalars(result)})
        self.run.finish()


def scalars(metrics: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers as they are named, lists layer by layer; texts and `output_membrane`, a trace over time, are left out."""
    for name, value in metrics.items():
        if isinstance(value, list) and name not in ("warnings", "output_membrane"):
            yield from ((f"{name}/layer_{layer}", number) for layer, number in enumerate(value, start=1))
        elif isinstance(value, int | float) and name != "epoch":
            yield name, value
