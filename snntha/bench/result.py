"""Everything that is measured of one case, and how it looks as numbers for machines and tables for people."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from snntha.bench import memory, timing
from snntha.bench.breakdown import part_seconds
from snntha.bench.floor import Peaks, activity, floor_seconds
from snntha.bench.steps import OurStep
from snntha.bench.timing import Timing
from snntha.bench.workload import Workload
from snntha.report.table import Column, Table

MILLISECONDS, MEGABYTES, PERCENT = 1e3, 1e-6, 100


@dataclass(frozen=True)
class CaseResult:
    """One row of the comparison. Bytes are None where the system does not tell."""

    workload: Workload
    timing: Timing
    our_bytes: int | None
    loop_bytes: int | None
    rates: list[float]  # spikes per neuron and step of each layer
    parts: dict[str, float]  # seconds
    floor_parts: dict[str, float]  # seconds

    @property
    def floor(self) -> float:
        return sum(self.floor_parts.values())

    @property
    def memory_ratio(self) -> float | None:
        """How many times less."""
        return self.loop_bytes / self.our_bytes if self.our_bytes and self.loop_bytes else None

    def row(self) -> dict[str, Any]:
        """For the tables: seconds, bytes and ratios."""
        timed, steps = self.timing, self.workload.steps_per_epoch
        return {
            "case": self.workload.name,
            "ours": timed.our_median,
            "loop": timed.loop_median,
            "ratio": timed.ratio,
            "ratio_min": timed.ratio_range[0],
            "ratio_max": timed.ratio_range[1],
            "floor": self.floor,
            "over_floor": timed.our_median / self.floor,
            "our_bytes": self.our_bytes,
            "loop_bytes": self.loop_bytes,
            "memory_ratio": self.memory_ratio,
            "epoch": timed.our_median * steps,
            "loop_epoch": timed.loop_median * steps,
            "rates": self.rates,
        }

    def plain(self) -> dict[str, Any]:
        """For JSON: the same, every round, what was run and where the time goes."""
        row, config = self.row(), self.workload.config
        return {
            "case": self.workload.name,
            "mode": config.mode.name,
            "backend": config.backend,
            "topology": config.model.topology,
            "batch_size": config.hparams.batch_size,
            "time_steps": config.dataset.time_steps,
            "rates": self.rates,
            "parity": asdict(self.timing.parity),
            "ours": {"median": row["ours"], "rounds": self.timing.ours, "epoch": row["epoch"]},
            "loop": {"median": row["loop"], "rounds": self.timing.loop, "epoch": row["loop_epoch"]},
            **{key: row[key] for key in ("ratio", "ratio_min", "ratio_max")},
            "peak_bytes": {"ours": self.our_bytes, "loop": self.loop_bytes, "ratio": self.memory_ratio},
            "floor": {"seconds": self.floor, "ours_over_floor": row["over_floor"], **self.floor_parts},
            "parts": self.parts,
        }


def measure(
    workload: Workload, repeats: int, threads: int | None, peaks: Peaks, log: Callable[[str], None]
) -> CaseResult:
    """Speed, then memory of each in a process of its own, then parts and floor.

    Raises:
        ParityError: the two do not compute the same.
    """
    log(f"{workload.name}: parity, then {repeats} rounds")
    timed = timing.compare(workload, repeats)
    log(f"{workload.name}: {timed.ratio:.1f} times faster; peak memory")
    our_bytes = memory.step_bytes(workload, "ours", threads)
    loop_bytes = memory.step_bytes(workload, "loop", threads)
    log(f"{workload.name}: where the time goes")
    step = OurStep(workload)
    flows, rates = activity(step)
    floor_parts = floor_seconds(step, flows, peaks)
    return CaseResult(
        workload, timed, our_bytes, loop_bytes, rates, part_seconds(OurStep(workload), repeats), floor_parts
    )


def tables(results: list[CaseResult], peaks: Peaks) -> list[Table]:
    """Time of a step, memory of a step and time of an epoch, where the time of a step goes; one row a case."""
    rows = [result.row() for result in results]
    speed = [
        Column("case", "case"),
        Column("ours", "ours ms", 1, MILLISECONDS),
        Column("loop", "loop ms", 0, MILLISECONDS),
        Column("ratio", "faster", 1),
        Column("ratio_min", "min", 1),
        Column("ratio_max", "max", 1),
        Column("rates", "layer rates %", 1, PERCENT),
    ]
    speed_notes = [
        "medians of alternating rounds on one batch; min and max of the rounds' own ratios",
        "rates: spikes per neuron and step of each layer; trained: after some dozen minibatches of synthetic classes",
        "loss, output spikes and gradients of the two agreed on that batch, at the same layer rates",
    ]
    memory_and_epoch = [
        Column("case", "case"),
        Column("our_bytes", "ours MB", 0, MEGABYTES),
        Column("loop_bytes", "loop MB", 0, MEGABYTES),
        Column("memory_ratio", "less", 1),
        Column("epoch", "epoch, ours s", 1),
        Column("loop_epoch", "epoch, loop s", 0),
    ]
    memory_notes = [
        "memory: peak beyond libraries, inputs and compiled code",
        "epoch: median step times the steps that the whole training set takes",
    ]
    parts = [Column("case", "case"), Column("step", "step", 1, MILLISECONDS)]
    parts += [Column(name, name, 1, MILLISECONDS) for name in results[0].parts]
    part_rows: list[dict[str, Any]] = []
    for result in results:
        part_rows.append({"case": result.workload.name, "step": result.timing.our_median, **result.parts})
        part_rows.append({"case": "  floor", "step": result.floor, **result.floor_parts})
    part_notes = [
        "differences of medians, see docs/performance.md: small parts may come out below zero",
        f"floor from {peaks.flops / 1e9:.0f} GFLOP/s and {peaks.bytes / 1e9:.0f} GB/s, both measured in this run",
    ]
    title = (
        f"Training step, mode={results[0].workload.config.mode.name}: snntha (ours) and the step-by-step snnTorch loop"
    )
    return [
        Table("speed", title, speed, rows, speed_notes),
        Table("memory", "Peak memory of a step, and the epoch that follows", memory_and_epoch, rows, memory_notes),
        Table("parts", "Where the time of a step goes, ms", parts, part_rows, part_notes),
    ]
