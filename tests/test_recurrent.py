"""Recurrent layers: notation, training, exports. Parity of the kernels is in test_kernels, runtime in test_runtime."""

from pathlib import Path

import numpy as np
import pytest
import torch
from frozen_runs import RECURRENT, write_run
from test_predict import call
from test_runtime import some_batch

from snntha import nir
from snntha.config import compose
from snntha.errors import UserError
from snntha.export import cost, golden
from snntha.export.freeze import freeze, load_network
from snntha.export.nir import to_bytes
from snntha.folder import RunFolder
from snntha.network import SpikingNetwork
from snntha.records import SeedRecord
from snntha.snntorch_loop import SnnTorchLoop
from snntha.topology import parse

DIGITS = (
    *("dataset=digits", "model.topology=4Conv3-AP2-36Dense12R-Dense10", "dataset.limit=60", "epochs=2", "plots=false"),
    *("hparams.dropout=[0,0]", "hparams.threshold.start=[1,2,2]", "hparams.threshold.rise=[1,1,1]"),
    "hparams.threshold.rate=[0.01,0.01,0.01]",
)
WEIGHTS = 700 * 24 + 24 * 24 + 24 * 20


def test_an_r_makes_a_dense_layer_recurrent() -> None:
    for topology in ("700Dense512R-Dense20", "700Dense512RDense20", "700Dense512R-512Dense20"):
        hidden, output = parse(topology, (700,))
        assert (hidden.recurrent, output.recurrent) == (True, False)
        assert (hidden.weights, output.weights) == (700 * 512 + 512 * 512, 512 * 20)
    assert parse("8Dense4R", (8,))[0].recurrent
    for wrong, words in (("9Dense4R", "9 inputs do not fit"), ("8DenseR", "unknown token")):
        with pytest.raises(UserError, match=words):
            parse(wrong, (8,))


def test_an_image_has_no_recurrent_layer_of_its_own() -> None:
    one_layer = [f"hparams.threshold.{key}=[1.0]" for key in ("start", "rise", "rate")]
    with pytest.raises(UserError, match="leave its R out"):
        compose(["dataset=digits", "model.topology=64Dense10R", "hparams.dropout=[]", *one_layer])


def test_weights_begin_as_without_recurrence() -> None:
    plain = SpikingNetwork(compose(["dataset=shd", "model.topology=700Dense30Dense20"]), seed=3).state_dict()
    own = SpikingNetwork(compose(["dataset=shd", "model.topology=700Dense30R-Dense20"]), seed=3).state_dict()
    assert own.keys() - plain.keys() == {"synapses.0.recurrent"}
    assert all(torch.equal(own[name], plain[name]) for name in plain)


def test_training_is_the_same_bits_and_moves_the_recurrent_weights(tmp_path: Path) -> None:
    found = []
    for name in ("one", "other"):
        assert call("train", *DIGITS, "hparams.weight_clip=0.25", f"output_dir={tmp_path / name}") == 0
        checkpoint = SeedRecord(RunFolder(tmp_path / name).seed(0).folder).read_checkpoint("last")
        found.append(checkpoint["network"]["synapses.1.recurrent"])
    drawn = SpikingNetwork(RunFolder(tmp_path / "one").load_config(), seed=0).state_dict()["synapses.1.recurrent"]
    assert torch.equal(*found) and not torch.equal(found[0], drawn.clamp(-0.25, 0.25))
    assert found[0].abs().max() <= 0.25


def test_exports_say_recurrence_or_refuse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = write_run(tmp_path / "run", *RECURRENT[:-1])
    frozen = freeze(run)
    assert call("export", f"run={run}", "golden=0", f"output={tmp_path / 'model.safetensors'}") == 0
    assert f"{WEIGHTS:,} weights in {WEIGHTS:,} bits" in capsys.readouterr().out
    for form in ("c", "onnx"):
        assert call("export", f"run={run}", f"format={form}") == 1
        assert f"format={form} cannot say recurrent weights, which layer 1 has" in capsys.readouterr().err
    network, thresholds = load_network(run, 0, "best")
    recorded = golden.record(network, thresholds, some_batch(frozen, 3), frozen.encoding)
    counted, own = cost.count(frozen.layers, recorded.inputs, recorded.spikes)[0], recorded.spikes[0]
    events = len(recorded.inputs.index)  # pyright: ignore
    assert counted.weight_bits == 700 * 24 + 24 * 24
    assert counted.effective == pytest.approx(24 * (events + own[:-1].sum()) / 3)
    pytest.importorskip("nirtorch")
    (tmp_path / "model.nir").write_bytes(to_bytes(frozen, None))
    simulated = nir.simulate(tmp_path / "model.nir", frozen, recorded.inputs)
    assert all(np.any(spikes) for spikes in recorded.spikes)
    assert all((one != other).mean() < 1e-3 for one, other in zip(recorded.spikes, simulated, strict=True))


def test_the_snntorch_loop_refuses_what_it_has_not() -> None:
    for words in ("model.topology=700Dense30R-Dense20", "hparams.delays=[3,0]"):
        with pytest.raises(UserError, match="no delays and no recurrent layers"):
            SnnTorchLoop(SpikingNetwork(compose(["dataset=shd", words]), seed=0))
