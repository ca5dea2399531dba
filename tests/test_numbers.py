"""Numbers at their limits: gradients against finite differences, extreme values, short runs, the same bits."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from snntha import layers
from snntha import run as runs
from snntha.config import compose, from_yaml
from snntha.errors import UserError
from snntha.folder import RunFolder
from snntha.kernels import reference
from snntha.kernels.backend import run_layers
from snntha.kernels.spec import BatchNorm, Dropout, Layer, Static
from snntha.loss import membrane_loss, spike_count_loss

TINY = [
    *("debug=smoke", "backend=reference", "dataset.limit=16", "dataset.time_steps=4", "plots=false"),
    *("model.topology=2Conv3-AP2-18Dense10", "epochs=2"),
]


def quiet() -> Console:
    return Console(file=io.StringIO())


@pytest.fixture
def smooth(monkeypatch):
    """The surrogate network: its spike is the antiderivative of the surrogate gradient, its resets are given."""
    calls = []

    def spike(membrane, threshold, strict):
        centre, slope = 1.5, 2.0
        return (membrane - centre) / (1 + slope * (membrane - centre).abs())

    def integrate(membrane, current, spikes, beta, threshold):
        calls.append(None)
        given = torch.arange(current.numel(), dtype=current.dtype).view_as(current)
        return beta * membrane + current - ((given * 7 + len(calls)) % 3 == 0) * threshold

    def affine(norm, mean, var):  # not rounded to float32, as finite differences need it
        scale = norm.scale_C / (var + norm.eps).sqrt()
        return scale, norm.shift_C - mean * scale

    monkeypatch.setattr(reference, "fires", spike)
    monkeypatch.setattr(reference, "integrate", integrate)
    monkeypatch.setattr(reference, "affine", affine)
    return calls


@pytest.mark.parametrize("what", ["counts", "membrane"])
@pytest.mark.parametrize(
    ("topology", "norm", "drop"),
    [
        ("64Dense5Dense10", False, 0.0),
        ("64Dense4Dense3Dense10", False, 0.4),
        ("2Conv5-AP2-8Dense10", False, 0.0),
        ("2Conv5-AP2-8Dense10", True, 0.3),
        ("2Conv3-AP2-2Conv2-8Dense10", True, 0.0),
    ],
)
def test_gradients_of_the_surrogate_network_are_those_of_finite_differences(smooth, topology, norm, drop, what):
    specs = layers.resolve(
        compose(
            ["hparams.batch_norm=false", "hparams.dropout=[]", f"model.topology={topology}", *_thresholds(topology)]
        )
    )
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()

    shapes = [
        (s.neurons, s.inputs) if s.kind == "dense" else (s.output_shape[0], s.input_shape[0], s.kernel, s.kernel)
        for s in specs
    ]
    weights, biases = [random(*shape) for shape in shapes], [random(s.neurons) for s in specs]
    norms = [(random(s.output_shape[0]), random(s.output_shape[0])) for s in specs if norm and s.kind == "conv"]
    image = torch.rand(2, 1, 8, 8, generator=generator, dtype=torch.float64)
    labels, target = torch.tensor([3, 7]), torch.rand(3, 2, 10, generator=generator, dtype=torch.float64)

    def loss(*tensors: torch.Tensor) -> torch.Tensor:
        smooth.clear()
        given = iter(tensors)
        rows = []
        for spec in specs:
            weight, bias = next(given), next(given)
            scale_shift = (next(given), next(given)) if norm and spec.kind == "conv" else None
            zeros = [torch.zeros(spec.output_shape[0], dtype=torch.float64) for _ in range(2)]
            batch_norm = BatchNorm(*scale_shift, *zeros, training=True) if scale_shift else None
            own = spec.neuron(1.2)
            neuron = replace(own, slope=2.0, centre=1.5)
            dropped = Dropout(drop, key=5) if drop and spec.kind == "dense" else None
            rows.append(Layer(spec, weight, bias if spec.kind == "dense" else None, batch_norm, dropped, neuron))
        result = run_layers(Static(image, 3), rows, membrane=True)
        if what == "counts":
            return spike_count_loss(result.spike_count_BN, labels, 3, 0.8, 0.2)
        return membrane_loss(result.membrane_TBN, target)

    tensors, pairs = [], iter(norms)
    for spec, weight, bias in zip(specs, weights, biases, strict=True):
        tensors += [weight, bias, *(next(pairs) if norm and spec.kind == "conv" else ())]
    used = [tensor for tensor, gradient in zip(tensors, _gradients(loss, tensors), strict=True) if gradient is not None]
    assert len(used) >= len(weights)
    assert torch.autograd.gradcheck(loss, tensors, eps=1e-6, atol=1e-7, rtol=1e-5)


def _gradients(loss, tensors):
    return torch.autograd.grad(loss(*tensors), tensors, allow_unused=True)


def _thresholds(topology: str) -> list[str]:
    count = topology.count("Conv") + topology.count("Dense")
    return [f"hparams.threshold.{key}=[{','.join(['1'] * count)}]" for key in ("start", "rise", "rate")]


EXTREME = {
    "batch of one": ["hparams.batch_size=1"],
    "last batch smaller": ["hparams.batch_size=5"],
    "batch larger than the data": ["hparams.batch_size=2147483647"],
    "one step": ["dataset.time_steps=1", "loss.correct_rate=1"],
    "layers that never fire": ["hparams.threshold.start=[1e30,1e30]"],
    "layers that always fire": [
        "hparams.threshold.start=[1e-30,1e-30]",
        "hparams.threshold.rise=[0,0]",
        "hparams.beta=1",
    ],
    "thresholds that rise at once": ["hparams.threshold.rise=[1e30,1e30]", "hparams.threshold.rate=[1,1]"],
    "thresholds that never rise": ["hparams.threshold.rate=[0,0]"],
    "no memory": ["hparams.beta=0"],
    "all memory": ["hparams.beta=1"],
    "steep surrogate": ["hparams.slope=1e30"],
    "flat surrogate": ["hparams.slope=1e-30"],
    "hardly a current": ["hparams.dropout=[0.999]"],
    "norm of single values": ["hparams.batch_norm=true", "hparams.batch_size=1"],
    "tiny rate": ["optimizer.lr=1e-30"],
    "huge rate": ["optimizer.lr=1e30"],
    "tiny clips": ["hparams.grad_clip=1e-30", "hparams.weight_clip=1e-30"],
    "short cosine": ["hparams.cosine_epochs=1e-6"],
    "two samples": ["dataset.limit=2"],
}


@pytest.mark.parametrize("changes", EXTREME.values(), ids=EXTREME)
def test_extreme_values_train_or_fail_in_words_and_record_finite_numbers(tmp_path: Path, changes: list[str]):
    config = compose([*TINY, *changes, f"output_dir={tmp_path / 'run'}"])
    outcome = runs.run(config, console=quiet())
    for entry in outcome.seeds:
        assert "failed" not in entry or "lower optimizer.lr" in entry["failed"]
    for path in (tmp_path / "run").glob("trial_*/metrics.jsonl"):
        for line in path.read_text().splitlines():
            json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} in a record"))


@pytest.mark.parametrize(
    "changes", [["dataset.time_steps=1"], ["loss.correct_rate=0.2"], ["dataset.time_steps=2", "loss.correct_rate=0.4"]]
)
def test_targets_that_do_not_tell_the_right_class_are_refused(changes: list[str]):
    with pytest.raises(UserError, match=r"loss\.correct_rate=.* as often as the others"):
        compose(changes)


def test_the_digits_run_to_the_last_bit(tmp_path: Path):
    """Again, with other threads, interrupted after an epoch, and both, in both orders: one outcome."""
    overrides = ["debug=smoke", "dataset.limit=48", "dataset.time_steps=10", "plots=false"]

    def train(name: str, *epochs_and_threads: tuple[int, int]) -> list:
        folder = tmp_path / name
        for epochs, threads in epochs_and_threads:
            resume = folder if folder.exists() else None
            config = from_yaml(folder / "config.yaml") if resume else compose([*overrides, f"output_dir={folder}"])
            runs.run(replace(config, epochs=epochs, threads=threads), resume, quiet())
        record = RunFolder(folder)
        told = [*record.entries, *record.seed(0).metrics]
        state = torch.load(folder / "trial_0/checkpoints/last.pt", weights_only=True)
        kept = [{key: value for key, value in entry.items() if key != "seconds"} for entry in told]
        return [*kept, {name: tensor.numpy().tobytes() for name, tensor in state["network"].items()}]

    once = train("once", (3, 1))
    assert train("again", (3, 1)) == once
    assert train("threads", (3, 2)) == once
    assert train("resumed", (1, 1), (3, 1)) == once
    assert train("threads, then resumed with one", (1, 2), (3, 1)) == once
    assert train("one, then resumed with threads", (2, 1), (3, 2)) == once
