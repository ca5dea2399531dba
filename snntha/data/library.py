"""Data sets of tonic and torchvision, and of a user's own class: made by their own code, read through `offer`."""

import inspect
import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from snntha.config.schema import Dataset
from snntha.data.files import DataError
from snntha.data.offers import Offer, Samples, digest
from snntha.errors import did_you_mean

_BASE = {"tonic": ("tonic", "Dataset"), "torchvision": ("torchvision.datasets", "VisionDataset")}
_ROOT = {"tonic": "save_to", "torchvision": "root", "own": "root"}
_TEST_SPLIT = ("test", "val", "valid")  # names of what is not trained on, the best first


def look(dataset: Dataset) -> Offer:
    """Both sets of `dataset.class_`, or of the user's `dataset._target_`.

    Raises:
        DataError: no such class, it refuses its arguments, or its files are missing.
    """
    maker = _own_class(dataset) if dataset.name == "own" else _library_class(dataset)
    parts = _parts(maker, dataset)
    sets = [_make(maker, part, dataset) for part in parts]
    train = sets[0]
    names = getattr(train, "classes", None)
    names = () if names is None else tuple(_text(name) for name in names)
    sensor = getattr(train, "sensor_size", None)
    location = getattr(train, "location_on_system", None)
    state = digest(Path(location)) if dataset.name == "tonic" and location else None
    test = sets[1] if len(sets) > 1 else None
    return Offer(train, test, names, tuple(sensor) if sensor is not None else None, state=state)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _library_class(dataset: Dataset) -> Callable[..., Samples]:
    """A class of the library by its name alone: no module that a file names is imported."""
    package, base_name = _BASE[dataset.name]
    module, base = import_module(f"{dataset.name}.datasets"), getattr(import_module(package), base_name)
    known = {
        name: kind
        for name in dir(module)
        if isinstance(kind := getattr(module, name), type) and issubclass(kind, base) and kind is not base
    }
    if dataset.class_ not in known:
        given = " is missing" if dataset.class_ is None else f"={dataset.class_} is unknown"
        near = did_you_mean(dataset.class_ or "", known)
        raise DataError(f"dataset.class{given}; {dataset.name} has {', '.join(sorted(known))}{near}")
    return known[dataset.class_]


def _own_class(dataset: Dataset) -> Callable[..., Samples]:
    """The class that the user names; its module may lie in the current folder."""
    target = dataset._target_
    if target is None or not re.fullmatch(r"[\w.]+:[\w.]+", target):
        given = " is missing" if target is None else f"={target}"
        raise DataError(
            f"dataset._target_{given}: name the class of your data, dataset._target_=my.module:Mine; it is code, "
            f"which is run at your word alone and never because the folder of a run names it"
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return resolve_name(target)
    except (ImportError, AttributeError) as error:
        raise DataError(
            f"dataset._target_={target} is not there: {error}; the current folder is searched, too"
        ) from error


def _parts(maker: Callable[..., Samples], dataset: Dataset) -> list[dict[str, Any]]:
    """The arguments that choose each set: train=, split= or none, where there is one set alone."""
    parameters, given = _parameters(maker), dataset.arguments
    if "train" in parameters and "train" not in given:
        return [{"train": True}, {"train": False}]
    # EMNIST has train= and a split= of another meaning, which dataset.arguments gives
    if "split" in parameters and "split" not in given:
        words = re.findall(r"\w+", inspect.getdoc(maker) or "")
        test = next((name for name in _TEST_SPLIT if name in words), "test")
        train = "train" if "train" in words or "trainval" not in words else "trainval"
        return [{"split": train}, {"split": test}]
    return [{}]


def _parameters(maker: Any) -> set[str]:
    """Names of the arguments, also of those that a class hands on to the one it derives from."""
    found = dict(inspect.signature(maker).parameters)
    for base in inspect.getmro(maker)[1:] if inspect.isclass(maker) else ():
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in found.values()):
            found |= inspect.signature(base).parameters
    return set(found)


def _make(maker: Callable[..., Samples], part: dict[str, Any], dataset: Dataset) -> Samples:
    parameters = _parameters(maker)
    offered = {_ROOT[dataset.name]: str(Path(dataset.root).expanduser()), "download": dataset.download}
    arguments = {name: value for name, value in offered.items() if name in parameters}
    if dataset.name == "tonic" and not dataset.download:
        maker = _without_download(maker)
    name = dataset.class_ or dataset._target_
    try:
        samples = maker(**arguments, **part, **dataset.arguments)
    except DataError:
        raise
    except Exception as error:  # the code of others, which raises anything
        reason = f"{type(error).__name__}: {error}{_how(maker, dataset)}"
        raise DataError(f"dataset={dataset.name}: {name} cannot be made: {reason}") from error
    if not (hasattr(samples, "__len__") and hasattr(samples, "__getitem__")):
        raise DataError(
            f"dataset={dataset.name}: {name} gives a {type(samples).__name__}; expected len() and [position]"
        )
    return samples


def _without_download(maker: Any) -> Any:
    """tonic's classes fetch what is missing when they are made; this one says what is missing."""

    def download(self: Any) -> None:
        raise FileNotFoundError(f"no complete {maker.__name__} in {self.location_on_system}")

    return type(maker.__name__, (maker,), {"download": download})


def _how(maker: Any, dataset: Dataset) -> str:
    """How to get the files of a library's class."""
    if dataset.name == "own":
        return ""
    urls = [str(value) for key in dir(maker) if "url" in key and isinstance(value := getattr(maker, key), str)]
    urls += [str(url) for url in getattr(maker, "mirrors", [])]
    by_hand = f", or put what {', '.join(urls)} offers there" if urls else ""
    root = Path(dataset.root).expanduser().absolute()
    return (
        f"\nlooked in: {root}\nto get it: snntha train dataset={dataset.name} dataset.class={dataset.class_} "
        f"dataset.download=true{by_hand}"
    )
