"""What a user can mend: printed as one message, without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(ValueError):
    """Names the argument, its value and the remedy."""


class ConfigError(UserError):
    """A configuration that cannot run: names the key, its value and what is allowed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest known word, else nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
