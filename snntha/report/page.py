"""One HTML page that needs no network: tables for reading without a script, and plots drawn when a run is opened."""

import base64
import shlex
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from snntha.folder import RunFolder, spread
from snntha.report.figures import overview, seed_figures
from snntha.report.formats import template
from snntha.report.table import Table
from snntha.report.tables import build_tables

PICTURE_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
LARGEST_PICTURE = 3_000_000  # bytes; a larger file is named, not embedded
INTERACTIVE = ("curves", "confusion")  # the page draws these itself


def page(runs: list[RunFolder]) -> str:
    """The text of the page, with the runs in this order."""
    shown = [_run(run) for run in runs]
    tables = build_tables(runs)  # after the runs: drawing may find more that is missing
    rows = [
        {
            **{key: getattr(run, key) for key in ("folder", "dataset", "mode", "selection")},
            "trials": len(run.seeds),
            "mean": spread(run.entries)["mean"],
            "begun": run.created,
            "problems": len(run.problems),
        }
        for run in runs
    ]
    return template("page.html.j2", autoescape=True, undefined=jinja2.ChainableUndefined).render(
        title="snntha report",
        created=datetime.now().astimezone().isoformat(timespec="minutes"),
        version=metadata.version("snntha"),
        overview=overview(tables[0].rows),
        tables=[table for table in [*tables, Table.laid_out("runs", rows)] if table.rows],
        runs=shown,
        plotly=Markup(get_plotlyjs()),
    )


def _run(run: RunFolder) -> dict[str, Any]:
    resumed = run.environment.get("resumed")
    starts = [run.environment, *(resumed if isinstance(resumed, list) else [])]
    rows = [
        {**seed.entry, "folder": seed.folder.name, "epochs": seed.epochs, "selection_loss": seed.selection_loss}
        for seed in run.seeds
    ]
    return {
        "record": run,
        "seeds": Table.laid_out("seeds", rows),
        "figures": {seed.folder.name: figures for seed in run.seeds if (figures := seed_figures(seed))},
        "pictures": _pictures(run.folder),
        "commands": [isinstance(start, dict) and start.get("command") or "unknown" for start in starts],
        "draw": shlex.join(["snntha", "plot", f"run={run.folder}"]),
        "config": yaml.safe_dump(run.config, sort_keys=False) if run.config else "",
    }


def _pictures(folder: Path) -> dict[Path, str]:
    """Data URIs of <run>/plots that the page does not draw itself, of one in two file types the SVG's; "" if large."""
    paths = sorted(path for path in folder.glob("plots/*") if path.suffix in PICTURE_TYPES)
    by_name = {path.stem: path for path in paths if path.stem not in INTERACTIVE}  # .svg comes after .png
    uris = dict.fromkeys(by_name.values(), "")
    for path in uris:
        if path.stat().st_size <= LARGEST_PICTURE:
            uris[path] = f"data:{PICTURE_TYPES[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return uris
