"""The Triton backend without a GPU: kernels interpreted, kernels compiled for GPUs, and what is asked of a machine."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snntha.errors import UserError
from snntha.kernels import backend
from snntha.kernels.backend import choose, fastest_for

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_triton = pytest.mark.skipif(fastest_for(CUDA) != "triton", reason="PyTorch brings Triton where it knows GPUs")


@needs_triton
@pytest.mark.parametrize("marked", ["not slow", pytest.param("slow", marks=pytest.mark.slow)])
def test_interpreted_kernels_agree_with_the_reference(marked: str) -> None:
    file = Path(__file__).with_name("interpreted.py")
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", marked, str(file)]
    ran = subprocess.run(command, env={**os.environ, "TRITON_INTERPRET": "1"}, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout


@needs_triton
@pytest.mark.slow
@pytest.mark.parametrize("architecture", [75, 80, 90])
@pytest.mark.parametrize("ahead", [1, 4])
@pytest.mark.parametrize("ones", [(), ("steps", "size", "channels")], ids=["any", "ones"])  # compiled as constants
def test_kernels_compile_for_gpus_and_the_forward_pass_fuses_no_multiply_add(
    architecture: int, ahead: int, ones: tuple[str, ...]
) -> None:
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from snntha.kernels import triton_scan

    flags = {
        triton_scan._forward.fn: {"STRICT": False, "SCALED": True, "SHIFTED": True},
        triton_scan._backward.fn: {"OF_SPIKES": True, "OF_MEMBRANE": True},
    }
    for kernel, own in flags.items():
        sizes = dict.fromkeys(set(ones) & set(kernel.arg_names), 1)
        constants = {**own, **sizes, "DROPS": True, "BLOCK": 128, "AHEAD": ahead}
        kinds = {"TM": "*fp32", "SC": "*fp32", "beta": "fp32", "threshold": "fp32", "centre": "fp32", "slope": "fp32"}
        kinds |= {"scale": "fp32", "limit": "i64"} | dict.fromkeys(constants, "constexpr")
        names = {name: name if name in kinds else name.rpartition("_")[2] for name in kernel.arg_names}
        source = ASTSource(kernel, {name: kinds.get(kind, "i32") for name, kind in names.items()}, constants)
        target = GPUTarget("cuda", architecture, 32)
        compiled = triton.compile(
            source, target=target, options={"num_warps": 4, "enable_fp_fusion": "STRICT" not in own}
        )
        assert compiled.asm["cubin"]
        assert "STRICT" not in own or "fma.rn.f32" not in compiled.asm["ptx"]


def test_what_runs_on_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert choose("auto", CPU, "float32") == "numba"
    assert choose("reference", CPU, "bf16") == "reference"
    with pytest.raises(UserError, match="backend=triton needs a GPU"):
        choose("triton", CPU, "float32")
    with pytest.raises(UserError, match="backend=numba runs on the CPU, and the device is cuda"):
        choose("numba", CUDA, "float32")
    with pytest.raises(UserError, match="precision=bf16 is for GPUs"):
        choose("auto", CPU, "bf16")


def test_without_triton_auto_is_the_reference_and_a_wish_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    assert choose("auto", CUDA, "bf16") == "reference"
    with pytest.raises(UserError, match="backend=triton needs Triton, which PyTorch brings"):
        choose("triton", CUDA, "float32")
