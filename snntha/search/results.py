"""What a search leaves in its folder: `trials.csv`, and `best.yaml`, which `snntha train hparams=FILE` takes."""

import csv
import io
import re
from pathlib import Path

import yaml
from optuna.trial import FrozenTrial, TrialState

from snntha.config.files import as_delta
from snntha.records import write_atomically
from snntha.search.failures import reason
from snntha.search.snapshot import Snapshot, score


def write_results(snapshot: Snapshot, folder: Path) -> list[Path]:
    """Replace trials.csv and, as soon as a trial is complete, best.yaml."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"trials.csv": _trials_csv(snapshot)}
    if snapshot.ranked:
        texts["best.yaml"] = _best_yaml(snapshot, snapshot.ranked[0])
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return [folder / name for name in texts]


def _trials_csv(snapshot: Snapshot) -> str:
    """One line a trial; parameters by their key on the command line, empty where a trial has none or it is unknown."""
    text, names = io.StringIO(), dict.fromkeys(name for trial in snapshot.trials for name in trial.params)
    heads = ("number", "state", "value", "pruned_at_epoch", "seconds", "worker", "failure")
    writer = csv.DictWriter(text, [*heads, *names], lineterminator="\n")
    writer.writeheader()
    for trial in snapshot.trials:
        row = {
            "number": trial.number,
            "state": trial.state.name,
            "value": score(trial) if trial in snapshot.ended else None,
            "pruned_at_epoch": trial.last_step if trial.state == TrialState.PRUNED else None,
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            "worker": trial.user_attrs.get("worker"),
            "failure": reason(trial) if trial.state == TrialState.FAIL else None,
        }
        writer.writerow({**row, **trial.params})
    return text.getvalue()


def _best_yaml(snapshot: Snapshot, best: FrozenTrial) -> str:
    """The best trial's hyperparameters, which its job has recorded, as a file of conf/hparams."""
    name = re.sub(r"\W+", "_", f"{snapshot.name}_best", flags=re.ASCII)
    tuned = as_delta(best.user_attrs["hparams"])  # a study of an earlier version recorded them flat
    tuned["hparams"]["name"] = f"search_{name}" if name[0].isdecimal() else name
    comment = (
        f"# search {snapshot.name}, trial {best.number}: {score(best):.2f} ({snapshot.measure}; selection on "
        f"validation), the best of {len(snapshot.ended)} trials so far; {snapshot.setting}"
    )
    text = yaml.safe_dump(tuned, sort_keys=False, default_flow_style=None, width=120)
    return f"# @package _global_\n{comment}\n{text}"
