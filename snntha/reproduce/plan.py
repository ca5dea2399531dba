"""The cells that plan.yaml lists: what is trained, under which name, and in which order."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snntha.config import CHOICES, Config, compose
from snntha.errors import UserError, did_you_mean
from snntha.published import PUBLISHED_SAMPLES, stored


@dataclass(frozen=True)
class Cell:
    """One mode on one data set under one setting, and how many seeds of it are asked for."""

    group: str
    data: str  # key of `data` in plan.yaml
    mode: str
    epochs: int  # at most
    trials: int = 1  # seeds 0, 1, ...
    fidelity: str = "paper"
    selection: str = "validation"
    variant: str = ""  # what `changes` are called; published: none
    changes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Of its folder, `digits/annealed/30_epochs`: whatever distinguishes cells but for the number of seeds."""
        told = {self.fidelity: "paper", self.selection: "validation", self.variant: "published"}
        words = [f"{self.epochs}_epochs", *(word for word, usual in told.items() if word not in ("", usual))]
        return f"{self.data}/{self.mode}/{'_'.join(words)}"

    @property
    def command(self) -> str:
        """That makes its record."""
        if self.variant:
            return f"snntha reproduce {self.name}"
        keys = ("epochs", "trials", "fidelity", "selection")
        setting = " ".join(f"{key}={getattr(self, key)}" for key in keys)
        return f"snntha reproduce {self.data}/{self.mode} {setting}"

    @property
    def dataset(self) -> str:
        """The choice dataset=... that reads the data."""
        return plan()["data"][self.data]["dataset"]

    @property
    def title(self) -> str:
        """Of the data, for a table."""
        return plan()["data"][self.data]["title"]

    @property
    def samples(self) -> tuple[int, int] | None:
        """How many the data have for training, validation included, and for test; None: it has no such number."""
        told = plan()["data"][self.data].get("samples")
        return tuple(told) if told else PUBLISHED_SAMPLES.get(self.dataset)

    def config(self, output: Path, root: Path | None = None) -> Config:
        """What is run, in the folder `output`; `root` holds the data, if not as the configuration says."""
        overrides = [f"dataset={self.dataset}", f"mode={self.mode}", f"fidelity={self.fidelity}"]
        overrides += [f"{key}={getattr(self, key)}" for key in ("epochs", "trials", "selection")]
        overrides += ["fidelity.trial_seed=seed_plus_trial"]  # the code's trials all have one seed, so one result
        overrides += [f"dataset.root={root}"] if root else []
        return compose([*overrides, *self.changes, "plots=false", f"output_dir={output}"])


def plan() -> dict[str, Any]:
    """The content of plan.yaml."""
    return stored("plan.yaml", "snntha.reproduce")


def all_cells() -> list[Cell]:
    """In the order in which they are trained."""
    return [cell for line in plan()["cells"] for cell in _cells(dict(line))]


def _cells(line: dict[str, Any]) -> Iterator[Cell]:
    modes = line.pop("modes", CHOICES["mode.name"][::-1])  # annealed first
    variants, shared = line.pop("variants", {"": []}), line.pop("shared", [])
    for mode in modes:
        for variant, changes in variants.items():
            yield Cell(**line, mode=mode, variant=variant, changes=(*shared, *changes))


def chosen(words: Sequence[str], **setting: Any) -> list[Cell]:
    """The cells of the plan that words name: a group, a name or its beginning at a slash, or `all`.

    Args:
        words: as `tables`, `digits`, `shd/annealed`, `digits/bsnn/30_epochs`.
        setting: epochs, trials, fidelity or selection: then the first cell of each data set and mode with that instead.

    Raises:
        UserError: a word names nothing.
    """
    cells = all_cells()
    found: list[Cell] = []
    for word in words:
        of_word = [cell for cell in cells if word in ("all", cell.group) or f"{cell.name}/".startswith(f"{word}/")]
        if not of_word:
            known = {name for cell in cells for name in (cell.group, cell.data, f"{cell.data}/{cell.mode}", cell.name)}
            raise UserError(f"{word} is no cell{did_you_mean(word, known)}: snntha reproduce alone lists them")
        found += of_word
    given = {key: value for key, value in setting.items() if value is not None}
    if not given:
        return found
    firsts = {(cell.data, cell.mode): cell for cell in reversed(found) if cell.variant in ("", "published")}
    return [replace(cell, **given) for cell in reversed(firsts.values())]
