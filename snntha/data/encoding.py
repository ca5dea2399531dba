"""How a sample of a data set becomes the network's input: what an exported network carries with it."""

from snntha.binning import Binning
from snntha.config import is_images
from snntha.config.schema import Dataset
from snntha.runtime.network import Encoding

_ENGLISH = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_GERMAN = ("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun")
_CLASSES = {
    "fashion_mnist": (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "dvs_gesture": (
        *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise"),
        *("left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures"),
    ),
    "shd": (*_ENGLISH, *_GERMAN),
}
_WHITE = {"digits": 16, "mnist": 255, "fashion_mnist": 255}
_UNIT_US = {"shd": 1_000_000, "ssc": 1_000_000, "dvs_gesture": 1000, "nmnist": 1}
_SENSOR = {"dvs_gesture": 128, "nmnist": 34}
_FULL = 255  # white of pictures that describe themselves


def encoding(dataset: Dataset) -> Encoding:
    """How training's evaluation makes the input of a sample."""
    steps, shape = dataset.test_time_steps or dataset.time_steps, tuple(dataset.input_shape)
    if is_images(dataset):
        white = _WHITE.get(dataset.name, _FULL)
        return Encoding("image", shape, steps, white=white, resize=dataset.resize)
    binning = Binning.of(dataset, steps)
    return Encoding(
        "events",
        shape,
        steps,
        bin_us=binning.bin_us,
        duration_us=binning.duration_us,
        unit_us=dataset.unit_us or _UNIT_US.get(dataset.name, 1),
        sensor=dataset.sensor or _SENSOR.get(dataset.name, 0),
    )


def class_names(dataset: Dataset) -> tuple[str, ...]:
    """One for each output neuron; its number where the data name none."""
    named = tuple(dataset.class_names) or _CLASSES.get(dataset.name, ())
    return (*named[: dataset.classes], *map(str, range(len(named), dataset.classes)))
