"""`snntha verify`: golden inputs replayed through every way of running an exported network, against training."""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from rich import print as show
from rich.table import Column, Table

from snntha.errors import NotInstalled, UserError
from snntha.export import golden
from snntha.export.command import open_test_set
from snntha.export.freeze import load_network
from snntha.export.ways import Simulator, Way, ways
from snntha.runtime import packed
from snntha.runtime.network import Images, Spikes

AT_ONCE = 50  # samples


@dataclass
class Found:
    """What a way did with samples: spike by spike, and by class."""

    differing: int = 0
    spikes: int = 0  # that could differ: neurons x steps x samples
    first: tuple[int, int, int, int] | None = None  # layer, step (both from 1), neuron, sample (from 0)
    classes: int = 0  # samples whose class differs
    correct: int = 0
    samples: int = 0

    def __add__(self, later: "Found") -> "Found":
        """Of these samples and of those that come after them."""
        sums = {name: value + getattr(later, name) for name, value in vars(self).items() if name != "first"}
        first = self.first
        if first is None and later.first is not None:
            first = *later.first[:3], self.samples + later.first[3]
        return Found(first=first, **sums)


def run_command(
    model: Path,
    folder: Path,
    samples: int,
    chosen: list[str],
    simulators: Path | None,
    checkpoint: str,
    trial: int,
    root: str | None,
    own_class: str | None,
) -> None:
    """Print for each way the share of spikes that differ, where first, the classes that do, and the accuracy.

    Raises:
        UserError: a way that must be exact differs, so that the exit status is 1; or a file is missing or damaged.
    """
    network = packed.read(model)
    recorded = golden.read(golden.path_beside(model), network)
    trained, thresholds = load_network(folder, trial, checkpoint)
    try:
        split = open_test_set(folder, root, own_class)
    except UserError as error:
        print(f"golden inputs alone: {error}")
        split = None

    def training(inputs: Images | Spikes) -> list[np.ndarray]:
        return golden.spikes_of(trained, thresholds, golden.to_torch(inputs))

    with TemporaryDirectory() as temporary:
        every = [way for way in ways(network, model, Path(temporary), simulators) if _is_chosen(way, chosen)]
        if not every:
            raise UserError(f"ways={','.join(chosen)}: no way has such a name; leave it out to see them all")
        every.insert(0, Way("training", training, allowed=0))
        on_golden = _replay(every, recorded.inputs, recorded.labels_B, lambda _: recorded.spikes)
        on_test = dict.fromkeys(on_golden, Found())
        if split is not None:
            for positions in golden.spread(split, samples).split(AT_ONCE):
                batch = split.batch(positions)
                assert batch.labels_B is not None
                inputs = golden.to_numpy(batch, network.encoding)
                results = _replay(list(on_golden), inputs, batch.labels_B.numpy(), training)
                on_test = {way: found + results[way] for way, found in on_test.items()}
    rows = {way: (on_golden[way] + test, test if test.samples else on_golden[way]) for way, test in on_test.items()}
    show(_table(rows, recorded.inputs.batch, next(iter(on_test.values())).samples))
    if bad := [way.name for way, (every, _) in rows.items() if every.differing > way.allowed * every.spikes]:
        raise UserError(f"{'; '.join(bad)}: spikes differ that must be equal")


def _is_chosen(way: Way, chosen: list[str]) -> bool:
    return not chosen or any(word.lower() in way.name.lower() for word in chosen)


def _replay(every: list[Way], inputs: Images | Spikes, labels_B: np.ndarray, reference: Simulator) -> dict[Way, Found]:
    """What each way that is installed does with a batch, against what it must agree with."""
    done: dict[Simulator, list[np.ndarray]] = {}

    def spikes_of(run: Simulator) -> list[np.ndarray]:
        if run not in done:
            done[run] = run(inputs)
        return done[run]

    found = {}
    for way in every:
        try:
            own = spikes_of(way.run)
        except NotInstalled as error:
            print(f"{way.name} left out: {error}")
            continue
        found[way] = compare(spikes_of(way.like or reference), own, labels_B)
    return found


def compare(wanted: list[np.ndarray], own: list[np.ndarray], labels_B: np.ndarray) -> Found:
    """Spikes_TBN of each layer against others; the first that differs is the earliest step of the earliest layer."""
    first, differing = None, 0
    for number, (one, other) in enumerate(zip(wanted, own, strict=True)):
        differ_TBN = one != other
        differing += int(differ_TBN.sum())
        if first is None and differ_TBN.any():
            step, sample, neuron = map(int, np.unravel_index(differ_TBN.argmax(), differ_TBN.shape))
            first = number + 1, step + 1, neuron, sample
    wanted_B, own_B = (spikes[-1].sum(0).argmax(1) for spikes in (wanted, own))
    spikes, classes = sum(layer_TBN.size for layer_TBN in wanted), int((wanted_B != own_B).sum())
    return Found(differing, spikes, first, classes, int((own_B == labels_B).sum()), len(labels_B))


def _table(rows: dict[Way, tuple[Found, Found]], golden_inputs: int, samples: int) -> Table:
    """A row a way: what it did with all samples, and with those whose accuracy is told."""
    table = Table(
        *("", "file", Column("differ", justify="right"), "first"),
        *(Column(name, justify="right") for name in ("classes", "% right")),
        box=None,  # so that a row fits into 80 columns
        pad_edge=False,
        collapse_padding=True,
        title=f"spikes of {golden_inputs} golden inputs and {samples} test samples",
        caption=(
            "C differs from its integers, all others from training's evaluation; first: layer, step, neuron (sample, "
            "golden ones first); classes: samples that have another one; right: of the test samples, if there are any"
        ),
    )
    for way, (every, asked) in rows.items():
        first = "-" if every.first is None else "{}, {}, {} ({})".format(*every.first)
        share = f"{every.differing / every.spikes:.4%}" if every.differing else "0"
        accuracy = f"{100 * asked.correct / asked.samples:.2f}"
        table.add_row(way.name, way.file, share, first, f"{every.classes}", accuracy)
    return table
