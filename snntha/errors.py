"""What a user can mend: printed as one message, without a traceback."""

import difflib
from collections.abc import Iterable
from pathlib import Path

# For str.translate: control characters could steer a terminal or end a line; a newline of our own stays
PRINTABLE = dict.fromkeys([*range(0x0A), *range(0x0B, 0x20), *range(0x7F, 0xA0)], "\N{REPLACEMENT CHARACTER}")


class UserError(ValueError):
    """Names the argument, its value and the remedy."""


class Missing(UserError):
    """A run's folder lacks what was asked for."""


class Damaged(Missing):
    """A file of a run's folder cannot be read, which is as if it were not there."""

    def __init__(self, path: Path, reason: str):
        super().__init__(f"{path} is damaged: {' '.join(reason.split())}")


class NotInstalled(UserError):
    """A package or program that only this command needs; says how to get it."""


class ConfigError(UserError):
    """A configuration that cannot run: names the key, its value and what is allowed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def expected(word: str, allowed: Iterable[str]) -> str:
    """What was expected in place of a word that is not allowed, and which of it may have been meant."""
    return f"expected {' | '.join(allowed)}{did_you_mean(word, allowed)}"


def counted(number: int, one: str, many: str = "") -> str:
    """`1 seed`, `2 seeds`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"
