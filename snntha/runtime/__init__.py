"""Classes from a packed file, without PyTorch: numpy, and numba's kernels for batches. `load` is the way in."""

from snntha.runtime.model import Answer, Model, load

__all__ = ["Answer", "Model", "load"]
