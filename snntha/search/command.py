"""`snntha search`: what a study has found, and which studies there are."""

from collections.abc import Sequence
from pathlib import Path

import optuna
from optuna.study import Study

from snntha.config import did_you_mean
from snntha.errors import UserError
from snntha.records import without_passwords
from snntha.report.formats import terminal
from snntha.report.table import Column, Table
from snntha.search.report import finish, print_lines
from snntha.search.snapshot import Snapshot, score
from snntha.search.storage import DATABASE, connect, default_storage
from snntha.search.study import open_study

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
    if not study:
        place = f"storage={without_passwords(storage)}" if storage else f"dir={parent}"
        studies = _all_studies(parent, storage)
        if studies:
            terminal([studies_table(studies, f"Studies in {place}")])
        print_lines([("next", "snntha search STUDY") if studies else ("none", f"in {place}; start one with: {START}")])
        return
    if "," in study:
        _compare([_find(name, storage, parent)[0] for name in study.split(",")], parent)
        return
    found, folder = _find(study, storage, parent)
    finish(found, folder, pictures=pictures)
    print_lines([("live", f"optuna-dashboard {storage or default_storage(folder)}  (pip install optuna-dashboard)")])


def _find(study: str, storage: str, parent: Path) -> tuple[Study, Path]:
    found, folder = _of_storage(study, storage, parent) if storage else _of_folder(study, parent)
    if not _is_search(found):
        raise UserError(f"{study}: this study was not begun by snntha train -m search=..., so its report is unknown")
    return found, folder


def _compare(studies: Sequence[Study], folder: Path) -> None:
    """A table of some studies, and their best values so far in one picture."""
    from snntha.plots.style import save, styled
    from snntha.search.compare import comparison

    terminal([studies_table(studies, "Studies compared")])
    with styled():
        written = save(comparison([Snapshot.of(study) for study in studies]), folder, "comparison")
    print_lines([("wrote", str(path)) for path in written])


def _is_search(study: Study) -> bool:
    """Others may keep their studies in the same database; `limit` is what a search records of itself last."""
    return "limit" in study.user_attrs


def _of_storage(name: str, storage: str, parent: Path) -> tuple[Study, Path]:
    """The study of that name in a storage, and its folder: its own where that is on this machine."""
    names = optuna.get_all_study_names(connect(storage))
    if name not in names:
        raise _unknown(name, names, f"storage={without_passwords(storage)}")
    study = open_study(name, connect(storage))
    own = Path(study.user_attrs.get("folder", parent / name))
    return study, own if own.is_dir() else parent / name


def _of_folder(study: str, parent: Path) -> tuple[Study, Path]:
    """The study in a folder that is named by its path, or by its name below the parent."""
    folder = next((path for path in (parent / study, Path(study)) if (path / DATABASE).is_file()), None)
    if folder is None:
        raise _unknown(study, [path.name for path in _study_folders(parent)], f"dir={parent}")
    storage = default_storage(folder)
    return open_study(_only_name(folder, storage), connect(storage)), folder


def _only_name(folder: Path, storage: str) -> str:
    """Name of the study in a folder's study.db; a folder that was moved or renamed is called otherwise."""
    names = optuna.get_all_study_names(connect(storage))
    if folder.resolve().name in names or len(names) != 1:
        return folder.resolve().name
    return names[0]


def _study_folders(parent: Path) -> list[Path]:
    return sorted(path.parent for path in parent.glob(f"*/{DATABASE}"))


def _unknown(name: str, names: Sequence[str], place: str) -> UserError:
    if not names:
        return UserError(f"{name}: there is no study in {place}; start one with: {START}")
    return UserError(f"{name}: no such study in {place}; there are {', '.join(names)}{did_you_mean(name, names)}")


def _all_studies(parent: Path, storage: str) -> list[Study]:
    if storage:
        studies = [open_study(name, connect(storage)) for name in optuna.get_all_study_names(connect(storage))]
    else:
        studies = [_of_folder(folder.name, parent)[0] for folder in _study_folders(parent)]
    return [study for study in studies if _is_search(study)]


def studies_table(studies: Sequence[Study], title: str) -> Table:
    """One row a study: what it searches, how far it is, its best value."""
    rows = []
    for snapshot in map(Snapshot.of, studies):
        rows.append(
            {
                "study": snapshot.study.study_name,
                "dataset": snapshot.attributes["dataset"],
                "mode": snapshot.attributes["mode"],
                "done": f"{len(snapshot.ended)} of {snapshot.attributes['n_trials']}",
                "best": score(snapshot.best) if snapshot.best else None,
                "trial": snapshot.best.number if snapshot.best else None,
            }
        )
    columns = [
        Column("study", "study"),
        Column("dataset", "dataset"),
        Column("mode", "mode"),
        Column("done", "trials ended"),
        Column("best", "best", 2),
        Column("trial", "in trial", 0),
    ]
    return Table("studies", title, columns, rows)
