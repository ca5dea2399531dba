"""How snntha gets onto a machine: PyTorch's build for the CPU where there is no GPU, and an image that can be built."""

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PYTHON = """#!/bin/bash
echo "${PIP_FIND_LINKS:+elsewhere }$*" >>"$CALLS"
case "$*" in
  *--index-url*) exit $INDEX ;;
  *"import torchvision"*) [ "$(grep -c 'import torchvision' "$CALLS")" = 2 ] && exit $FIT || exit 1 ;;
esac
"""
CPU, PLAIN, TAKEN_BACK = "--index-url https://download.pytorch.org/whl/cpu torch torchvision", "--editable", "uninstall"


@pytest.mark.parametrize(
    "gpu, index, fit, steps",
    [
        (True, 0, 0, [PLAIN]),
        (False, 0, 0, [CPU, PLAIN]),
        (False, 1, 0, [CPU, TAKEN_BACK, PLAIN]),
        (False, 0, 1, [CPU, TAKEN_BACK, PLAIN]),
    ],
    ids=["GPU", "fits", "index does not answer", "does not fit"],
)
@pytest.mark.skipif(Path("/dev/nvidia0").exists() or os.uname().sysname != "Linux", reason="on Linux without a GPU")
def test_pytorch_for_the_cpu_is_a_pair_that_fits_or_none(tmp_path, gpu, index, fit, steps):
    """With a Python that only writes down what it is asked for; other places of packages are none of the CPU's."""
    scripts, tools = tmp_path / "scripts", tmp_path / "venv" / "bin"
    scripts.mkdir()
    tools.mkdir(parents=True)
    (scripts / "environment").write_text((CHECKOUT / "scripts" / "environment").read_text())
    (tmp_path / "pyproject.toml").touch()
    for name in ("python", *["nvidia-smi"] * gpu):
        (tools / name).write_text(PYTHON)
        (tools / name).chmod(0o755)
    variables = {"SNNTHA_VENV": f"{tmp_path}/venv", "PYTHON": f"{tools}/python", "CALLS": f"{tmp_path}/calls"}
    variables |= {"INDEX": str(index), "FIT": str(fit), "PIP_FIND_LINKS": "/wheels", "PATH": f"{tools}:/usr/bin:/bin"}
    source = ["bash", "-euo", "pipefail", "-c", ". scripts/environment"]
    subprocess.run(source, cwd=tmp_path, env=variables, check=True)
    asked = (tmp_path / "calls").read_text().splitlines()
    assert [step for line in asked for step in (CPU, TAKEN_BACK, PLAIN) if step in line] == steps
    assert all(line.startswith("elsewhere") != (CPU in line) for line in asked)
    subprocess.run(source, cwd=tmp_path, env=variables, check=True)
    assert len((tmp_path / "calls").read_text().splitlines()) == len(asked) + 2, "installed once"


def test_the_image_copies_what_is_there_and_little_else():
    lines = (CHECKOUT / "Dockerfile").read_text().splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    ignored, *kept = (CHECKOUT / ".dockerignore").read_text().split()
    assert ignored == "**" and "**/__pycache__" in kept
    assert sorted(copied) == sorted(name.removeprefix("!") for name in kept if name.startswith("!"))
    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())
    needed = {*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"], "conf", "pyproject.toml"}
    assert needed <= set(copied)
    files = [path for name in copied for path in (CHECKOUT / name, *(CHECKOUT / name).rglob("*"))]
    assert all((CHECKOUT / name).exists() for name in copied)
    assert sum(path.stat().st_size for path in files if path.is_file() and path.suffix != ".pyc") < 2e6
    (entry,) = re.findall(r'^ENTRYPOINT \["(\w+)"\]$', "\n".join(lines), re.M)
    assert entry in project["project"]["scripts"]
    for extra in re.findall(r"'\.\[(\w+)\]'", "\n".join(lines)):
        assert extra in project["project"]["optional-dependencies"]
