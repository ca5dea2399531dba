"""`snntha bench`: well-formed results, no ratio without parity, memory that is measured and not guessed."""

import json
import statistics
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from snntha import arguments, cli, topology
from snntha.bench import breakdown, command, floor, memory, parity, result, steps, sweeps, timing
from snntha.bench.cases import Case, dense, events_of
from snntha.bench.floor import Activity, Peaks
from snntha.bench.parity import ParityError
from snntha.bench.steps import OurStep, train_for
from snntha.errors import UserError
from snntha.kernels import reference
from snntha.kernels.spec import Events, Static
from snntha.snntorch_loop import SnnTorchLoop

SHD = (
    "model.topology=30Dense40Dense20",
    "dataset.input_shape=[30]",
    "dataset.time_steps=5",
    "hparams.batch_size=4",
    "hparams.threshold.start=[3.0,2.5]",
)
CONV = (
    "model.topology=6Conv3-AP2-5Conv2-AP2-20Dense{classes}",
    "dataset.time_steps=5",
    "hparams.batch_size=4",
    "hparams.threshold.start=[0.6,0.8,0.6]",
)
PEAKS = Peaks(flops=1e11, bytes=1e10)


def tiny(dataset: str, backend: str = "reference") -> Case:
    if dataset == "shd":
        return Case(dataset, backend=backend, density=0.3, overrides=SHD)
    classes, channels = (11, 2) if dataset == "dvs_gesture" else (10, 1)
    shape = f"dataset.input_shape=[{channels},14,14]"
    return Case(dataset, backend=backend, overrides=(CONV[0].format(classes=classes), *CONV[1:], shape))


@pytest.mark.parametrize("dataset", ["shd", "dvs_gesture", "mnist"])
def test_every_kind_of_network_is_measured(dataset: str, monkeypatch) -> None:
    monkeypatch.setattr(memory, "step_bytes", lambda workload, which, threads: {"ours": 10, "loop": 80}[which])
    measured = result.measure(train_for(tiny(dataset), 2), 3, None, PEAKS, log=lambda message: None)
    plain = json.loads(json.dumps(measured.plain()))
    assert len(plain["ours"]["rounds"]) == len(plain["loop"]["rounds"]) == 3
    assert plain["ratio"] == statistics.median(plain["loop"]["rounds"]) / statistics.median(plain["ours"]["rounds"])
    assert plain["ratio_min"] <= plain["ratio_max"]
    assert plain["peak_bytes"] == {"ours": 10, "loop": 80, "ratio": 8.0}
    assert plain["ours"]["epoch"] == plain["ours"]["median"] * measured.workload.steps_per_epoch
    assert all(seconds >= 0 for seconds in measured.floor_parts.values()) and measured.floor > 0
    assert set(measured.floor_parts) <= set(measured.parts)
    assert [len(table.rows) for table in result.tables([measured], PEAKS)] == [1, 1, 2]


@pytest.mark.parametrize("dataset", ["shd", "dvs_gesture", "mnist"])
@pytest.mark.parametrize("backend", ["reference", "numba"])
def test_parity_holds(dataset: str, backend: str) -> None:
    for minibatches in (0, 3):
        parity.measure(train_for(tiny(dataset, backend), minibatches)).check()


def test_a_trained_case_is_the_network_after_its_minibatches() -> None:
    case = tiny("shd")
    before, after = train_for(case, 0), train_for(case, 3)
    assert before.thresholds == case.config.hparams.threshold.start
    assert all(later > start for later, start in zip(after.thresholds, before.thresholds, strict=True))
    assert not torch.equal(before.weights["synapses.0.weight"], after.weights["synapses.0.weight"])
    step = OurStep(after)
    assert torch.equal(step.network.synapses[0].weight, after.weights["synapses.0.weight"])
    loop = steps.LoopStep(after).loop
    assert [neuron.threshold.item() for neuron in loop.neurons] == pytest.approx(after.thresholds)


def test_a_minibatch_can_be_learned() -> None:
    """Samples of one class are more alike than those of two."""
    for dataset in ("shd", "mnist"):
        batch = Case(dataset).batch()
        flat_BN = dense(batch.inputs).sum(0).flatten(1)
        alike_BB = torch.corrcoef(flat_BN)
        same_BB = batch.labels_B[:, None] == batch.labels_B
        same_BB.fill_diagonal_(False)
        assert alike_BB[same_BB].mean() > alike_BB[batch.labels_B[:, None] != batch.labels_B].mean() + 0.1


def test_no_ratio_without_parity_of_the_loss(monkeypatch) -> None:
    right = SnnTorchLoop.loss
    monkeypatch.setattr(SnnTorchLoop, "loss", lambda self, *arguments: 1.01 * right(self, *arguments))
    with pytest.raises(ParityError, match="loss: .* no speed-up is printed"):
        timing.compare(train_for(tiny("shd"), 0), repeats=1)


def test_no_ratio_without_parity_of_spikes_or_gradients() -> None:
    good = parity.measure(train_for(tiny("shd"), 0))
    assert good.rounding is None
    for wrong in ({"spike_counts": 1e-6}, {"gradient": float("nan")}):
        with pytest.raises(ParityError):
            replace(good, difference=replace(good.difference, **wrong)).check()


def test_what_rounding_does_to_the_loop_is_allowed_for() -> None:
    measured = parity.measure(train_for(tiny("mnist"), 0))
    assert measured.rounding is not None
    moved = replace(measured.rounding, gradient=0.1)
    parity.Parity(replace(measured.difference, gradient=0.2), moved).check()
    with pytest.raises(ParityError, match="gradient"):
        parity.Parity(replace(measured.difference, gradient=0.5), moved).check()


