"""The checks of a configuration, and of the overrides that change it, that need no data; nothing here changes it."""

import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from operator import attrgetter
from typing import Any

from snntha.choices import CHOICES, OPEN
from snntha.config.files import REPLACED, check_switch
from snntha.config.opened import is_open, open_numbers
from snntha.config.schema import Config, Dataset
from snntha.errors import ConfigError, counted, expected
from snntha.topology import parse

_IMAGES = ("digits", "mnist", "fashion_mnist")

Rule = tuple[Callable[[Any], bool], str]  # of one number: the test, and what it allows in words
AT_LEAST_0: Rule = (lambda value: 0 <= value < math.inf, "0 or more")
AT_LEAST_1: Rule = (lambda value: 1 <= value < 2**31, "1 or more, below 2^31")
POSITIVE: Rule = (lambda value: 0 < value < math.inf, "more than 0")
FRACTION: Rule = (lambda value: 0 <= value <= 1, "0 to 1")
BELOW_1: Rule = (lambda value: 0 <= value < 1, "0 to less than 1")

BETAS = 0.001, 0.999  # of those that are drawn or learned: time constants of a seventh of a step to a thousand steps
LONGEST = 2**6 - 1  # steps of a delay, which is deployed in at most 6 bits

# Keys by the rule of their number; null passes where the type allows it; of a list, every entry must pass.
_KEYS: tuple[tuple[Rule, str], ...] = (
    ((lambda value: 0 <= value < 2**40, "0 to 2^40"), "seed"),
    ((lambda value: 0 < value <= 100, "percent, more than 0 to 100"), "target_train_accuracy"),
    ((lambda value: 1 <= value <= 1024, "1 to 1024"), "threads"),
    (AT_LEAST_1, "trials epochs patience hparams.batch_size"),
    (AT_LEAST_1, "dataset.time_steps dataset.test_time_steps dataset.limit dataset.target_step"),
    (AT_LEAST_1, "search.n_trials search.epochs search.limit search.seeds search.workers"),
    (AT_LEAST_1, "search.failure_window search.max_deaths"),
    (
        (lambda value: value >= 0.001 and abs(value * 1000 % 1 - 0.5) > 0.499, "0.001 or more, in whole microseconds"),
        "dataset.bin_ms",
    ),
    (POSITIVE, "dataset.target_peak optimizer.lr hparams.slope hparams.grad_clip hparams.weight_clip"),
    (POSITIVE, "hparams.cosine_epochs hparams.threshold.start search.heartbeat_s search.stale_s"),
    (AT_LEAST_0, "hparams.threshold.rise"),
    ((lambda value: 0 <= value <= 2, "0 to 2"), "hparams.beta_spread"),
    ((lambda value: 0 <= value <= LONGEST, f"whole steps, 0 to {LONGEST}"), "hparams.delays"),
    (BELOW_1, "dataset.validation_fraction optimizer.momentum optimizer.betas hparams.dropout"),
    (BELOW_1, "search.max_failure_share"),
    (FRACTION, "loss.correct_rate loss.incorrect_rate hparams.beta hparams.threshold.rate hparams.recurrent_gradient"),
)
RULES = {key: rule for rule, keys in _KEYS for key in keys.split()}

PATHS = ("output_dir", "resume", "dataset.root", "dataset.cache", "search.dir")
TEXTS = (
    *(*PATHS, "search.study_name", "search.storage", "model.topology", "hparams.name"),
    *("dataset.title", "dataset.class_", "dataset._target_"),
)  # any text, not one of a few
CHANGEABLE = (
    *("epochs", "patience", "trials", "threads", "device", "backend"),
    *("dataset.root", "dataset.cache", "dataset._target_"),
)
EVENTS = ("dvs_gesture", "shd", "nmnist", "ssc")
_READ_BY = {  # keys that some data sets alone read
    "dataset.bin_ms": (*EVENTS, *OPEN),
    "dataset.window": EVENTS,
    **dict.fromkeys(("dataset.kind", "dataset.resize", "dataset.sensor", "dataset.unit_us"), OPEN),
    "dataset.class_": ("torchvision", "tonic"),
    "dataset._target_": ("own",),
    "dataset.arguments": ("torchvision", "tonic", "own"),
    "dataset.target_peak": ("temporal_coding",),
    "dataset.target_step": ("temporal_coding",),
}


def _key(override: str) -> str:
    """`hparams.beta` of `hparams.beta=0.9`, `+hparams.beta=0.9` and `~hparams.beta`."""
    return override.partition("=")[0].lstrip("+~")


def check_names(overrides: Iterable[str]) -> None:
    """Before composing: refuse keys of earlier versions, texts without text, and switches that are numbers."""
    for text in overrides:
        if not _key(text):
            raise ConfigError(f"{text}: expected key=value, such as dataset=shd")
        if _key(text) in TEXTS and not text.partition("=")[2]:
            raise ConfigError(f"{text} is empty, perhaps by an unset variable: give it a value, or leave it out")
        check_switch(_key(text), text.partition("=")[2])
        if (now := REPLACED.get(_key(text))) is not None:
            raise ConfigError(f"{text}: this key is {now} now: pass {now}={text.partition('=')[2]}")


