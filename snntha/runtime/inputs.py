"""Images and recordings, from arrays, files, folders and standard input, as batches that a frozen network runs.

What a file holds is told by its first bytes, not by its name. Everything is checked against the network's encoding.
"""

import gzip
import io
import logging
import struct
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from snntha.binning import Binning, Recording, bin_events, microseconds
from snntha.errors import PRINTABLE, UserError
from snntha.hdf5 import read_twice
from snntha.plausible import UNITS_US, Usage, are_whole, is_padded, other_unit, suspicion
from snntha.runtime.network import Encoding, Images, Spikes

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

AT_ONCE = 64  # samples of a batch
_LARGEST = 1 << 30  # bytes of a file, unpacked
_RECORDINGS = 1 << 20  # of an HDF5 file
_GZIP, _NPY, _HDF5 = b"\x1f\x8b", b"\x93NUMPY", b"\x89HDF"
_PICTURES = {b"\x89PNG": "PNG", b"\xff\xd8\xff": "JPEG"}
_IDX, _AEDAT = b"\0\0\x08\x03", b"#!AER-DAT"
_FORMATS = "PNG, JPEG, IDX and .npy images; .npy, HDF5 and AEDAT recordings"


class Sample(NamedTuple):
    """One sample and where it came from: a file, and with several in it, which."""

    source: str
    values: np.ndarray  # grey (C, H, W) uint8, or events (2, E) int64: time in microseconds, input channels-last


def read_all(paths: list[Path], encoding: Encoding) -> Iterator[Sample]:
    """The samples of files, of the files in folders (sorted), and of standard input, whose name is `-`."""
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith("."))
            if not files:
                raise UserError(f"{path} is a folder without files")
            for file in files:
                yield from _read_file(str(file), _content(file), encoding)
        elif str(path) == "-":
            yield from _read_file("standard input", sys.stdin.buffer.read(_LARGEST), encoding)
        else:
            yield from _read_file(str(path), _content(path), encoding)


def to_samples(samples: Any, encoding: Encoding) -> Iterator[Sample]:
    """The samples of an array, or of a list of them, as `Model` is called with."""
    if encoding.kind == "image":
        yield from to_images("the array", as_array(samples), encoding)
    else:
        for number, events in enumerate(samples if isinstance(samples, list) else [samples]):
            yield Sample(f"recording {number}", to_events(f"recording {number}", as_array(events), encoding))


def as_array(values: Any) -> np.ndarray:
    """An array of an array, a list, a picture, or a tensor, wherever it lies; PyTorch is not imported for it."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values)


def to_batches(samples: Any, encoding: Encoding) -> Iterator[Images | Spikes]:
    """The same as batches."""
    for part in in_batches(to_samples(samples, encoding)):
        yield to_batch([sample.values for sample in part], encoding)


def in_batches(samples: Iterator[Sample], first: int = AT_ONCE) -> Iterator[list[Sample]]:
    """Lists of up to AT_ONCE samples, and the first one of up to `first`."""
    size = first
    while part := list(islice(samples, size)):
        yield part
        size = AT_ONCE


def to_batch(values: list[np.ndarray], encoding: Encoding) -> Images | Spikes:
    """Samples of one encoding as a batch; events are binned as training bins them."""
    if encoding.kind == "image":
        return Images(np.stack(values), encoding.white, encoding.time_steps)
    binning = Binning(encoding.time_steps, encoding.bin_us, encoding.duration_us)
    counts, inputs = [], []
    for times_us, index in values:
        count_T, index_sorted = bin_events(Recording(times_us, index, label=0, group=0), binning, encoding.inputs)
        counts.append(count_T)
        inputs.append(np.split(index_sorted, np.cumsum(count_T)[:-1]))
    rows = [inputs[b][t] for t in range(encoding.time_steps) for b in range(len(values))]
    indptr = np.concatenate([[0], np.cumsum(np.stack(counts, 1).ravel())]).astype(np.int64)
    return Spikes(indptr, np.concatenate(rows).astype(np.int32), encoding.time_steps, len(values), encoding.shape)


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_file(source: str, content: bytes, encoding: Encoding) -> Iterator[Sample]:
    try:
        if content.startswith(_GZIP):
            content = gzip.GzipFile(fileobj=io.BytesIO(content)).read(_LARGEST)
        if content.startswith(_NPY):
            values = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
            if encoding.kind == "image":
                yield from to_images(source, values, encoding)
            else:
                yield Sample(source, to_events(source, values, encoding))
        elif content.startswith((*_PICTURES, _IDX)) and encoding.kind == "image":
            values = _idx(content) if content.startswith(_IDX) else grey(decode(content), encoding)
            yield from to_images(source, values, encoding)
        elif content.startswith((_HDF5, _AEDAT)) and encoding.kind == "events":
            recordings = hdf5_recordings(content) if content.startswith(_HDF5) else [_aedat(source, content)]
            for number, events in enumerate(recordings):
                name = source if len(recordings) == 1 else f"{source}[{number}]"
                yield Sample(name, to_events(name, events, encoding))
        else:
            kind = "pictures" if encoding.kind == "image" else "event recordings"
            raise UserError(f"{source}: this network takes {kind}, and snntha reads {_FORMATS}")
    except UserError:
        raise
    except Exception as error:  # a damaged file makes the libraries that read it raise anything
        raise UserError(f"{source} is damaged: {' '.join(str(error).split())[:200]}") from error


def decode(content: bytes) -> "Image":
    """The picture in a PNG or JPEG file."""
    from PIL import Image

    with Image.open(io.BytesIO(content), formats=list(_PICTURES.values())) as image:
        if image.width * image.height > 1 << 24:
            raise ValueError(f"a picture of {image.width} x {image.height}")
        image.load()
        return image


def grey(image: "Image", encoding: Encoding) -> np.ndarray:
    """Values 0.0 to 1.0, (1, C, H, W), of a picture, in the network's colours and scaled if its encoding says so."""
    channels, height, width = encoding.shape
    if channels not in (1, 3):
        raise UserError(f"a picture has 1 or 3 colours, the network takes {channels} channels: pass arrays")
    image = image.convert("L" if channels == 1 else "RGB")
    if encoding.resize:
        image = image.resize((width, height), resample=2)  # bilinear
    values = np.asarray(image) / 255
    return (values[None] if channels == 1 else values.transpose(2, 0, 1))[None]


