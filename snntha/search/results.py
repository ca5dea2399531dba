"""What a search leaves in its folder: `trials.csv`, and `best.yaml`, which `snntha train hparams=FILE` takes."""

import csv
import io
import re
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import yaml
from optuna.study import Study
from optuna.trial import TrialState

from snntha import config as configuration
from snntha.errors import UserError
from snntha.records import write_atomically
from snntha.search.failures import reason
from snntha.search.snapshot import Snapshot, duration, override_text, score


def write_results(study: Study, folder: Path, notes: list[str] | None = None) -> list[Path]:
    """Replace trials.csv and, as soon as a trial is complete, best.yaml.

    Args:
        study: finished or not.
        folder: of the study; holds the trials' folders and receives the files.
        notes: receives a sentence where best.yaml cannot be written.
    """
    snapshot = Snapshot.of(study)
    folder.mkdir(parents=True, exist_ok=True)
    written = [folder / "trials.csv"]
    write_atomically(written[0], _trials_csv(snapshot))
    try:
        write_atomically(folder / "best.yaml", _best_yaml(snapshot, folder))
        written.append(folder / "best.yaml")
    except UserError as error:
        if notes is not None:
            notes.append(f"best.yaml was not written: {error}")
    return written


def _trials_csv(snapshot: Snapshot) -> str:
    """One line a trial; parameters by their key on the command line, empty where a trial has none or it is unknown."""
    text, now = io.StringIO(), datetime.now()
    heads = ("number", "state", "value", "pruned_at_epoch", "seconds", "worker", "failure")
    writer = csv.DictWriter(text, [*heads, *snapshot.parameters], lineterminator="\n")
    writer.writeheader()
    for trial in snapshot.trials:
        known = trial.state in (TrialState.COMPLETE, TrialState.PRUNED)
        writer.writerow(
            {
                "number": trial.number,
                "state": trial.state.name,
                "value": score(trial) if known else None,
                "pruned_at_epoch": trial.last_step if trial.state == TrialState.PRUNED else None,
                "seconds": duration(trial, now),
                "worker": trial.user_attrs.get("worker"),
                "failure": reason(trial) if trial.state == TrialState.FAIL else None,
                **{name: override_text(value) for name, value in trial.params.items()},
            }
        )
    return text.getvalue()


def _best_yaml(snapshot: Snapshot, folder: Path) -> str:
    """The best trial's hyperparameters as a file of conf/hparams; raises UserError where they cannot be had."""
    best = snapshot.best
    if best is None:
        raise UserError("no trial is complete")
    path = folder / f"trial_{best.number}" / "config.yaml"
    if not path.is_file():
        raise UserError(
            f"{path} of the best trial is missing: its worker was {best.user_attrs.get('worker', 'unknown')}; "
            f"copy the trial's folder from that machine, or repeat the command there"
        )
    config = configuration.from_yaml(path)
    name = re.sub(r"\W+", "_", f"{snapshot.study.study_name}_best", flags=re.ASCII)
    hparams = {**asdict(config.hparams), "name": f"search_{name}" if name[0].isdecimal() else name}
    comment = (
        f"# search {snapshot.study.study_name}, trial {best.number}: {score(best):.2f}{snapshot.unit} "
        f"(selection on {config.selection}), the best of {len(snapshot.ended)} trials so far; {snapshot.setting}"
    )
    return f"{comment}\n{yaml.safe_dump(hparams, sort_keys=False, default_flow_style=None, width=120)}"
