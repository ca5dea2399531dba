"""Files that are replaced as a whole: whatever happens meanwhile, there is the old one or the new one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, content: str | bytes) -> None:
    """Replace a file by one with this content; text in UTF-8."""
    with replacing(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """An OSError inside that names no file, as of a disk that is full, names this one."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def append_line(path: Path, line: str) -> None:
    """Add a line to a file; it is on disk when this returns. An OSError names the file."""
    with naming(path), path.open("a") as file:
        file.write(f"{line}\n")
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the old one's place once it is written; an OSError names it and leaves no part behind.

    What is there and no file, such as /dev/null, is written to, not replaced.
    """
    partial = path.parent / f"{path.name}.partial"
    with naming(path):
        if path.exists() and not path.is_file():
            with path.open("wb") as file:
                yield file
            return
        path.parent.mkdir(exist_ok=True)
        try:
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except OSError:
            with suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
