"""When many trials fail, what they have in common."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from optuna.trial import FrozenTrial, TrialState

from snntha.config.schema import Search
from snntha.errors import UserError


class TooManyFailures(UserError):
    """More of the last trials failed than the search allows."""


def check_failures(trials: Sequence[FrozenTrial], search: Search, since: datetime = datetime.min) -> None:
    """Raise TooManyFailures if more than `max_failure_share` of the last `failure_window` ended trials failed.

    Only trials that ended since this worker began count, so that a search whose cause was mended goes on.
    """
    ended = [trial for trial in trials if trial.state.is_finished() and trial.datetime_complete is not None]
    ended.sort(key=lambda trial: trial.datetime_complete)  # type: ignore[arg-type, return-value]
    recent = [trial for trial in ended if trial.datetime_complete >= since][-search.failure_window :]  # type: ignore[operator]
    failed = [trial for trial in recent if trial.state == TrialState.FAIL]
    if len(recent) < search.failure_window or len(failed) <= search.max_failure_share * len(recent):
        return
    raise TooManyFailures(
        f"{len(failed)} of the last {len(recent)} trials failed, more than search.max_failure_share="
        f"{search.max_failure_share} allows.\n{in_common(failed, [t for t in ended if t.state == TrialState.COMPLETE])}"
        f"\nMend the cause or narrow the range, then start the same command again"
    )


def describe(error: BaseException) -> str:
    """The reason that a trial's error is recorded with."""
    return str(error) if isinstance(error, UserError) else f"{type(error).__name__}: {error}"


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed, in one line."""
    return trial.user_attrs.get("failure", "its value is not a finite number").splitlines()[0]


def in_common(failed: Sequence[FrozenTrial], complete: Sequence[FrozenTrial]) -> str:
    """The failed trials' reasons, and the parameters that set them apart from the complete ones."""
    lines = [f"{count} x {text}" for text, count in Counter(_pattern(reason(trial)) for trial in failed).most_common()]
    shared = set.intersection(*(set(trial.params) for trial in failed))
    for name in sorted(shared):
        values = [trial.params[name] for trial in failed]
        others = [trial.params[name] for trial in complete if name in trial.params]
        if all(isinstance(value, float) for value in values + others):
            low, high = min(values), max(values)
            if others and not any(low <= other <= high for other in others):
                lines.append(f"all had {name} from {low:.4g} to {high:.4g}, no complete trial had")
        elif len(set(values)) == 1 and (values[0] not in others):
            lines.append(f"all had {name}={values[0]}, no complete trial had")
    return "\n".join(lines)


def _pattern(text: str) -> str:
    """A reason without its numbers, so that equal causes count together."""
    return re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "#", text)
