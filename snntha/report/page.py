"""One HTML page that needs no network: tables for reading without a script, and plots drawn when a run is opened."""

import base64
import json
import shlex
from datetime import datetime
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from snntha.report.collect import RunRecord
from snntha.report.grouping import mean_of
from snntha.report.table import Column, Table

FIGURE_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}
LARGEST_FIGURE = 3_000_000  # bytes; a larger file is named, not embedded

_TRIAL_COLUMNS = [
    Column("trial", "trial", 0),
    Column("seed", "seed", 0),
    Column("epochs", "epochs", 0),
    Column("best_epoch", "best epoch", 0),
    Column("validation_accuracy", "selection %", 2),
    Column("selection_loss", "selection loss", 3),
    Column("test_accuracy", "test %", 2),
    Column("seconds", "seconds", 1),
    Column("failed", "failed"),
]


def page(runs: list[RunRecord], plots: list[dict[str, Any]], tables: list[Table]) -> str:
    """The text of the page.

    Args:
        runs: in the order of the page.
        plots: `run_data` of each run.
        tables: of all runs.
    """
    shown = [_run(number, *pair) for number, pair in enumerate(zip(runs, plots, strict=True), start=1)]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("snntha.report", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        title="snntha report",
        created=datetime.now().astimezone().isoformat(timespec="minutes"),
        version=metadata.version("snntha"),
        tables=[table for table in [*tables, _runs_table(shown)] if table.rows],
        runs=shown,
        results=_json(_bars(tables)),
        style=_asset("page.css"),
        script=_asset("page.js"),
        plotly=Markup(get_plotlyjs()),
    )


def _run(number: int, run: RunRecord, plots: dict[str, Any]) -> dict[str, Any]:
    trials = [
        {"trial": trial.number + 1, **trial.entry, "epochs": trial.epochs, "selection_loss": trial.selection_loss}
        for trial in run.trials
    ]
    return {
        "id": f"run-{number}",
        "record": run,
        "title": f"{run.dataset} {run.mode}",
        "facts": _facts(run),
        "test_mean": mean_of(trial.entry.get("test_accuracy") for trial in run.trials),
        "trials": Table("trials", f"Trials of run {number}", _TRIAL_COLUMNS, trials).without_empty_columns(),
        "plots": _json(plots),
        "config": yaml.safe_dump(run.config, sort_keys=False) if run.config else "",
        "environment": _environment(run),
        "overrides": _overrides(run),
        "figures": [_figure(path) for path in _figure_files(run.folder)],
    }


def _facts(run: RunRecord) -> dict[str, Any]:
    """What stands at the head of a run."""
    bits, limit = run.footprint_bits, run.setting("epochs", int)
    facts = {
        "network": run.setting("model.topology", str),
        "time steps": run.setting("dataset.time_steps", int),
        "fidelity": run.fidelity,
        "selected on": run.selection,
        "epochs": f"at most {limit}" if limit else None,
        "footprint": None if bits is None else f"{bits:,} bits",
        "begun": run.created,
    }
    return {name: value for name, value in facts.items() if value is not None and value != ""}


def _environment(run: RunRecord) -> dict[str, str]:
    """How to come to the same numbers, line by line; unknown where the record has no answer."""
    record = run.environment
    seeds = ", ".join(str(trial.entry["seed"]) for trial in run.trials if "seed" in trial.entry)
    versions = {"Python": record.get("python"), **_mapping(record.get("versions"))}
    machine = _mapping(record.get("machine"))
    return {
        "Command": "; then ".join([str(record.get("command") or "unknown"), *_resumed(record)]),
        "Seeds": seeds or str(run.setting("seed", int)),
        "Commit": record.get("commit") or "unknown: not run from a git checkout",
        "Versions": ", ".join(f"{name} {version}" for name, version in versions.items() if version) or "unknown",
        "Machine": ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None) or "unknown",
        "Data fingerprint": record.get("data_fingerprint") or "unknown",
    }


def _resumed(record: dict[str, Any]) -> list[str]:
    """The commands that went on with the run."""
    entries = record.get("resumed")
    known = entries if isinstance(entries, list) else []
    return [str(_mapping(entry).get("command") or "unknown") for entry in known]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _overrides(run: RunRecord) -> list[str]:
    """The key=value words of the recorded command; of a multirun they are those of all its jobs."""
    command = str(run.environment.get("command") or "")
    try:
        words = shlex.split(command)
    except ValueError:  # a quotation that does not end
        words = command.split()
    return [word for word in words if "=" in word]


def _runs_table(runs: list[dict[str, Any]]) -> Table:
    columns = [
        Column("folder", "run folder"),
        Column("dataset", "data set"),
        Column("mode", "mode"),
        Column("selection", "selected on"),
        Column("trials", "trials", 0),
        Column("mean", "test mean %", 2),
        Column("begun", "begun"),
        Column("problems", "missing records", 0),
    ]
    rows = [
        {
            "folder": str(run["record"].folder),
            "link": f"#{run['id']}",
            "dataset": run["record"].dataset,
            "mode": run["record"].mode,
            "selection": run["record"].selection,
            "trials": len(run["record"].trials),
            "mean": run["test_mean"],
            "begun": run["record"].created,
            "problems": len(run["record"].problems),
        }
        for run in runs
    ]
    return Table("runs", "Runs", columns, rows, ["The folder's name leads to the run's plots and configuration."])


def _bars(tables: list[Table]) -> list[dict[str, Any]]:
    """The rows of the results table that have a test accuracy, for the picture above it."""
    keys = ("dataset", "mode", "mean", "sigma", "published_mean", "published_sigma")
    rows = next(table.rows for table in tables if table.name == "results")
    return [{key: row.get(key) for key in keys} for row in rows if row.get("mean") is not None]


def _figure_files(folder: Path) -> list[Path]:
    """Figures in <run>/plots; of one figure in two file types the SVG."""
    files = sorted(path for path in folder.glob("plots/*") if path.suffix in FIGURE_TYPES)
    vectors = {path.stem for path in files if path.suffix == ".svg"}
    return [path for path in files if path.suffix == ".svg" or path.stem not in vectors]


def _figure(path: Path) -> dict[str, str | None]:
    content = path.read_bytes()
    encoded = base64.b64encode(content).decode()
    fits = len(content) <= LARGEST_FIGURE
    return {
        "name": path.stem.replace("_", " "),
        "file": f"plots/{path.name}",
        "uri": f"data:{FIGURE_TYPES[path.suffix]};base64,{encoded}" if fits else None,
    }


def _json(content: Any) -> Markup:
    """For a script element: no `<`, which could end it."""
    return Markup(json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c"))


def _asset(name: str) -> Markup:
    return Markup(resources.files("snntha.report").joinpath(name).read_text(encoding="utf-8"))
