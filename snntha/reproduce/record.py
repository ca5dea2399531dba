"""What is kept of a cell: its run's folder without weights, small enough for the repository, and readable as a run.

Folders of this machine do not belong in it, and of a long seed not every epoch.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from snntha import config as configuration
from snntha.atomic import write_atomically
from snntha.folder import RunFolder, SeedFolder, read_json
from snntha.reproduce.plan import Cell

KEPT_EPOCHS = 500  # of a seed; of a longer one every THINNING-th, the selected and the last
THINNING = 20
MEMBRANES = 100  # of temporal coding, whose epochs are single iterations, one in so many, the selected and the last


def ended(folder: Path) -> int:
    """Seeds of a run that have ended, or failed; 0 where there is no run."""
    return len(RunFolder(folder).entries) if (folder / "summary.json").is_file() else 0


def keep(cell: Cell, run_folder: Path, results: Path) -> None:
    """Write the cell's record, `results/<cell>/`, from its run's folder; where no seed has ended, nothing."""
    if not ended(run_folder):
        return
    run, record = RunFolder(run_folder), results / cell.name
    for number, seed in enumerate(run.seeds[: len(run.entries)]):
        (record / f"trial_{number}").mkdir(parents=True, exist_ok=True)
        write_atomically(record / f"trial_{number}" / "metrics.jsonl", "".join(map(_line, _kept_epochs(seed))))
    config = run.load_config()
    own = replace(config.dataset, root="data", cache="cache")
    config = replace(config, dataset=own, output_dir=f"results/{cell.name}")
    write_atomically(record / "config.yaml", configuration.to_yaml(config))
    for name, content in (("environment.json", _environment(cell, run_folder)), ("summary.json", run.summary)):
        write_atomically(record / name, json.dumps(content, indent=2) + "\n")


def _kept_epochs(seed: SeedFolder) -> list[dict[str, Any]]:
    lines, marked = seed.metrics, {seed.entry.get("best_epoch"), seed.epochs}
    if len(lines) > KEPT_EPOCHS:
        lines = [line for line in lines if line["epoch"] in marked or line["epoch"] % THINNING == 0]
    drawn = {line["epoch"] for line in lines if line["epoch"] in marked or line["epoch"] % MEMBRANES == 0}
    return [{key: v for key, v in line.items() if key != "output_membrane" or line["epoch"] in drawn} for line in lines]


def _line(epoch: dict[str, Any]) -> str:
    return json.dumps(epoch) + "\n"


def _environment(cell: Cell, run_folder: Path) -> dict[str, Any]:
    """With the command that makes the record anew in place of those that made it here."""
    told = read_json(run_folder / "environment.json")
    resumed = [{**again, "command": cell.command} for again in told.get("resumed", [])]
    return {**told, "command": cell.command} | ({"resumed": resumed} if resumed else {})
