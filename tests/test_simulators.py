"""Portable NIR files in simulators that need an environment of their own: our spikes, with the loaders of `snntha.nir`.

The variable SNNTHA_SIMULATORS names a folder with an environment for each, made by `python -m venv FOLDER/norse` and
`FOLDER/norse/bin/pip install norse nir nirtorch safetensors` (spikingjelly alike; sinabs alone brings its own nir).
"""

import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from frozen_runs import DIGITS, SHD, write_run
from test_predict import call
from test_runtime import some_batch, trained_spikes

from snntha.export.freeze import freeze
from snntha.runtime import packed
from snntha.runtime.network import Images

ROOT = Path(__file__).parents[1]
SIMULATE = """
import sys
from pathlib import Path
import numpy as np
from snntha import nir
from snntha.runtime import packed
from snntha.runtime.network import Images, Spikes
folder = Path(sys.argv[1])
network, arrays = packed.read(folder / "model"), np.load(folder / "inputs.npz")
encoding, batch = network.encoding, int(arrays["batch"])
if encoding.kind == "image":
    inputs = Images(arrays["grey"], encoding.white, encoding.time_steps)
else:
    inputs = Spikes(arrays["indptr"], arrays["index"], encoding.time_steps, batch, encoding.shape)
np.savez(folder / "spikes.npz", *nir.simulate(folder / "graph.nir", network, inputs))
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", [DIGITS, SHD], ids=["digits", "shd"])
@pytest.mark.parametrize("target", ["spikingjelly", "norse", "sinabs"])
def test_a_simulator_gives_our_spikes(tmp_path, target, case):
    python = Path(os.environ.get("SNNTHA_SIMULATORS", "."), target, "bin", "python")
    if not python.exists():
        pytest.skip(f"needs {target} in a folder that SNNTHA_SIMULATORS names")
    run = write_run(tmp_path / "run", *case)
    recorded, frozen = trained_spikes(run, some_batch(freeze(run), 3))
    (tmp_path / "model").write_bytes(packed.to_bytes(frozen))
    words = ("format=nir", "profile=portable", f"target={target}", f"output={tmp_path / 'graph.nir'}")
    assert call("export", f"run={run}", *words) == 0
    inputs = recorded.inputs
    named = {"grey": inputs.grey_BX} if isinstance(inputs, Images) else {"indptr": inputs.indptr, "index": inputs.index}
    np.savez(tmp_path / "inputs.npz", batch=inputs.batch, **named)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([python, "-c", SIMULATE, tmp_path], check=True, capture_output=True, env=environment)
    with np.load(tmp_path / "spikes.npz") as found:
        for trained, simulated in zip(recorded.spikes, found.values(), strict=True):
            assert trained.any() and (trained != simulated).mean() < 1e-3