def check_effect(overrides: Iterable[str], dataset: str) -> None:
    """Refuse what would be accepted and do nothing with this data set."""
    for text in overrides:
        readers = _READ_BY.get(_key(text), (dataset,))
        if dataset not in readers:
            raise ConfigError(f"{text} has no effect: only dataset={' | '.join(readers)} reads it; leave it out")
        if _key(text) == "fidelity.name":
            raise ConfigError(f"{text} is the name of what conf/fidelity sets: choose one with fidelity=...")


def check_targets(config: Config) -> None:
    """Refuse targets by which the right class spikes no more than the others: zero for all trains towards silence."""
    steps, loss = config.dataset.time_steps, config.loss
    right, wrong = int(loss.correct_rate * steps), int(loss.incorrect_rate * steps)
    if config.dataset.name != "temporal_coding" and right <= wrong:
        raise ConfigError(
            f"loss.correct_rate={loss.correct_rate} in dataset.time_steps={steps}: the right class shall spike {right} "
            f"times, as often as the others or less ({wrong}): raise one of the two"
        )


def check_resumed(overrides: Iterable[str]) -> None:
    """Only what an interrupted run may change when it goes on."""
    for text in overrides:
        if (key := _key(text)) not in CHANGEABLE:
            raise ConfigError(
                f"{text}: a resumed run keeps its configuration and may change only {', '.join(CHANGEABLE)}; "
                f"leave {key} out, or start a new run without resume"
            )


def validate(config: Config) -> None:
    """Refuse what cannot run; raises ConfigError with the first thing that is wrong."""
    checks = (_choices, _match, _layers, _numbers, _combinations, _search)  # each yields what is wrong
    for problem in chain.from_iterable(check(config) for check in checks):
        raise ConfigError(problem)


def _choices(config: Config) -> Iterator[str]:
    for key, allowed in CHOICES.items():
        value = attrgetter(key)(config)
        if value not in allowed:
            yield f"{key}={value}: {expected(value, allowed)}"


def _match(config: Config) -> Iterator[str]:
    """Hyperparameters are for one data set and mode, and a mode is what its name says."""
    hparams, dataset, mode = config.hparams, config.dataset.name, config.mode.name
    if (hparams.dataset, hparams.mode) != (dataset, mode):
        yield (
            f"hparams={hparams.name} is for dataset={hparams.dataset} mode={hparams.mode}, "
            f"but this run has dataset={dataset} mode={mode}: "
            f"pass dataset={hparams.dataset} mode={hparams.mode}, or hparams={dataset}_{mode}"
        )
    for key, of_mode in (("binarize", mode != "flt32"), ("anneal", mode == "annealed")):
        if (value := getattr(config.mode, key)) is not of_mode:
            yield f"mode.{key}={str(value).lower()}: this is not mode={mode}; choose another mode instead"


def is_images(dataset: Dataset) -> bool:
    """Whether a sample is a picture, the same at every step; else it is events."""
    return dataset.kind == "images" or dataset.name in _IMAGES


def _layers(config: Config) -> Iterator[str]:
    """Lists have one entry per layer, and the last layer one neuron per class."""
    if is_open(config):
        return
    hparams, topology = config.hparams, config.model.topology
    layers = parse(topology, tuple(config.dataset.input_shape))
    dense = sum(layer.kind == "dense" for layer in layers)
    spiking = dict.fromkeys(("threshold.start", "threshold.rise", "threshold.rate"), (len(layers), "spiking"))
    for key, (number, kind) in {"dropout": (dense, "dense"), "delays": (dense, "dense"), **spiking}.items():
        values = attrgetter(key)(hparams)
        if len(values) != number:
            yield (
                f"hparams.{key}={values} has {counted(len(values), 'entry', 'entries')}, but model.topology={topology} "
                f"has {counted(number, f'{kind} layer', f'{kind} layers')}: pass one entry per {kind} layer"
            )
    if layers[-1].neurons != config.dataset.classes:
        yield (
            f"model.topology={topology} ends with {counted(layers[-1].neurons, 'neuron', 'neurons')}, "
            f"but dataset={config.dataset.name} needs {config.dataset.classes}"
        )
    sees_images = is_images(config.dataset)
    if layers[0].recurrent and sees_images:
        yield (
            f"model.topology={topology}: a first layer that sees an image of dataset={config.dataset.name} is not "
            f"recurrent: leave its R out, or let another layer be recurrent"
        )
    if dense == len(layers) and hparams.delays[0] > 0 and sees_images:
        yield (
            f"hparams.delays={hparams.delays}: an image of dataset={config.dataset.name} is the same at every step, so "
            f"a delay of the first layer moves nothing: pass 0 as the first entry"
        )
    if hparams.batch_norm and dense == len(layers):
        yield f"hparams.batch_norm=true needs a convolution, but model.topology={topology} has none: pass false"


