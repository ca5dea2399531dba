"""Event-driven layers in compiled numba kernels, fused over time. Needs numpy and numba, not PyTorch.

Numba keeps what it compiled and compiles again when the file of a kernel changes. It does not look at the files of the
functions inlined into the kernel. So the compiled code lies in a folder that is named by the sources of this package:
changed sources are another folder, and nothing outdated is ever loaded.
"""

import hashlib
import os
import tempfile
from pathlib import Path

import numba


def _compiled_code() -> Path:
    """The folder for this version's compiled kernels: below NUMBA_CACHE_DIR or the user's cache, or a temporary one."""
    sources = b"".join(path.read_bytes() for path in sorted(Path(__file__).parent.glob("*.py")))
    own = f"kernels-{hashlib.sha256(sources).hexdigest()[:16]}"
    caches = [os.environ.get("NUMBA_CACHE_DIR"), _user_cache(), tempfile.gettempdir()]
    for cache in caches:
        if cache:
            folder = Path(cache) / own
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError:
                continue  # a home that is not there or not writable
            if os.access(folder, os.W_OK):
                return folder
    return Path(tempfile.mkdtemp(prefix=own))


def _user_cache() -> str:
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("SNNTHA_CACHE") or os.path.join(cache, "snntha")


COMPILED_CODE = _compiled_code()
numba.config.CACHE_DIR = str(COMPILED_CODE)  # pyright: ignore  # filled at run time; read where a kernel is decorated
