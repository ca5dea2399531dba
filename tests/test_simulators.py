"""Portable NIR files in simulators that need an environment of their own: our spikes, with the loaders of `snntha.nir`.

The variable SNNTHA_SIMULATORS names a folder with an environment for each, made by `python -m venv FOLDER/norse` and
`FOLDER/norse/bin/pip install norse nir nirtorch safetensors` (spikingjelly alike; sinabs alone brings its own nir).
"""

import os
import sys
from pathlib import Path

import pytest
from frozen_runs import DIGITS, SHD, write_run
from test_runtime import some_batch, trained_spikes

from snntha.errors import UserError
from snntha.export import elsewhere
from snntha.export.freeze import freeze
from snntha.export.nir import to_bytes


@pytest.mark.slow
@pytest.mark.parametrize("case", [DIGITS, SHD], ids=["digits", "shd"])
@pytest.mark.parametrize("target", ["spikingjelly", "norse", "sinabs"])
def test_a_simulator_gives_our_spikes(tmp_path, target, case):
    python = elsewhere.python_of(Path(os.environ.get("SNNTHA_SIMULATORS", "."), target))
    if python is None:
        pytest.skip(f"needs {target} in a folder that SNNTHA_SIMULATORS names")
    run = write_run(tmp_path / "run", *case)
    recorded, frozen = trained_spikes(run, some_batch(freeze(run), 3))
    (tmp_path / "graph.nir").write_bytes(to_bytes(frozen, target))
    found = elsewhere.simulate(python, tmp_path / "graph.nir", frozen, recorded.inputs)
    for trained, simulated in zip(recorded.spikes, found, strict=True):
        assert trained.any() and (trained != simulated).mean() < 1e-3


def test_what_another_python_says_is_told(tmp_path):
    assert elsewhere.python_of(tmp_path / "sinabs") is None
    run = write_run(tmp_path / "run", *DIGITS)
    recorded, frozen = trained_spikes(run, some_batch(freeze(run), 1))
    with pytest.raises(UserError, match="cannot run .*nothing.nir"):
        elsewhere.simulate(Path(sys.executable), tmp_path / "nothing.nir", frozen, recorded.inputs)