def _idx(content: bytes) -> np.ndarray:
    """Images of an IDX file of bytes, (B, H, W)."""
    shape = tuple(int.from_bytes(content[first : first + 4], "big") for first in (4, 8, 12))
    return np.frombuffer(content, np.uint8, offset=16).reshape(shape)


def hdf5_recordings(content: bytes) -> list[np.ndarray]:
    """Recordings in the layout of SHD, each (events, 2): seconds and channel; plain arrays are those of one."""
    import h5py

    def read() -> tuple[Any, Any]:
        with h5py.File(io.BytesIO(content), "r") as file:
            arrays: Any = file
            times, units = arrays["spikes/times"], arrays["spikes/units"]
            several = times.dtype == object and len(times) > _RECORDINGS
            if times.shape != units.shape or several or max(times.nbytes, units.nbytes) > _LARGEST:
                raise ValueError(
                    f"{times.shape} times, {units.shape} units; expected one of each, at most {_RECORDINGS}"
                )
            return times[()], units[()]

    times, units = read_twice(read, len(content))
    pairs = list(zip(times, units, strict=True)) if times.dtype == object else [(times, units)]
    if any(np.ndim(t) != 1 for t, _ in pairs):
        raise ValueError(f"{times.shape} times that are no list for each recording")
    return [np.stack([t.astype(np.float64), u.astype(np.float64)], 1) for t, u in pairs]


def _aedat(source: str, content: bytes) -> np.ndarray:
    """Structured events of an AEDAT file, as tonic reads it: version 4, 3.1 (DVS128 Gesture) or 2 (jAER, DVS128)."""
    try:
        from tonic import io as tonic_io
    except ImportError as error:
        raise UserError(f"{source}: AEDAT files need tonic: pip install tonic ({error})") from error
    if not content.startswith((_AEDAT + b"2.", _AEDAT + b"3.1", _AEDAT + b"4")):
        raise ValueError(f"AEDAT version {content[len(_AEDAT) :][:4]!r}, expected 2, 3.1 or 4")
    with NamedTemporaryFile(suffix=".aedat") as file:  # the readers take a name
        file.write(content)
        file.flush()
        try:
            if content.startswith(_AEDAT + b"4"):
                return tonic_io.read_aedat4(file.name)
            version, start, _ = tonic_io.read_aedat_header_from_file(file.name)
            events = tonic_io.get_aer_events_from_file(file.name, version, start)
        except ImportError as error:
            raise UserError(f"{source}: AEDAT version 4 needs aedat: pip install aedat ({error})") from error
        except (AssertionError, LookupError, NameError, NotImplementedError, RuntimeError, struct.error) as error:
            raise ValueError(f"AEDAT: {error or type(error).__name__}") from error
    address = events["address"].astype(np.int64)
    shift_x, shift_y, shift_p, mask = (17, 2, 1, 0x1FFF) if version > 3 else (8, 1, 0, 0x7F)
    x, y, polarity = address >> shift_x & mask, address >> shift_y & mask, address >> shift_p & 1
    return tonic_io.make_structured_array(x, y, events["timeStamp"], polarity)


