"""What a user can mend: printed as one message, without a traceback."""

from pathlib import Path


class UserError(ValueError):
    """Names the argument, its value and the remedy."""


class Missing(UserError):
    """A run's folder lacks what was asked for."""


class Damaged(Missing):
    """A file of a run's folder cannot be read, which is as if it were not there."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} is damaged: {' '.join(reason.split())}")
