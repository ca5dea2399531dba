"""Several searches side by side: how fast each found what it found."""

import re
from collections.abc import Sequence
from statistics import median

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.trial import TrialState

from snntha.plots.folders import Missing
from snntha.plots.style import MODE_COLOURS, OTHER_COLOURS, WIDTH
from snntha.search.snapshot import Snapshot, score


def best_so_far(snapshot: Snapshot) -> list[float]:
    """The best value after each trial that ended, in the order of their numbers; nan before the first complete one."""
    best, values = float("nan"), []
    for trial in snapshot.ended:
        if trial.state == TrialState.COMPLETE and not score(trial) <= best:
            best = score(trial)
        values.append(best)
    return values


def group_of(name: str) -> str:
    """Repetitions of a search differ in a last number: `tpe_1`, `tpe_2`, ... belong to `tpe`."""
    return re.sub(r"_\d+$", "", name)


def comparison(snapshots: Sequence[Snapshot]) -> Figure:
    """Best value so far against the number of trials; of repetitions each thin, and their median."""
    groups: dict[str, list[Snapshot]] = {}
    for snapshot in snapshots:
        if snapshot.having(TrialState.COMPLETE):
            groups.setdefault(group_of(snapshot.study.study_name), []).append(snapshot)
    if not groups:
        raise Missing("no trial is complete")
    figure = Figure(figsize=(WIDTH, 3.6))
    ax = figure.subplots()
    for (name, members), colour in zip(groups.items(), _colours(list(groups.values())), strict=True):
        curves = [best_so_far(member) for member in members]
        middle = [median(values) for values in zip(*curves, strict=False)]
        label = name if len(curves) == 1 else f"{name}: median of {len(curves)}"
        for curve in curves if len(curves) > 1 else []:
            ax.step(range(1, len(curve) + 1), curve, where="post", color=colour, alpha=0.35, lw=0.8)
        ax.step(range(1, len(middle) + 1), middle, where="post", color=colour, label=label)
    first = snapshots[0]
    ax.set(xlabel="trials", ylabel=f"best {first.measure} so far{first.unit and ', %'}")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=min(4, len(groups)))
    return figure


def _colours(groups: Sequence[Sequence[Snapshot]]) -> list[str]:
    """A mode's own colour for the first search of that mode."""
    others = [*OTHER_COLOURS, *MODE_COLOURS.values()]
    colours: list[str] = []
    for members in groups:
        own = MODE_COLOURS.get(members[0].attributes["mode"])
        free = [colour for colour in ([own] if own else []) + others if colour not in colours]
        colours.append(free[0] if free else others[len(colours) % len(others)])
    return colours
