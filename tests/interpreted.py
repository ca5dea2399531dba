"""The Triton backend against the reference, its kernels interpreted on the CPU; `test_triton.py` runs this file.

In a process of its own: TRITON_INTERPRET=1 has to be set before the kernels are imported.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from test_kernels import CASES, NEURON, Case, assert_agree, run

from snntha import run as runs
from snntha.config import compose
from snntha.folder import RunFolder
from snntha.kernels import products, reference, triton_scan
from snntha.kernels.backend import run_layers, run_network
from snntha.kernels.spec import Affine, Dropout

TRITON = partial(run_network, backend="triton")
CODE = replace(NEURON, strict=True, centre=0.7)  # fidelity=code: fires above the threshold, surrogate moves with it
SHORT = {
    "dense-dropout": replace(CASES["dense-three"], time_steps=4, neuron=CODE),
    "conv-norm": replace(CASES["conv-norm"], time_steps=4, dropout=0.3),
    "conv-norm-eval": replace(CASES["conv-norm-eval"], time_steps=3, neuron=CODE),
    "conv-no-pool": replace(CASES["conv-no-pool"], time_steps=3),
    "betas": replace(CASES["betas-three"], time_steps=4),
    "betas-conv": replace(CASES["betas-conv"], time_steps=3),
    "one-neuron": CASES["one-neuron"],
}


@pytest.fixture(autouse=True)
def poisoned_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kernel is to fill is full of NaN, and several programs share a step."""
    empty_like = torch.empty_like
    monkeypatch.setattr(torch, "empty_like", lambda *args, **kwargs: empty_like(*args, **kwargs).fill_(torch.nan))
    monkeypatch.setattr(triton_scan, "TILE", {"BLOCK": 128, "AHEAD": 1})


@pytest.mark.parametrize("name", SHORT)
def test_agrees_with_reference(name: str) -> None:
    assert_agree(run(TRITON, SHORT[name]), run(run_layers, SHORT[name]), exact=True)


def test_a_scan_of_images_expands_their_current_and_adds_its_gradients_up() -> None:
    """Grey values are float sums in another order: spikes are compared where the currents are the same."""
    current_BX = torch.randn(3, 5, 4, 2, generator=torch.Generator().manual_seed(0)) * 3
    outcomes = []
    for scan in (triton_scan.scan, reference.scan):
        leaf = current_BX.clone().requires_grad_()
        spikes, membrane = scan(leaf.expand(6, *leaf.shape), NEURON, None, None)
        membrane.square().sum().backward()  # no gradient of the spikes
        outcomes.append((spikes, membrane, leaf.grad))
    (spikes, membrane, grad), (other_spikes, other_membrane, other_grad) = outcomes
    assert torch.equal(spikes, other_spikes) and torch.equal(membrane, other_membrane) and spikes.any()
    torch.testing.assert_close(grad, other_grad, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("key", [3, 0xFFFFFFFF])
def test_dropout_keeps_the_same_currents_of_a_share(key: int) -> None:
    drop = Dropout(0.4, key, share=reference.Share(before=2, others=5, weight=3 / 8))
    ones = torch.ones(2, 3, 170)
    affine = Affine(torch.tensor([[0.5], [3.0]]).expand(2, 170), torch.ones(1, 170).expand(2, 170))
    _, membrane = triton_scan.scan(ones, replace(NEURON, beta=0.0, threshold=9.0), drop, affine)
    assert torch.equal(membrane > 0, reference.dropout_mask(drop, (2, 3, 170)))
    assert torch.equal(membrane.amax((1, 2)), torch.tensor([1.5, 4.0]) * torch.tensor(1 / 0.6, dtype=torch.float32))


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "float"])
@pytest.mark.parametrize("name", ["dense", "conv"])
def test_bf16_products_are_those_of_the_reference(name: str, binary: bool) -> None:
    outcomes = []
    for synapse in (partial(products.synapse, precision="bf16"), reference.synapse_bf16):
        case = replace(CASES[name], binary=binary)
        layer = case.layers()[0]
        if not binary:
            layer.weight.data += 0.001  # which bf16 rounds away
        spikes_TBX = reference.dense(case.inputs()).requires_grad_()
        sums_TBX = synapse(spikes_TBX, layer)
        cotangent = torch.randn(sums_TBX.shape, generator=torch.Generator().manual_seed(4))
        sums_TBX.backward(cotangent)
        outcomes.append((sums_TBX, layer.weight.grad, spikes_TBX.grad))
    for ours, theirs in zip(*outcomes, strict=True):
        rounded = 2**-8 if name == "conv" and not binary else 2e-6  # weights are rounded after the pooling is folded in
        torch.testing.assert_close(ours, theirs, rtol=0, atol=rounded * theirs.abs().max().item())
    assert not binary or torch.equal(outcomes[0][0], outcomes[1][0])


@pytest.mark.slow
@pytest.mark.parametrize("binary", [True, False], ids=["binary", "float"])
@pytest.mark.parametrize("name", CASES)
def test_agrees_with_reference_in_all_cases(name: str, binary: bool) -> None:
    case: Case = replace(CASES[name], binary=binary)
    assert_agree(run(TRITON, case), run(run_layers, case), exact=not case.static)


@pytest.mark.slow
@pytest.mark.parametrize("fidelity", ["paper", "code"])
def test_a_run_trains_as_with_the_reference(fidelity: str, tmp_path: Path) -> None:
    records = []
    for backend in ("reference", "triton"):
        size = ["dataset.limit=24", "model.topology=4Conv3-AP2-36Dense10", "dataset.time_steps=6", "epochs=1"]
        chosen = [f"backend={backend}", f"fidelity={fidelity}", f"output_dir={tmp_path / backend}", "device=cpu"]
        runs.run(compose(["debug=smoke", *size, *chosen]))
        records.append(RunFolder(tmp_path / backend).seed(0).metrics[0])
    reference_epoch, triton_epoch = records
    assert triton_epoch["train_loss"] == pytest.approx(reference_epoch["train_loss"], rel=1e-5)
    assert triton_epoch["firing_rate"] == pytest.approx(reference_epoch["firing_rate"], rel=0.02)