def _numbers(config: Config) -> Iterator[str]:
    left = open_numbers(config)
    for key, (passes, allowed) in RULES.items():
        if (config.search is None and key.startswith("search.")) or key in left:
            continue
        value = attrgetter(key)(config)
        entries = value if isinstance(value, list) else [value]
        if not all(entry is None or passes(entry) for entry in entries):
            yield f"{key}={json.dumps(value)}: expected {allowed}{' in every entry' * isinstance(value, list)}"


def _combinations(config: Config) -> Iterator[str]:
    """Values that are right in themselves and wrong beside another one."""
    dataset, mode, optimizer, threshold = config.dataset, config.mode, config.optimizer, config.hparams.threshold
    if not mode.anneal and any(threshold.rise):
        zeros = json.dumps([0.0] * len(threshold.rise), separators=(",", ":"))
        yield (
            f"hparams.threshold.rise={threshold.rise}: mode={mode.name} keeps the threshold fixed: "
            f"pass mode=annealed or hparams.threshold.rise={zeros}"
        )
    if mode.name == "bsnn_theta1" and any(start != 1 for start in threshold.start):
        yield f"hparams.threshold.start={threshold.start}: mode=bsnn_theta1 fixes it at 1: pass mode=bsnn"
    hparams = config.hparams
    if hparams.beta_scope == "network" and hparams.beta_spread > 0:
        yield (
            f"hparams.beta_spread={hparams.beta_spread}: one beta of the network has no spread: pass "
            f"hparams.beta_scope=layer or neuron"
        )
    has_latent = hparams.beta_scope != "network" or hparams.beta_trainable
    if has_latent and not BETAS[0] <= hparams.beta <= BETAS[1]:
        yield (
            f"hparams.beta={hparams.beta}: with hparams.beta_scope={hparams.beta_scope} "
            f"hparams.beta_trainable={str(hparams.beta_trainable).lower()} it begins at {BETAS[0]} to {BETAS[1]}"
        )
    if optimizer.name == "adam" and optimizer.momentum > 0:
        yield f"optimizer.momentum={optimizer.momentum} belongs to sgd: pass optimizer=sgd or optimizer.momentum=0"
    if optimizer.name == "adam" and len(optimizer.betas) != 2:
        yield f"optimizer.betas={optimizer.betas}: adam needs two, such as optimizer.betas=[0.9,0.999]"
    if dataset.name in EVENTS and dataset.bin_ms is None:
        yield "dataset.bin_ms=null: event data need the milliseconds of a time step, such as dataset.bin_ms=3"
    for key in TEXTS:
        if not key.startswith("search.") and attrgetter(key)(config) == "":
            yield f"{key} is empty: give it a value"
    if dataset.name != "temporal_coding" and config.selection == "validation" and dataset.validation_fraction == 0:
        yield (
            "dataset.validation_fraction=0 leaves nothing to select the model on: "
            "pass dataset.validation_fraction=0.1 or selection=test"
        )


def _search(config: Config) -> Iterator[str]:
    search = config.search
    if search is None:
        return
    if config.selection == "test":
        yield "selection=test: a search would choose hyperparameters by the test set; pass selection=validation"
    if search.stale_s <= search.heartbeat_s:
        yield (
            f"search.stale_s={search.stale_s}: a worker that gives a sign of life every search.heartbeat_s="
            f"{search.heartbeat_s} seconds would count as dead; pass several times that"
        )
    if not re.fullmatch(r"[^/\\?\x00-\x1f]*[^/\\?\x00-\x1f.][^/\\?\x00-\x1f]*", search.study_name):
        yield f"search.study_name={search.study_name!r} names a folder below search.dir={search.dir}: without / \\ or ?"
    # What a trial costs, which the study's record and the pruner go by.
    if config.trials != search.seeds:
        yield f"trials={config.trials}: in a search, set search.seeds instead"
    if config.dataset.limit != search.limit:
        yield f"dataset.limit={config.dataset.limit}: in a search, set search.limit instead"
    if search.pruner not in search.pruners:
        yield f"search.pruner={search.pruner}: {expected(search.pruner, search.pruners)}"
    for name, dimension in search.space.items():
        key, low, high = f"search.space.{name}", dimension.low, dimension.high
        if dimension.each not in (None, "layer", "dense"):
            yield f"{key}.each={dimension.each}: expected null | layer | dense"
        if dimension.when not in (None, "convolution", "sgd"):
            yield f"{key}.when={dimension.when}: expected null | convolution | sgd"
        if dimension.choices:
            continue
        if low is None or high is None:
            yield f"{key}: give low and high, or choices"
        elif low > high or (dimension.log and low <= 0):
            above = ", and above 0 for log" if dimension.log else ""
            yield f"{key}: low={low} must not be above high={high}{above}"
