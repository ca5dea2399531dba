"""`snntha doctor`: what this installation computes with, and what it would trip over."""

import os
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from rich.table import Column, Table
from rich.text import Text

from snntha import config as configuration
from snntha import data as datasets
from snntha.catalog import OUTPUTS
from snntha.kernels.cpu import COMPILED_CODE

PACKAGES = ("torch", "numpy", "numba", "snntorch", "tonic", "hydra-core", "optuna", "matplotlib", "plotly")
OPTIONAL = {"tensorboard": "tensorboard", "mlflow": "mlflow", "wandb": "wandb", "nir": "export", "onnx": "export"}


def table() -> Table:
    """Versions, threads, kernels, caches, data and device, a line each."""
    import torch

    from snntha.kernels.backend import fastest_for
    from snntha.run import resolve_device

    config = configuration.compose()
    device = resolve_device("auto")
    names = configuration.READY
    sets = [datasets.status(configuration.compose([f"dataset={name}"]).dataset) for name in names]
    missing = [f"{name} (pip install 'snntha[{extra}]')" for name, extra in OPTIONAL.items() if not find_spec(name)]
    cuda = f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}" if torch.cuda.is_available() else "no CUDA"
    rows = {
        "snntha": f"{metadata.version('snntha')} in {Path(__file__).parent}",
        "python": f"{sys.version.split()[0]} in {sys.prefix}",
        "packages": ", ".join(f"{name} {metadata.version(name)}" for name in PACKAGES),
        "not installed": ", ".join(missing) or "nothing that is optional",
        "device": f"{device.type} ({cuda})",
        "threads": f"{torch.get_num_threads()} of {os.cpu_count()} processors; threads=N or OMP_NUM_THREADS changes it",
        "kernels": f"{fastest_for(device)}; compiled ones: {_size(COMPILED_CODE)}",
        "binned data": _size(Path(config.dataset.cache)),
        "data": ", ".join(found.name for found in sets if found.present),
        "data missing": ", ".join(found.name for found in sets if not found.present) or "none",
        "runs": _size(OUTPUTS),
    }
    shown = Table("", Column("", overflow="fold"), show_header=False, box=None)
    for name, text in rows.items():
        shown.add_row(name, Text(text))
    return shown


def _size(folder: Path) -> str:
    """What lies in a folder, and whether it can be written."""
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    megabytes = sum(path.stat().st_size for path in files) / 1e6
    place = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    return f"{folder}, {megabytes:,.1f} MB" + (", cannot be written" if not os.access(place, os.W_OK) else "")
