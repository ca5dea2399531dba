"""Everything that is measured of one case, and how it looks as numbers for machines and tables for people."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from snntha.bench import memory, timing
from snntha.bench.breakdown import part_seconds
from snntha.bench.cases import Case
from snntha.bench.floor import Peaks, activity, floor_seconds
from snntha.bench.steps import OurStep
from snntha.bench.timing import Timing
from snntha.report.table import Column, Table

MEGABYTE = 1e6


@dataclass(frozen=True)
class CaseResult:
    """One row of the comparison. Bytes are None where the system does not tell."""

    case: Case
    timing: Timing
    our_bytes: int | None
    loop_bytes: int | None
    input_rates: list[float | None]  # events per input and step, for each layer; None: a static image
    parts: dict[str, float]  # seconds
    floor_parts: dict[str, float]  # seconds

    @property
    def floor(self) -> float:
        return sum(self.floor_parts.values())

    @property
    def memory_ratio(self) -> float | None:
        """How many times less."""
        return self.loop_bytes / self.our_bytes if self.our_bytes and self.loop_bytes else None

    def plain(self) -> dict[str, Any]:
        """For JSON: seconds, bytes and ratios."""
        timed, config = self.timing, self.case.config
        steps = self.case.steps_per_epoch
        return {
            "case": self.case.dataset,
            "mode": self.case.mode,
            "backend": self.case.backend,
            "topology": config.model.topology,
            "batch_size": config.hparams.batch_size,
            "time_steps": config.dataset.time_steps,
            "input_rates": self.input_rates,
            "parity": asdict(timed.parity),
            "ours": {"median": timed.our_median, "rounds": timed.ours, "epoch": timed.our_median * steps},
            "loop": {"median": timed.loop_median, "rounds": timed.loop, "epoch": timed.loop_median * steps},
            "ratio": timed.ratio,
            "ratio_min": timed.ratio_range[0],
            "ratio_max": timed.ratio_range[1],
            "peak_bytes": {"ours": self.our_bytes, "loop": self.loop_bytes, "ratio": self.memory_ratio},
            "floor": {"seconds": self.floor, "ours_over_floor": timed.our_median / self.floor, **self.floor_parts},
            "parts": self.parts,
        }


def measure(case: Case, repeats: int, threads: int | None, peaks: Peaks, log: Callable[[str], None]) -> CaseResult:
    """Speed, then memory of each in a process of its own, then parts and floor.

    Raises:
        ParityError: the two do not compute the same.
    """
    batch = case.batch()
    log(f"{case.dataset}: parity, then {repeats} rounds")
    timed = timing.compare(case, batch, repeats)
    log(f"{case.dataset}: {timed.ratio:.1f} times faster; peak memory")
    our_bytes = memory.step_bytes(case, "ours", threads)
    loop_bytes = memory.step_bytes(case, "loop", threads)
    log(f"{case.dataset}: where the time goes")
    step = OurStep(case, batch)
    flows = activity(step)
    return CaseResult(
        case=case,
        timing=timed,
        our_bytes=our_bytes,
        loop_bytes=loop_bytes,
        input_rates=[flow.rate for flow in flows],
        floor_parts=floor_seconds(step, flows, peaks),
        parts=part_seconds(step, repeats),
    )


def tables(results: list[CaseResult], peaks: Peaks) -> list[Table]:
    """Time of a step, memory of a step and time of an epoch, where the time of a step goes; one row a case."""
    return [_speed(results, peaks), _memory(results), _parts(results)]


def _speed(results: list[CaseResult], peaks: Peaks) -> Table:
    columns = [
        Column("case", "case"),
        Column("ours", "ours ms", 1, 1e3),
        Column("loop", "loop ms", 0, 1e3),
        Column("ratio", "faster", 1),
        Column("ratio_min", "min", 1),
        Column("ratio_max", "max", 1),
        Column("floor", "floor ms", 1, 1e3),
        Column("over_floor", "ours/floor", 1),
    ]
    rows = [
        {
            "case": result.case.dataset,
            "ours": result.timing.our_median,
            "loop": result.timing.loop_median,
            "ratio": result.timing.ratio,
            "ratio_min": result.timing.ratio_range[0],
            "ratio_max": result.timing.ratio_range[1],
            "floor": result.floor,
            "over_floor": result.timing.our_median / result.floor,
        }
        for result in results
    ]
    notes = [
        "medians of alternating rounds on one batch; min and max of the rounds' own ratios",
        "loss, output spikes and gradients of the two agreed on that batch",
        f"floor from {peaks.flops / 1e9:.0f} GFLOP/s and {peaks.bytes / 1e9:.0f} GB/s, both measured in this run",
    ]
    title = f"Training step, mode={results[0].case.mode}: snntha (ours) and the step-by-step snnTorch loop"
    return Table("speed", title, columns, rows, notes)


def _memory(results: list[CaseResult]) -> Table:
    columns = [
        Column("case", "case"),
        Column("our_bytes", "ours MB", 0, 1 / MEGABYTE),
        Column("loop_bytes", "loop MB", 0, 1 / MEGABYTE),
        Column("memory_ratio", "less", 1),
        Column("epoch", "epoch, ours s", 1),
        Column("loop_epoch", "epoch, loop s", 0),
        Column("input_rates", "events %", 1, 100),
    ]
    rows = [
        {
            "case": result.case.dataset,
            "our_bytes": result.our_bytes,
            "loop_bytes": result.loop_bytes,
            "memory_ratio": result.memory_ratio,
            "epoch": result.timing.our_median * result.case.steps_per_epoch,
            "loop_epoch": result.timing.loop_median * result.case.steps_per_epoch,
            "input_rates": result.input_rates,
        }
        for result in results
    ]
    notes = [
        "memory: peak beyond libraries, inputs and compiled code",
        "epoch: median step times the steps that the whole training set takes",
        "events: per input and step, for each layer; - is a static image",
    ]
    return Table("memory", "Peak memory of a training step, and the epoch that follows", columns, rows, notes)


def _parts(results: list[CaseResult]) -> Table:
    names = list(results[0].parts)
    columns = [Column("case", "case"), *(Column(name, name, 1, 1e3) for name in names)]
    rows: list[dict[str, Any]] = []
    for result in results:
        rows += [{"case": result.case.dataset, **result.parts}, {"case": "  floor", **result.floor_parts}]
    notes = ["differences of medians, see docs/performance.md: small parts may come out below zero"]
    return Table("parts", "Where the time of a step goes, ms", columns, rows, notes)
