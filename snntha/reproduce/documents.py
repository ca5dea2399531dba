"""Write the tables of the documents from results/: `python -m snntha.reproduce.documents [--check] FILE...`.

A document has each between `<!-- table NAME -->` and `<!-- end -->`. With --check nothing is written, and a document
that says something else than the records is an error.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

from snntha.atomic import write_atomically
from snntha.errors import UserError, expected
from snntha.reproduce.tables import accuracy, activity, digest, figure4, variants

TABLES: dict[str, Callable[[Path], str]] = {
    "digest": digest,
    "accuracy": accuracy,
    "activity": activity,
    "figure4": figure4,
    **{group: partial(variants, group=group) for group in ("batch_norm", "learning_rate", "switches", "annealing")},
}
_TABLE = re.compile(r"(?<=<!-- table )(\w+)( -->\n).*?(?=<!-- end -->)", re.DOTALL)


def filled(text: str, results: Path) -> str:
    """A document with its tables as the records have them; raises UserError where one has no such name."""

    def table(found: re.Match[str]) -> str:
        if found[1] not in TABLES:
            raise UserError(f"<!-- table {found[1]} -->: {expected(found[1], TABLES)}")
        return f"{found[1]}{found[2]}\n{TABLES[found[1]](results)}\n\n"

    return _TABLE.sub(table, text)


def main(words: list[str], results: Path = Path("results")) -> int:
    """Fill the documents, or check them; the exit status."""
    check, documents = "--check" in words, [Path(word) for word in words if word != "--check"]
    differing = [path for path in documents if filled(path.read_text(), results) != path.read_text()]
    for path in differing:
        if check:
            print(f"{path} says something else than {results}/: run scripts/readme", file=sys.stderr)
        else:
            write_atomically(path, filled(path.read_text(), results))
            print(f"wrote {path}")
    return int(check and bool(differing))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
