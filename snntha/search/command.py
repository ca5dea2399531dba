"""`snntha search`: what a study has found, and which studies there are."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import optuna
from optuna.study import Study
from rich.console import Console
from rich.table import Table

from snntha.display import plain
from snntha.errors import UserError, did_you_mean
from snntha.records import without_passwords
from snntha.search.report import finish, say
from snntha.search.shared_study import connect
from snntha.search.snapshot import Snapshot, score

DATABASE = "study.db"  # in a study's folder, unless it lies in a storage of its own
START = "snntha train -m search=tpe dataset=digits mode=annealed"


def run_command(study: str, storage: str, parent: Path, *, pictures: bool) -> None:
    """Print a study's report and write its results; of several, compare them; without a study, a table of all.

    Args:
        study: name of a study, or path of its folder; several with commas between; "" for the table.
        storage: URL; "" for the study.db of the folder.
        parent: folder of the studies.
        pictures: whether to draw.

    Raises:
        UserError: no such study.
    """
    place = f"storage={without_passwords(storage)}" if storage else f"dir={parent}"
    if not study:
        folders = [path.parent for path in sorted(parent.glob(f"*/{DATABASE}"))]
        studies = _studies(storage) if storage else list(_readable(folders))
        studies = [study for study in studies if "config" in study.user_attrs]
        _print_table(studies, f"Studies in {place}")
        say("next   snntha search STUDY" if studies else f"none   in {place}; start one with: {START}")
    elif "," in study:
        from snntha.search.pictures import draw_comparison

        compared = [_find(name, storage, parent, place)[0] for name in study.split(",")]
        _print_table(compared, "Studies compared")
        for path in draw_comparison([Snapshot(study) for study in compared], parent):
            say(f"wrote  {path}")
    else:
        found, folder = _find(study, storage, parent, place)
        finish(found, folder, pictures=pictures)
        url = without_passwords(storage) or f"sqlite:///{folder / DATABASE}"
        say(f"live   optuna-dashboard {url}  (pip install optuna-dashboard)")


def _find(name: str, storage: str, parent: Path, place: str) -> tuple[Study, Path]:
    """A study and its folder: the one where it was searched if that is on this machine, else one below the parent."""
    if storage:
        named = {study.study_name: study for study in _studies(storage)}
        known, found, folder = list(named), named.get(name), parent / name
    else:
        known = [path.parent.name for path in sorted(parent.glob(f"*/{DATABASE}"))]
        folder = next((path for path in (parent / name, Path(name)) if (path / DATABASE).is_file()), parent / name)
        found = _of_folder(folder) if (folder / DATABASE).is_file() else None
    if found is None:
        there = f"there are {', '.join(known)}{did_you_mean(name, known)}" if known else f"start one with: {START}"
        raise UserError(f"{name}: there is no such study in {place}; {there}")
    if "config" not in found.user_attrs:
        raise UserError(f"{name}: this study was not begun by snntha train -m search=..., so its report is unknown")
    own = Path(found.user_attrs.get("folder", folder))
    return found, own if storage and own.is_dir() else folder


def _studies(storage: str) -> list[Study]:
    database = connect(storage)
    names = optuna.get_all_study_names(database)
    return [optuna.load_study(study_name=name, storage=database) for name in names]


def _readable(folders: Sequence[Path]) -> Iterator[Study]:
    """The studies in these folders; of one that cannot be read, why."""
    for folder in folders:
        try:
            yield _of_folder(folder)
        except UserError as error:
            say(f"note   {folder} is left out: {error}")


def _of_folder(folder: Path) -> Study:
    """The study in a folder's study.db; in a folder that was moved or renamed it is called otherwise."""
    studies = _studies(f"sqlite:///{folder / DATABASE}")
    if not studies:
        raise UserError(f"{folder / DATABASE} holds no study")
    return next((study for study in studies if study.study_name == folder.resolve().name), studies[0])


def _print_table(studies: Sequence[Study], title: str) -> None:
    """One row a study: what it searches, how far it is, its best value."""
    table = Table("study", "dataset", "mode", "trials ended", "best", "in trial", title=title, box=None)
    for snapshot in map(Snapshot, studies):
        ended = f"{len(snapshot.ended)} of {snapshot.attributes['n_trials']}"
        best = [f"{score(trial):.2f} {trial.number}" for trial in snapshot.ranked[:1]] or ["- -"]
        choices = snapshot.config["dataset.name"], snapshot.config["mode.name"]
        table.add_row(*map(plain, [snapshot.study.study_name, *choices, ended, *best[0].split()]))
    if studies:
        Console().print(table, highlight=False)
