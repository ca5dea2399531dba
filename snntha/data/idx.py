"""MNIST and FashionMNIST: four IDX files, gzip-compressed or not, in torchvision's folders or in a flat one."""

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snntha.config.schema import Dataset
from snntha.data.files import DataError, FoundFiles, look_for

_MAGIC = {"images": 0x803, "labels": 0x801}  # two zero bytes, type uint8, number of axes
_SIDE = 28
_PARTS = ("train", "t10k")
_IDX_MAGIC = b"\0\0\x08"  # of bytes
_GZIP_MAGIC = b"\x1f\x8b"
_NAMES = {f"{part}-{kind}": f"{part}-{kind}-idx{_MAGIC[kind] & 0xFF}-ubyte" for part in _PARTS for kind in _MAGIC}


@dataclass(frozen=True)
class _Publication:
    """What tells the two data sets apart, whose files have the same names and sizes: what is in them."""

    folder: str  # torchvision's
    md5: dict[str, str]  # of each unpacked file, by its role
    source: str


_PUBLICATIONS = {
    "mnist": _Publication(
        "MNIST",
        {
            "train-images": "6bbc9ace898e44ae57da46a324031adb",
            "train-labels": "a25bea736e30d166cdddb491f175f624",
            "t10k-images": "2646ac647ad5339dbf082846283269ea",
            "t10k-labels": "27ae3e4e09519cfbb04c329615203637",
        },
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
    ),
    "fashion_mnist": _Publication(
        "FashionMNIST",
        {
            "train-images": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            "train-labels": "9018921c3c673c538a1fc5bad174d6f9",
            "t10k-images": "8181f5470baa50b63fa0f6fddb340f0a",
            "t10k-labels": "15d484375f8d13e6eb1aabb0c3f46965",
        },
        "https://github.com/zalandoresearch/fashion-mnist; on Debian and Ubuntu: apt install "
        "dataset-fashion-mnist, then dataset.root=/usr/share/datasets/fashion-mnist",
    ),
}


@dataclass(frozen=True)
class Images:
    """Grey values 0..white and classes of one split."""

    images_BHW: NDArray[np.uint8]  # or (B, C, H, W)
    labels: NDArray[np.int64]  # (B,)
    white: int
    groups: None = None  # no speakers or subjects
    notes: tuple[str, ...] = ()  # what is odd about them


def find(dataset: Dataset) -> FoundFiles:
    """Look for the four files without reading them."""
    publication = _PUBLICATIONS[dataset.name]
    below = (f"{publication.folder}/raw", publication.folder, "raw")
    names = {role: [name, f"{name}.gz"] for role, name in _NAMES.items()}
    by_hand = f"put the four .gz files into {{folder}} from {publication.source}"
    return look_for(dataset, below, names, "{}[.gz]", by_hand, signatures=(_GZIP_MAGIC, _IDX_MAGIC))


def download(files: FoundFiles) -> None:
    """Let torchvision fetch and unpack the files into its own folders below `dataset.root`."""
    from torchvision import datasets

    torchvision_class = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[files.name]
    torchvision_class(files.looked_in[-1], download=True)


def read(files: FoundFiles) -> list[Images]:
    """Training and test images, checked.

    Raises:
        DataError: a file is cut, of another kind, or of the other data set; images and labels differ in number.
    """
    return [_read_part(files, part) for part in _PARTS]


def _read_part(files: FoundFiles, part: str) -> Images:
    images_path, labels_path = files.paths[f"{part}-images"], files.paths[f"{part}-labels"]
    images_BHW, images_are_published = _read_idx(f"{part}-images", files)
    labels_B, labels_are_published = _read_idx(f"{part}-labels", files)
    if images_BHW.shape[1:] != (_SIDE, _SIDE):
        raise files.damaged(images_path, f"images of {_SIDE} x {_SIDE}", " x ".join(map(str, images_BHW.shape[1:])))
    if len(images_BHW) != len(labels_B):
        raise files.damaged(labels_path, f"{len(images_BHW)} labels, one for each image", str(len(labels_B)))
    notes = ()
    if images_are_published != labels_are_published:
        own, other = (images_path, labels_path) if images_are_published else (labels_path, images_path)
        notes = (f"dataset={files.name}: {own} is the published file, {other} is not: do they belong together?",)
    return Images(images_BHW, labels_B.astype(np.int64), white=255, notes=notes)


def _read_idx(role: str, files: FoundFiles) -> tuple[NDArray[np.uint8], bool]:
    """An IDX file of bytes: big-endian magic, one big-endian uint32 for each axis, then the values.

    Also tells whether it is the published file of that role; that of another role or data set is refused.
    """
    path, kind = files.paths[role], role.partition("-")[2]
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise files.unreadable(path, "a complete gzip file", error) from None
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    known = {publication.md5[part]: (name, part) for name, publication in _PUBLICATIONS.items() for part in _NAMES}
    name, part = known.get(md5, (files.name, role))
    if (name, part) != (files.name, role):
        raise DataError(
            f"dataset={files.name}: {path} belongs to {name}: it is its {part}; set dataset={name}, another "
            f"dataset.root, or put the right file there"
        )
    axes = _MAGIC[kind] & 0xFF
    header = np.frombuffer(content[: 4 * (1 + axes)], dtype=">u4") if len(content) >= 4 * (1 + axes) else None
    if header is None or header[0] != _MAGIC[kind]:
        raise files.damaged(path, f"IDX {kind} (magic {_MAGIC[kind]:#010x})", f"0x{content[:4].hex()}")
    shape = tuple(int(length) for length in header[1:])
    expected, actual = math.prod(shape), len(content) - header.nbytes
    if expected != actual:
        raise files.damaged(path, f"{expected} bytes after the header, for {shape}", f"{actual}")
    return np.frombuffer(content, dtype=np.uint8, offset=header.nbytes).reshape(shape), md5 in known
