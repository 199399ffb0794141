"""Reads IDX files, the format of MNIST, and checks all that a damaged or hostile one may hold."""

from __future__ import annotations

import math
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples
from pipelines.errors import CorruptDataError, MissingDataError
from pipelines.image.image_examples import image_examples

UINT8_CODE, INT32_CODE = 0x08, 0x0C
CLASSES = 10
IMAGES_SUFFIX, LABELS_SUFFIX = "images-idx3-ubyte", "labels-idx1-ubyte"
TRAIN_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST_FILES = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MAX_BYTES = 64 * 1024 * 1024


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in one IDX file, unzipped when its name ends in .gz."""
    return _parse(path, _read_content(path), UINT8_CODE, np.dtype(np.uint8))


def read_idx_integers(path: Path) -> NDArray[np.int32]:
    """The array of 32-bit integers in one IDX file, such as QMNIST's extended labels."""
    return _parse(path, _read_content(path), INT32_CODE, np.dtype(">i4")).astype(np.int32)


def load_idx_folder(folder: Path) -> tuple[Examples, Examples]:
    """The train and the test set of a folder that holds MNIST's four files, zipped or not."""
    if not folder.is_dir():
        raise MissingDataError(f"no data folder {folder}; give the folder that holds the four IDX files")
    return _load_pair(folder, TRAIN_FILES, "train"), _load_pair(folder, TEST_FILES, "test")


def gunzip_bounded(raw: bytes, name: str) -> bytes:
    """What a gzip file holds; at most MAX_BYTES, so that a small hostile file cannot fill the memory."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        content = unzip.decompress(raw, MAX_BYTES)
    except zlib.error as error:
        raise CorruptDataError(f"{name} ({len(raw)} bytes) is not a gzip file: {error}; fetch it again") from error
    if unzip.unconsumed_tail:
        raise CorruptDataError(f"{name} unzips to more than {MAX_BYTES} bytes; fetch it again")
    if not unzip.eof:
        raise CorruptDataError(f"{name} ends early, after {len(content)} unzipped bytes; fetch it again")
    return content


def load_idx_pairs(folder: Path, classes: int) -> tuple[Examples, ...]:
    """Every pair `X-images-idx3-ubyte` and `X-labels-idx1-ubyte` of a folder, zipped or not, by name."""
    if not folder.is_dir():
        raise MissingDataError(f"no data folder {folder}; give the folder that holds the IDX files")
    stems = sorted(
        {path.name.removesuffix(".gz").partition(IMAGES_SUFFIX)[0] for path in folder.glob(f"*{IMAGES_SUFFIX}*")}
    )
    return tuple(
        _load_pair(folder, (f"{stem}{IMAGES_SUFFIX}", f"{stem}{LABELS_SUFFIX}"), stem.rstrip("-"), classes)
        for stem in stems
    )


def _load_pair(folder: Path, names: tuple[str, str], side: str, classes: int = CLASSES) -> Examples:
    images_path, labels_path = (find_file(folder, name) for name in names)
    return load_idx_files(images_path, labels_path, f"{folder.name}/{side}", classes)


def load_idx_files(images_path: Path, labels_path: Path, name: str, classes: int) -> Examples:
    """A file of images and the file of their labels, numbers below `classes`."""
    images, labels = read_idx(images_path), read_idx(labels_path)
    if images.ndim != 3 or labels.ndim != 1:
        raise CorruptDataError(
            f"{images_path.name} has {images.ndim} and {labels_path.name} has {labels.ndim} dimensions; "
            "images need 3 and labels 1"
        )
    if len(images) != len(labels):
        raise CorruptDataError(
            f"{images_path.name} holds {len(images)} images, {labels_path.name} {len(labels)} labels; "
            "fetch both files again"
        )
    if len(labels) and labels.max() >= classes:
        raise CorruptDataError(f"{labels_path.name} holds the label {labels.max()}; labels go from 0 to {classes - 1}")
    return image_examples(images, labels.astype(np.int64), name)


def find_file(folder: Path, name: str, data_set: str = "mnist") -> Path:
    """The file of this name, zipped or not; MissingDataError says how to fetch the data set."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise MissingDataError(f"{folder} has neither {name} nor {name}.gz; run 'platform data fetch {data_set}'")


def _read_content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingDataError(f"no data file {path}; run 'platform data fetch mnist'") from error
    return gunzip_bounded(raw, path.name) if path.suffix == ".gz" else raw


def _parse(path: Path, content: bytes, kind: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(content) < 4 or content[:3] != bytes((0, 0, kind)) or not 1 <= content[3] <= 3:
        raise CorruptDataError(
            f"{path.name} starts with {content[:4].hex(' ') or 'nothing'}; "
            f"an IDX file of {'bytes' if kind == UINT8_CODE else 'integers'} starts with 00 00 {kind:02x} "
            "and 01, 02 or 03"
        )
    start = 4 + 4 * content[3]
    if len(content) < start:
        raise CorruptDataError(f"{path.name} ends inside its header, after {len(content)} bytes; fetch it again")
    shape = tuple(int.from_bytes(content[i : i + 4], "big") for i in range(4, start, 4))
    expected, actual = math.prod(shape) * dtype.itemsize, len(content) - start
    if expected != actual:
        raise CorruptDataError(
            f"{path.name} declares {shape}, that is {expected} bytes, but holds {actual}; fetch it again"
        )
    return np.frombuffer(content, dtype=dtype, offset=start).reshape(shape)
