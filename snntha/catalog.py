"""The runs below a folder: how they are found, named in short, and tagged.

Hydra, which `folder` brings, takes longer than a prediction: it is imported when a run is looked for.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from snntha.atomic import write_atomically
from snntha.errors import PRINTABLE, UserError

if TYPE_CHECKING:
    from snntha.folder import RunFolder

OUTPUTS = Path("outputs")
LAST = "last"  # the run that began last
SEARCH_TRIAL = re.compile(r"trial_\d+")
MOST_OF_SMOKE = 64  # samples of each split, up to which nothing can be learnt
TAGS = "tags"  # a file of a run's folder, a word a line


def find_runs(folder: Path) -> Iterator[Path]:
    """Folders of runs in and below a folder; hidden folders and the inside of a run are not searched.

    The trials of a hyperparameter search are found only in the folder of that search: they are many, and short.
    """
    from snntha.folder import RECORDS

    def tell(error: OSError) -> None:
        text = f"note: {error.filename} cannot be read ({error.strerror}), left out"
        print(text.translate(PRINTABLE), file=sys.stderr)

    for parent, children, files in os.walk(folder, onerror=tell):
        if Path(parent) != folder:
            children[:] = [name for name in children if not SEARCH_TRIAL.fullmatch(name)]
        if any(name in files for name in RECORDS):
            children.clear()
            yield Path(parent)
        children[:] = sorted(name for name in children if not name.startswith("."))


def short_id(folder: Path) -> str:
    """The random end of a run folder's name, or all of a name that the user gave it."""
    return re.sub(r"^\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d-", "", folder.resolve().name)


def run_folder(text: str) -> Path:
    """The folder that a word means: itself, or of the runs in outputs/ the last one or that of a short id.

    Raises UserError where a short id's beginning is that of several. A word that means no run stays as it is: who
    opens it says so.
    """
    path = Path(text)
    if path.exists() or "/" in text:
        return path
    runs = list(find_runs(OUTPUTS)) if OUTPUTS.is_dir() else []
    if text == LAST:
        if not runs:
            raise UserError("last: there is no run in outputs/ yet; make one with: snntha train debug=smoke")
        from snntha.folder import RunFolder

        return max(runs, key=lambda run: (RunFolder(run).created, str(run)))
    found = [run for run in runs if short_id(run).startswith(text)]
    found = [run for run in found if short_id(run) == text] or found
    if len(found) > 1:
        raise UserError(f"{text}: this may be {' or '.join(map(str, found))}: write more of it")
    return found[0] if found else path


def folder_words(typed: str) -> list[str]:
    """What the beginning of a run's name may become: `last` and the folders below outputs/."""
    runs = map(str, find_runs(OUTPUTS)) if OUTPUTS.is_dir() else []
    return [word for word in (LAST, *runs) if word.startswith(typed)]


def tags(run: "RunFolder") -> list[str]:
    """`overfit` or `smoke` where the configuration says so, for these are no results, and what its owner has given."""
    limit = run.setting("dataset.limit", int)
    if run.setting("target_train_accuracy", (int, float)) is not None:
        found = ["overfit"]
    else:
        found = ["smoke"] if limit is not None and limit <= MOST_OF_SMOKE else []
    return [*found, *own_tags(run.folder)]


def own_tags(folder: Path) -> list[str]:
    path = folder / TAGS
    return path.read_text(encoding="utf-8", errors="replace").split() if path.is_file() else []


def is_result(run: "RunFolder") -> bool:
    """Whether it was to learn its data, and not a check whether anything runs."""
    return not {"smoke", "overfit"} & set(tags(run))


def change_tag(folder: Path, tag: str, *, add: bool) -> None:
    """Give a run a tag, or take it away."""
    if not re.fullmatch(r"[\w.-]+", tag):
        raise UserError(f"tag={tag}: expected a word of letters, digits, . _ and -")
    words = [word for word in own_tags(folder) if word != tag] + [tag] * add
    write_atomically(folder / TAGS, "".join(f"{word}\n" for word in words))
