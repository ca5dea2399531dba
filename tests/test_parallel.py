"""Two processes train one run, as torchrun starts them, through gloo on the CPU."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from snntha import parallel
from snntha import run as runs
from snntha.config import compose
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.parallel import WHOLE, Share
from snntha.records import SeedRecord

SMALL = (
    "debug=smoke",
    "backend=reference",
    "dataset.limit=46",
    "model.topology=4Conv3-AP2-36Dense10",
    "dataset.time_steps=6",
    "hparams.batch_norm=true",
    "hparams.dropout=[0.2]",
)


def train(*arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "-m", "snntha"]
    return subprocess.Popen(
        [*command, "train", *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


# The same without torchrun and the command, whose start takes longer than such a run: two forks of one process.
PAIR = """
import os, sys
from snntha import parallel, run
from snntha.config import compose

os.environ |= {"TORCHELASTIC_RUN_ID": "test", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": sys.argv[1]}
child = os.fork()
os.environ["RANK"] = "1" if child else "0"
with parallel.together():
    run.run(compose(sys.argv[2:]))
sys.exit(os.waitpid(child, 0)[1] if child else 0)
"""


def train_pair(*arguments: str) -> subprocess.Popen:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        command = [sys.executable, "-c", PAIR, str(free.getsockname()[1]), *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen) -> str:
    with process:
        output, _ = process.communicate(timeout=300)
    return output


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return SeedRecord(folder / "trial_0").read_checkpoint("last")["network"]


def assert_same_run(ours: Path, theirs: Path) -> None:
    """Equal thresholds; losses, rates and weights within rounding."""
    for left, right in zip(RunFolder(ours).seed(0).metrics, RunFolder(theirs).seed(0).metrics, strict=True):
        assert left["thresholds"] == right["thresholds"] and left["iteration"] == right["iteration"]
        assert left["train_accuracy"] == right["train_accuracy"]
        for key in ("train_loss", "validation_loss", "firing_rate", "dead_fraction"):
            assert left[key] == pytest.approx(right[key], rel=1e-4), key
    for name, tensor in weights(theirs).items():
        torch.testing.assert_close(weights(ours)[name], tensor, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.slow
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    """With BatchNorm, dropout, and a last minibatch of one sample, which both take."""
    pair = train_pair(*SMALL, "epochs=2", "hparams.batch_size=9", f"output_dir={tmp_path / 'two'}")
    runs.run(compose([*SMALL, "epochs=2", "hparams.batch_size=9", f"output_dir={tmp_path / 'one'}"]))
    output = finish(pair)
    assert pair.returncode == 0, output
    assert "2 processes" in output
    assert_same_run(tmp_path / "two", tmp_path / "one")
    assert RunFolder(tmp_path / "two").environment["machine"]["processes"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("more", [["backend=numba"], ["batch_statistics=own"]], ids=" ".join)
def test_two_processes_with_other_keys(more: list[str], tmp_path: Path) -> None:
    together = train(*SMALL, "epochs=2", f"output_dir={tmp_path / 'two'}", *more)
    runs.run(compose([*SMALL, "epochs=2", f"output_dir={tmp_path / 'one'}", *more]))
    output = finish(together)
    assert together.returncode == 0, output
    if more == ["batch_statistics=own"]:  # other statistics, so another network; but one, and the same thresholds
        (*_, ours), (*_, theirs) = (RunFolder(tmp_path / name).seed(0).metrics for name in ("two", "one"))
        assert ours["thresholds"] == theirs["thresholds"] and ours["train_loss"] != theirs["train_loss"]
        assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.3)
    else:
        assert_same_run(tmp_path / "two", tmp_path / "one")
        assert output.count("\nseed 0\n") == 1


def processes_of(torchrun: int) -> list[int]:
    children = Path(f"/proc/{torchrun}/task/{torchrun}/children").read_text().split()
    return sorted(int(child) for child in children)


def wait_for(path: Path) -> None:
    for _ in range(1200):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"{path} does not appear")


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_killed_process_ends_the_run_and_one_alone_goes_on(killed: int, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = train(*SMALL, "epochs=300", "patience=null", f"output_dir={folder}")
    wait_for(folder / "trial_0" / "checkpoints" / "last.pt")
    os.kill(processes_of(process.pid)[killed], signal.SIGKILL)
    output = finish(process)
    assert process.returncode == 1
    assert "another process of this run has ended; go on, with any number of them: torchrun" in output
    done = len(RunFolder(folder).seed(0).metrics)
    runs.run(compose([*SMALL, f"output_dir={folder}", f"epochs={done + 1}"]), resume=folder)
    assert [line["epoch"] for line in RunFolder(folder).seed(0).metrics] == list(range(1, done + 2))


@pytest.mark.slow
def test_a_stopped_run_ends_with_another_number_of_processes_as_without_a_stop(tmp_path: Path) -> None:
    stopped, whole = tmp_path / "stopped", tmp_path / "whole"
    process = train(*SMALL, "epochs=40", "patience=null", f"output_dir={stopped}")
    wait_for(stopped / "trial_0" / "checkpoints" / "last.pt")
    process.send_signal(signal.SIGTERM)
    output = finish(process)
    assert "stopped; go on with: torchrun --nproc-per-node=2 -m snntha train resume=" in output
    done = SeedRecord(stopped / "trial_0").read_checkpoint("last")["progress"]
    assert 0 < done["epoch"] < 40
    epochs = f"epochs={done['epoch'] + 2}"
    runs.run(compose([*SMALL, f"output_dir={stopped}", epochs, "patience=null"]), resume=stopped)
    runs.run(compose([*SMALL, f"output_dir={whole}", epochs, "patience=null"]))
    ours, theirs = (RunFolder(folder).seed(0).metrics[-1] for folder in (stopped, whole))
    assert ours["thresholds"] == theirs["thresholds"] and ours["iteration"] == theirs["iteration"]
    assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=0.05)


def test_shares_of_a_minibatch(monkeypatch: pytest.MonkeyPatch) -> None:
    positions = torch.arange(10, 17)
    assert parallel.share(positions) == (positions, WHOLE)
    found = []
    for rank in range(3):
        for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "3", "RANK": str(rank)}.items():
            monkeypatch.setenv(name, value)
        own, share = parallel.share(positions)
        found.append((own.tolist(), share))
        assert parallel.share(positions[:2])[1] == Share(weight=1 / 3)
    assert sum((own for own, _ in found), []) == positions.tolist()
    assert [share for _, share in found] == [Share(0, 4, 3 / 7), Share(3, 5, 2 / 7), Share(5, 5, 2 / 7)]


def test_several_runs_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from snntha.cli import train as command

    for name, value in {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    for words in (["-m", "seed=1,2"], ["search=tpe"]):
        with pytest.raises(UserError, match="torchrun trains one run"):
            command(words)
