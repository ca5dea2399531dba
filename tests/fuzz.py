"""Readers and parsers, fuzzed by atheris, which changes contents until they lead into code that none has reached.

`scripts/fuzz NAME [SECONDS] [FOLDER]`: NAME is one of `readers.READERS`, FOLDER keeps what was found interesting. A
content that ends in anything but what is promised is printed, kept in FOLDER as crash-..., and ends it.
"""

import logging
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris
import matplotlib.pyplot  # noqa: F401  # not ours, so not guided by: imported before
import tonic  # noqa: F401

KERNELS = ["snntha.kernels", "snntha.runtime.compiled"]  # numba could not compile them any more
with atheris.instrument_imports(include=["snntha", "yaml", "gzip"], exclude=KERNELS):
    from readers import READERS


def main(name: str, seconds: str = "600", kept: str | None = None) -> None:
    logging.disable()  # rebuilt caches, damaged lines
    warnings.simplefilter("ignore")
    with TemporaryDirectory() as temporary:
        folder, corpus = Path(temporary, "files"), Path(kept or Path(temporary, "corpus"))
        folder.mkdir()
        corpus.mkdir(parents=True, exist_ok=True)
        reader = READERS[name](folder)
        longest = 4 * max(map(len, reader.sound))
        for number, content in enumerate(reader.sound):
            (corpus / f"sound_{number}").write_bytes(content)
        options = [f"-max_total_time={seconds}", f"-max_len={longest}", "-timeout=600", "-rss_limit_mb=6000"]
        atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={corpus}/", str(corpus)], reader.read)
        atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
