"""Why trials failed, and what they have in common when many do."""

import re
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from optuna.trial import FrozenTrial, TrialState

from snntha.config.schema import Search
from snntha.errors import UserError
from snntha.search.shared_study import taken_up


def check_failures(trials: Sequence[FrozenTrial], search: Search, since: datetime = datetime.min) -> None:
    """Raise UserError if more than `max_failure_share` of the last `failure_window` ended trials failed.

    Only trials that ended since this worker began count, so that a search whose cause was mended goes on, and none
    that was taken up again.
    """
    again = taken_up(trials)
    ended = [trial for trial in trials if trial.state.is_finished() and trial.number not in again]
    ended.sort(key=lambda trial: trial.datetime_complete or datetime.min)
    recent = [trial for trial in ended if (trial.datetime_complete or since) >= since][-search.failure_window :]
    failed = [trial for trial in recent if trial.state == TrialState.FAIL]
    if len(recent) < search.failure_window or len(failed) <= search.max_failure_share * len(recent):
        return
    raise UserError(
        f"{len(failed)} of the last {len(recent)} trials failed, more than search.max_failure_share="
        f"{search.max_failure_share} allows.\n{in_common(failed, [t for t in ended if t.state == TrialState.COMPLETE])}"
        f"\nMend the cause or narrow the range, then start the same command again"
    )


def reason(trial: FrozenTrial) -> str:
    """Why a trial failed, in one line."""
    return trial.user_attrs.get("failure", "its process died (killed, perhaps for want of memory)").splitlines()[0]


def in_common(failed: Sequence[FrozenTrial], complete: Sequence[FrozenTrial]) -> str:
    """The failed trials' reasons, and the parameters that set them apart from the complete ones."""
    numbers = re.compile(r"\d+(\.\d+)?(e[+-]?\d+)?")  # equal causes count together, whatever their numbers
    reasons = Counter(numbers.sub("#", reason(trial)) for trial in failed)
    lines = [f"{count} x {text}" for text, count in reasons.most_common()]
    for name in sorted(set.intersection(*(set(trial.params) for trial in failed))):
        values = [trial.params[name] for trial in failed]
        others = [trial.params[name] for trial in complete if name in trial.params]
        if all(isinstance(value, float) for value in values + others):
            low, high = min(values), max(values)
            if others and not any(low <= other <= high for other in others):
                lines.append(f"all had {name} from {low:.4g} to {high:.4g}, no complete trial had")
        elif len(set(values)) == 1 and (values[0] not in others):
            lines.append(f"all had {name}={values[0]}, no complete trial had")
    return "\n".join(lines)
