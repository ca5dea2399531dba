"""`snntha bench`: what it prints. Progress goes to stderr, the result to stdout."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from snntha import records
from snntha.bench import result, steps, workload
from snntha.bench import sweeps as growth
from snntha.bench.cases import TRAINING_SAMPLES, Case
from snntha.bench.floor import measure_peaks
from snntha.errors import UserError
from snntha.kernels.backend import set_threads
from snntha.report import formats
from snntha.report.table import Table

PICTURE_KINDS = (".png", ".svg", ".pdf")


def run_command(
    *,
    case: list[str],
    run: Path | None,
    mode: str,
    backend: str,
    repeats: int,
    threads: int | None,
    sweeps: bool,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Measure and print.

    Args:
        case: data sets whose networks are timed, trained and untrained; empty for all.
        run: folder of a run, whose network is timed on its data instead.
        repeats: steps that are timed.
        sweeps: time how a step grows, instead of the cases.
        picture: file for the sweeps' picture.
        as_json: one JSON object instead of tables.
    """
    _check_picture(picture, sweeps)
    set_threads(threads)
    if sweeps:
        points = growth.sweep(Case("shd", mode, backend), repeats, log)
        drawn = None if picture is None else growth.draw(points, picture)
        plain = {"sweeps": [vars(point) for point in points], "picture": None if drawn is None else str(drawn)}
        tables = [growth.table(points)]
    else:
        peaks = measure_peaks()
        if run is not None:
            workloads = iter([workload.of_run(run)])
        else:
            workloads = _workloads([Case(name, mode, backend) for name in case or TRAINING_SAMPLES])
        results = [result.measure(work, repeats, threads, peaks, log) for work in workloads]
        plain = {"peaks": vars(peaks), "cases": [measured.plain() for measured in results]}
        tables = result.tables(results, peaks)
    _show(tables, plain, as_json)


def _workloads(cases: list[Case]) -> Iterator[workload.Workload]:
    """Each case trained, then untrained; made when their turn comes."""
    for case in cases:
        log(f"{case.dataset}: {steps.TRAINED_AFTER[case.dataset]} minibatches of training")
        yield steps.trained(case)
        yield steps.train_for(case, 0)


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


def _check_picture(path: Path | None, sweeps: bool) -> None:
    if path is None:
        return
    if not sweeps:
        raise UserError(f"picture={path}: only the sweeps are drawn; pass sweeps=true, too")
    if path.suffix not in PICTURE_KINDS:
        raise UserError(f"picture={path}: expected a name that ends in {' | '.join(PICTURE_KINDS)}")
