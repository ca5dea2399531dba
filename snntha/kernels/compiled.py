"""Compiled kernels on disk: whether they are there, and that none outlives a change of its source.

Numba keeps what it compiled beside the source (or in the user's cache folder) and compiles again when the file of the
kernel changes. It does not look at the files of the functions inlined into it, so these are checked here.
"""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from numba.core.dispatcher import Dispatcher

from snntha.kernels import conv, dense, events, norm, scan, tile, vector
from snntha.kernels.spec import Events, Layer, Static

MODULES = (conv, dense, events, norm, scan)  # that hold compiled kernels
INLINED = (conv, tile, vector)  # that hold functions which other files' kernels contain


def is_compiled(inputs: Events | Static, layers: list[Layer]) -> bool:
    """Whether the kernels that such a network needs were compiled before, be it for other dtypes."""
    discard_outdated()
    modules: set[ModuleType] = {events}
    for number, layer in enumerate(layers):
        if number == 0 and isinstance(inputs, Static):
            modules.add(scan)
        elif layer.weight.dim() == 2:
            modules.add(dense)
        else:
            modules |= {conv, scan} if layer.batch_norm is None else {conv, scan, norm}
    return all(any(_indices(kernel)) for module in modules for kernel in _kernels(module))


def discard_outdated() -> None:
    """Remove all compiled kernels if a file of INLINED has changed since they were compiled."""
    sources = b"".join(Path(str(module.__file__)).read_bytes() for module in INLINED)
    digest = hashlib.sha256(sources).hexdigest()
    kernels = [kernel for module in MODULES for kernel in _kernels(module)]
    stamp = _folder(kernels[0]) / "kernels.sha256"
    if stamp.exists() and stamp.read_text() == digest:
        return
    for kernel in kernels:
        for index in _indices(kernel):
            index.unlink(missing_ok=True)
    stamp.parent.mkdir(parents=True, exist_ok=True)
    stamp.write_text(digest)


def _kernels(module: ModuleType) -> list[Dispatcher]:
    """The functions of a module that numba keeps on disk."""
    return [value for value in vars(module).values() if isinstance(value, Dispatcher) and value.stats.cache_path]


def _indices(kernel: Dispatcher) -> Iterator[Path]:
    """Numba's index files of one kernel, which name its compiled variants."""
    function = kernel.py_func
    pattern = f"*.{function.__qualname__}-{function.__code__.co_firstlineno}.py*.nbi"
    return _folder(kernel).glob(pattern)


def _folder(kernel: Dispatcher) -> Path:
    """Where numba keeps a kernel that is compiled with cache=True."""
    assert kernel.stats.cache_path is not None
    return Path(kernel.stats.cache_path)