def to_images(source: str, values: np.ndarray, encoding: Encoding) -> Iterator[Sample]:
    """Checked grey values of one or several images."""
    channels, height, width = encoding.shape
    wanted = (height, width)
    if values.ndim not in (2, 3, 4) or values.shape[-2:] != wanted or (values.ndim < 4 and channels != 1):
        raise UserError(f"{source}: an image of shape {values.shape}; this network takes {encoding.shape}")
    values = values.reshape(-1, channels, height, width)
    white = encoding.white
    if values.dtype.kind == "f":
        if not (np.isfinite(values).all() and values.min(initial=0) >= 0 and values.max(initial=0) <= 1):
            raise UserError(f"{source}: grey values as floats go from 0 to 1")
        values = np.rint(values * white)
    elif values.dtype.kind not in "ui" or values.min(initial=0) < 0 or values.max(initial=0) > 255:
        raise UserError(f"{source}: {values.dtype} values; grey values go from 0 to {white}")
    elif values.max(initial=0) > white:
        raise UserError(f"{source}: a grey value of {values.max()}; this network's white is {white}: pass 0.0 to 1.0")
    for number, image in enumerate(values.astype(np.uint8)):
        yield Sample(source if len(values) == 1 else f"{source}[{number}]", image)


def event_columns(encoding: Encoding) -> tuple[str, ...]:
    """Of a plain array of events."""
    return ("x", "y", "p", "t") if encoding.sensor else ("t", "x")


def to_events(source: str, values: np.ndarray, encoding: Encoding, *, check_window: bool = True) -> np.ndarray:
    """Checked events, (2, E) int64: microseconds, and the input channels-last.

    Structured arrays have fields t in microseconds, x, and for a sensor y and p, as tonic's. Plain ones have columns:
    time and channel, or x, y, p and time as tonic's DVSGesture, with time in the unit of the training data.
    """
    names = values.dtype.names
    columns = event_columns(encoding)
    if names is not None and values.ndim == 1 and set(columns) <= set(names):
        parts = {name: values[name] for name in columns}
        unit_us = 1
    elif names is None and values.ndim == 2 and values.shape[1] == len(columns) and values.dtype.kind in "iuf":
        parts = {name: values[:, column] for column, name in enumerate(columns)}
        unit_us = encoding.unit_us
    else:
        wanted = f"expected events as fields or columns {', '.join(columns)}"
        raise UserError(f"{source}: {values.dtype} of shape {values.shape}; {wanted}")
    rows = encoding.shape[-2] * encoding.pixel if encoding.sensor else 0
    limits = {"x": encoding.sensor or encoding.inputs, "y": rows, "p": 2, "t": 2**62 // unit_us}
    for name, part in parts.items():
        if part.ndim != 1 or part.dtype.kind not in "iufb":
            raise UserError(f"{source}: {name} is {part.dtype} of shape {part.shape}; expected one number an event")
        if not (part.min(initial=0) >= 0 and part.max(initial=0) < limits[name]):  # also where a value is NaN
            found = f"{name} goes from {part.min()} to {part.max()}"
            raise UserError(f"{source}: {found}; expected 0 to below {limits[name]}")
        if name != "t" and not (part.dtype.kind == "b" or are_whole(part)):
            raise UserError(f"{source}: {name} has fractions; expected whole numbers")
    index = parts["x"].astype(np.int64)
    if is_padded(parts["t"], np.logical_and.reduce([part == 0 for name, part in parts.items() if name != "t"])):
        raise UserError(f"{source}: events at time 0 in input 0 fill it up like padding: leave them out")
    times_us = microseconds(parts["t"], unit_us)
    if check_window:
        _check_window(source, times_us, unit_us, encoding)
    if encoding.sensor:
        pixel = encoding.pixel
        rows = parts["y"].astype(np.int64) // pixel
        index = (rows * encoding.shape[2] + index // pixel) * encoding.shape[0] + parts["p"].astype(np.int64)
    return np.stack([times_us, index])


def _check_window(source: str, times_us: np.ndarray, unit_us: int, encoding: Encoding) -> None:
    """Refuse a recording that is nearly lost because of its unit, as training does; tell of one that is odd."""
    units = [name for name, us in UNITS_US.items() if us == unit_us]
    if len(times_us) < 2 or not units:
        return
    elapsed_us = times_us - times_us.min()
    kept_us = elapsed_us[elapsed_us < encoding.duration_us]
    usage = Usage(len(kept_us) / len(times_us), kept_us.max() // encoding.bin_us + 1, float(elapsed_us.max()), 0)
    binning = Binning(encoding.time_steps, encoding.bin_us, encoding.duration_us)
    window = f"{encoding.time_steps} steps of {encoding.bin_us / 1000:g} ms"
    remedy = "the network has learned from recordings as long as these steps"
    if found := suspicion(source, units[0], usage, binning, window, remedy):
        sentence, is_lost = found
        if is_lost and other_unit(usage.span_us / unit_us, units[0]):
            raise UserError(sentence)
        log.warning(sentence.translate(PRINTABLE))
