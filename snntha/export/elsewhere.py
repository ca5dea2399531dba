"""A NIR file in a simulator that needs an environment of its own, where snntha is not installed.

That environment's Python runs this file's `__main__`, sees this package beside it, and needs what the simulator and
`snntha.nir` import: `nir`, numpy and safetensors.
"""

import os
import pickle
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from snntha import nir
from snntha.errors import UserError
from snntha.runtime.network import FrozenNetwork, Images, Spikes

_PACKAGE = Path(__file__).parents[1]


def python_of(environment: Path) -> Path | None:
    """The interpreter of a virtual environment; None where there is none."""
    path = environment.absolute() / "bin" / "python"
    return path if path.exists() else None


def simulate(python: Path, path: Path, network: FrozenNetwork, inputs: Images | Spikes) -> list[np.ndarray]:
    """As `nir.simulate`, run by another Python; raises UserError where that fails."""
    with TemporaryDirectory() as folder:
        Path(folder, _PACKAGE.name).symlink_to(_PACKAGE)
        Path(folder, "job").write_bytes(pickle.dumps((path.absolute(), network, inputs)))
        own = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run([python, "-m", __name__], cwd=folder, env=own, capture_output=True, text=True)
        if done.returncode:
            raise UserError(f"{python} cannot run {path}: {done.stderr.strip()[-500:]}")
        with np.load(Path(folder, "spikes.npz")) as spikes:
            return list(spikes.values())


if __name__ == "__main__":
    np.savez("spikes.npz", *nir.simulate(*pickle.loads(Path("job").read_bytes())))
