"""`snntha bench`: its arguments as text, what it prints. Progress goes to stderr, the result to stdout."""

import json
import sys
from pathlib import Path
from typing import Any

from snntha import records
from snntha.bench import result, sweeps
from snntha.bench.cases import TRAINING_SAMPLES, Case
from snntha.bench.floor import measure_peaks
from snntha.config import CHOICES, did_you_mean
from snntha.errors import UserError
from snntha.kernels.backend import set_threads
from snntha.report import formats
from snntha.report.table import Table

PICTURE_KINDS = (".png", ".svg", ".pdf")


def run_command(values: dict[str, str], *, as_json: bool) -> None:
    """Measure and print.

    Args:
        values: text of each key: case, mode, backend, repeats, threads, sweeps, picture; "" where it was not given.
        as_json: one JSON object instead of tables.
    """
    names = [name for name in values["case"].split(",") if name] or list(TRAINING_SAMPLES)
    for name in names:
        _check_choice("case", name, tuple(TRAINING_SAMPLES))
    _check_choice("mode", values["mode"], CHOICES["mode.name"])
    _check_choice("backend", values["backend"], CHOICES["backend"])
    _check_choice("sweeps", values["sweeps"], ("true", "false"))
    repeats = _count("repeats", values["repeats"])
    threads = _count("threads", values["threads"]) if values["threads"] else None
    picture = _picture(values)

    set_threads(threads)
    if values["sweeps"] == "true":
        points = sweeps.sweep(Case("shd", values["mode"], values["backend"]), repeats, log)
        drawn = None if picture is None else sweeps.draw(points, picture)
        plain = {"sweeps": [vars(point) for point in points], "picture": None if drawn is None else str(drawn)}
        tables = [sweeps.table(points)]
    else:
        peaks = measure_peaks()
        cases = [Case(name, values["mode"], values["backend"]) for name in names]
        results = [result.measure(case, repeats, threads, peaks, log) for case in cases]
        plain = {"peaks": vars(peaks), "cases": [measured.plain() for measured in results]}
        tables = result.tables(results, peaks)
    _show(tables, plain, as_json)


def log(message: str) -> None:
    """One line of progress."""
    print(message, file=sys.stderr, flush=True)


def _show(tables: list[Table], plain: dict[str, Any], as_json: bool) -> None:
    environment = records.describe_environment("synthetic inputs")
    if as_json:
        print(json.dumps({"environment": environment, **plain}, indent=2))
        return
    machine, versions = environment["machine"], environment["versions"]
    known = ", ".join(f"{name} {versions[name]}" for name in ("torch", "numba", "snntorch"))
    tables[-1].notes.append(
        f"{machine['processor']}, {machine['processors']} processors, {machine['threads']} threads; "
        f"Python {environment['python']}, {known}; commit {environment['commit']}"
    )
    formats.terminal(tables)


def _check_choice(key: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise UserError(f"{key}={value}: expected {' | '.join(allowed)}{did_you_mean(value, allowed)}")


def _count(key: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise UserError(f"{key}={text}: expected a whole number, 1 or more")
    return int(text)


def _picture(values: dict[str, str]) -> Path | None:
    if not values["picture"]:
        return None
    path = Path(values["picture"])
    if values["sweeps"] != "true":
        raise UserError(f"picture={path}: only the sweeps are drawn; pass sweeps=true, too")
    if path.suffix not in PICTURE_KINDS:
        raise UserError(f"picture={path}: expected a name that ends in {' | '.join(PICTURE_KINDS)}")
    return path
