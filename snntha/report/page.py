"""One HTML page that needs no network: tables for reading without a script, and plots drawn when a run is opened."""

import base64
import csv
import gzip
import hashlib
import io
import json
import shlex
from collections.abc import Sequence
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import plotly.graph_objects as go
import yaml
from PIL import Image
from plotly.offline import get_plotlyjs

from snntha.catalog import short_id, tags
from snntha.folder import RunFolder, spread
from snntha.report.figures import empty_figure, overview, run_figures
from snntha.report.formats import template
from snntha.report.table import Table
from snntha.report.tables import build_tables

DRAWN_HERE = ("curves", "confusion", "thresholds")  # the page draws these itself
WIDTH = 720  # pixels of an embedded picture
LARGEST_PICTURE = 400_000  # bytes of an SVG that has no PNG beside it; a larger one is named, not embedded
STATES = {"complete": "COMPLETE", "pruned": "PRUNED", "failed": "FAIL"}


def page(runs: list[RunFolder], folders: Sequence[Path] = ()) -> str:
    """The text of the page, with the runs in this order and the searches in these folders."""
    pictures = Pictures()
    shown = [_run(run, pictures) for run in runs]
    tables = build_tables(runs)  # after the runs: drawing may find more that is missing
    rows = [
        {
            **{key: getattr(run, key) for key in ("folder", "dataset", "mode", "selection")},
            "id": short_id(run.folder),
            "trials": len(run.seeds),
            "mean": (accuracy := spread(run.entries))["mean"],
            "sigma": accuracy["std"],
            "begun": run.created[:16].replace("T", " "),
            "problems": len(run.problems),
            "tags": ", ".join(tags(run)),
        }
        for run in runs
    ]
    searches = [_search(folder, pictures) for folder in _studies(folders)]
    return template("page.html.j2", autoescape=True, undefined=jinja2.ChainableUndefined).render(
        title="snntha report",
        created=datetime.now().astimezone().isoformat(timespec="minutes"),
        version=metadata.version("snntha"),
        overview=overview(tables[0].rows),
        results=tables[0],
        runs_table=Table.laid_out("runs", rows),
        tables=[table for table in tables[1:] if table.rows],
        searches_table=Table.laid_out("searches", [search["row"] for search in searches]),
        searches=searches,
        runs=shown,
        empty=empty_figure(),
        pack=Pack(),
    )


class Pack:
    """What the page's script draws, and plotly to draw it with: compressed together, which a browser undoes."""

    def __init__(self) -> None:
        self._figures: list[Any] = []

    def add(self, figure: go.Figure) -> int:
        """The place by which the script finds the figure."""
        self._figures.append(figure.to_plotly_json())
        return len(self._figures) - 1

    def text(self) -> str:
        content = json.dumps({"plotly": get_plotlyjs(), "figures": self._figures})
        return base64.b64encode(gzip.compress(content.encode(), 9, mtime=0)).decode()


class Pictures:
    """Embeds each picture once: as WebP, which is small, or as SVG; by what it looks like, not by its name."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}  # who shows a picture, by its content

    def of(self, folder: Path, owner: str) -> dict[Path, dict[str, str]]:
        """The pictures in a folder that the page does not draw itself: `uri`, or `same` as whose, or neither."""
        paths = sorted(path for path in folder.glob("*") if path.suffix in (".svg", ".png"))
        by_name = {path.stem: path for path in reversed(paths) if path.stem not in DRAWN_HERE}  # .png before .svg
        return {path: self._embedded(path, owner) for path in sorted(by_name.values())}

    def _embedded(self, path: Path, owner: str) -> dict[str, str]:
        content, kind = path.read_bytes(), "svg+xml"
        if path.suffix == ".png":
            try:
                content, kind = _as_webp(content), "webp"
            except (OSError, ValueError):  # damaged
                return {}
        elif len(content) > LARGEST_PICTURE:
            return {}
        known = self._shown.setdefault(hashlib.sha256(content).hexdigest(), owner)
        if known != owner:
            return {"same": known}
        return {"uri": f"data:image/{kind};base64,{base64.b64encode(content).decode()}"}


def _as_webp(content: bytes) -> bytes:
    with Image.open(io.BytesIO(content)) as picture:
        picture.thumbnail((WIDTH, 4 * WIDTH))
        packed = io.BytesIO()
        picture.convert("RGB").save(packed, "WEBP", quality=50, method=6)
    return packed.getvalue()


def _run(run: RunFolder, pictures: Pictures) -> dict[str, Any]:
    resumed = run.environment.get("resumed")
    starts = [run.environment, *(resumed if isinstance(resumed, list) else [])]
    rows = [
        {**seed.entry, "folder": seed.folder.name, "epochs": seed.epochs, "selection_loss": seed.selection_loss}
        for seed in run.seeds
    ]
    label = f"{run.dataset} {run.mode} {short_id(run.folder)}"
    return {
        "record": run,
        "label": label,
        "tags": tags(run),
        "mean": spread(run.entries)["mean"],
        "seeds": Table.laid_out("seeds", rows),
        "figures": run_figures(run),
        "pictures": pictures.of(run.folder / "plots", label),
        "commands": [isinstance(start, dict) and start.get("command") or "unknown" for start in starts],
        "draw": shlex.join(["snntha", "plot", f"run={run.folder}"]),
        "config": yaml.safe_dump(run.config, sort_keys=False) if run.config else "",
    }


def _studies(folders: Sequence[Path]) -> list[Path]:
    """Folders of hyperparameter searches that have written their results."""
    found = {path.parent for folder in folders for path in folder.rglob("trials.csv") if path.parent.name != "pictures"}
    return sorted(found)


def _search(folder: Path, pictures: Pictures) -> dict[str, Any]:
    """A row and the pictures of a search, from the files that it wrote."""
    with (folder / "trials.csv").open(encoding="utf-8", errors="replace", newline="") as file:
        trials = list(csv.DictReader(file))
    ranked = sorted(
        (t for t in trials if t.get("state") == "COMPLETE" and t.get("value")), key=lambda t: -float(t["value"])
    )
    row = {"study": folder.name, "folder": str(folder)}
    row |= {name: sum(trial.get("state") == state for trial in trials) for name, state in STATES.items()}
    if ranked:
        row |= {"best": float(ranked[0]["value"]), "trial": int(ranked[0]["number"])}
    return {"row": row, "pictures": pictures.of(folder / "pictures", folder.name)}