def test_memory_of_a_known_allocation() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not tell peak memory")
    code = "from snntha.bench.memory import peak_bytes; print(peak_bytes(lambda: bytearray(b'1') * 200_000_000))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(told) == pytest.approx(200e6, rel=0.02)


def test_memory_of_a_step_in_a_process_of_its_own() -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the system does not tell peak memory")
    case = replace(tiny("shd"), overrides=(*SHD, "model.topology=30Dense100000Dense20", "hparams.batch_size=1"))
    told = memory.step_bytes(train_for(case, 0), "loop", threads=1)
    parameters = 100_000 * 51 + 20
    assert told is not None and told > 4 * 4 * parameters  # values, gradients and Adam's two moments


def test_unknown_memory_is_null(monkeypatch) -> None:
    def refuse(*_arguments):
        raise OSError

    monkeypatch.setattr(memory, "_resident", refuse)
    assert memory.peak_bytes(lambda: None) is None


@pytest.mark.parametrize(("dataset", "density"), [("shd", 0.034), ("dvs_gesture", 0.02)])
def test_events_are_as_dense_as_the_data(dataset: str, density: float) -> None:
    inputs = Case(dataset).batch().inputs
    assert isinstance(inputs, Events)
    assert (reference.dense(inputs) > 0).float().mean().item() == pytest.approx(density, rel=0.1)


def test_images_are_as_black_as_the_data() -> None:
    inputs = Case("mnist").batch().inputs
    assert isinstance(inputs, Static)
    assert (inputs.image_BX == 0).float().mean().item() == pytest.approx(0.81, abs=0.01)
    assert dense(inputs).shape == (100, 128, 1, 28, 28)


def test_events_of_counts_and_back() -> None:
    counts_TBX = torch.randint(3, (4, 2, 3, 5, 6), generator=torch.Generator().manual_seed(0)).float()
    assert torch.equal(reference.dense(events_of(counts_TBX)), counts_TBX)


def test_floor_counts_every_addition_of_a_convolution() -> None:
    """Events on all inputs are the dense product; one event reaches what a convolution of ones says."""
    shape, _ = topology.parse("3Conv3-AP2-108Dense2", (2, 14, 14))
    everywhere = Activity(torch.ones(shape.input_shape, dtype=torch.int64), steps=1, batch=1)
    assert floor.synapse_additions(shape, everywhere) == floor.dense_products(shape) == 108 * 2 * 4 * 4
    assert floor.gradient_products(shape) == 108 * 2 * 3 * 3
    corner = torch.zeros(shape.input_shape)
    corner[0, 0, 0] = 1
    assert floor.synapse_additions(shape, Activity(corner, 1, 1)) == 3


def test_parts_add_up_to_the_step(monkeypatch) -> None:
    monkeypatch.setattr(breakdown, "median_seconds", lambda action, repeats: 1.0)
    step = OurStep(train_for(tiny("dvs_gesture"), 0))
    assert sum(breakdown.part_seconds(step, repeats=1).values()) == pytest.approx(1.0)


def test_sweep_is_drawn(tmp_path: Path) -> None:
    axes = {"time steps": (2.0, 3.0), "batch size": (2.0, 64.0), "input density": (0.1, 0.2)}
    points = sweeps.sweep(tiny("shd"), 1, log=lambda message: None, axes=axes)
    assert [point.loop is None for point in points] == [False, False, False, True, False, False]
    assert len(sweeps.table(points).rows) == 6
    assert sweeps.draw(points, tmp_path / "sweeps.png").stat().st_size > 0
    widest = sweeps.sweep_case(Case("shd"), "hidden neurons", 500.0)
    assert widest.config.model.topology == "700Dense500Dense20"


def test_command_prints_json(monkeypatch, capsys) -> None:
    monkeypatch.setattr("snntha.bench.command.measure_peaks", lambda: PEAKS)
    monkeypatch.setattr("snntha.bench.command.Case", lambda name, mode, backend: tiny(name, backend))
    monkeypatch.setattr("snntha.bench.steps.TRAINED_AFTER", {"shd": 2})
    monkeypatch.setattr(memory, "step_bytes", lambda workload, which, threads: None)
    arguments = ["bench", "case=shd", "backend=reference", "repeats=1", "--json"]
    monkeypatch.setattr(sys, "argv", ["snntha", *arguments])
    assert cli.main() == 0
    printed = json.loads(capsys.readouterr().out)
    assert [case["case"] for case in printed["cases"]] == ["shd trained", "shd untrained"]
    assert printed["cases"][0]["peak_bytes"] == {"ours": None, "loop": None, "ratio": None}
    assert {"processor", "processors", "threads"} <= set(printed["environment"]["machine"])


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("case=shdd", "case=shdd: expected mnist | fashion_mnist | dvs_gesture | shd; did you mean 'shd'?"),
        ("mode=best", "mode=best: expected"),
        ("repeats=0", "repeats=0: expected a whole number, 1 or more"),
        ("threads=two", "threads=two: expected a whole number"),
        ("picture=a.png", "pass sweeps=true"),
        ("repeat=3", "unknown argument 'repeat=3'; did you mean 'repeats'?"),
    ],
)
def test_mistakes_are_named(argument: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        command.run_command(**arguments.parse("bench", [argument]))
    assert message in str(error.value)
