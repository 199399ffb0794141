"""MNIST's IDX files, read with every check and fetched with checksums; refuses to know splits and models."""

from __future__ import annotations

import hashlib
import http.client
import math
import os
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from pipelines.data import ImageSet
from pipelines.errors import CorruptDataError, DataError, MissingDataError

UNSIGNED_BYTES, INTEGERS = 0x08, 0x0C
CLASSES = 10
TRAIN = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte")
TEST = ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
MNIST_MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
MAX_BYTES = 64 * 1024 * 1024

Opener = Callable[[str], BinaryIO]
Progress = Callable[[str, str], None]


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array of bytes in one IDX file, unzipped when its name ends in .gz."""
    return _parse(path, _content(path), UNSIGNED_BYTES, np.dtype(np.uint8))


def read_idx_integers(path: Path) -> NDArray[np.int32]:
    """The array of 32-bit integers in one IDX file, such as QMNIST's extended labels."""
    return _parse(path, _content(path), INTEGERS, np.dtype(">i4")).astype(np.int32)


def load_idx_folder(folder: Path) -> tuple[ImageSet, ImageSet]:
    """The train and the test set of a folder that holds MNIST's four files, zipped or not."""
    if not folder.is_dir():
        raise MissingDataError(f"no data folder {folder}; give the folder that holds the four IDX files")
    return _pair(folder, TRAIN, "train"), _pair(folder, TEST, "test")


def fetch_mnist(
    target: Path,
    mirrors: Sequence[str] = MNIST_MIRRORS,
    opener: Opener | None = None,
    progress: Progress = lambda _name, _state: None,
    *,
    sums: Mapping[str, str] = MNIST_MD5,
) -> tuple[Path, ...]:
    """Bring MNIST's four files into the folder, each checked; files that are already right are kept."""
    target.mkdir(parents=True, exist_ok=True)
    return tuple(
        _fetch(target / f"{name}.gz", name, digest, mirrors, opener or https_opener, progress)
        for name, digest in sums.items()
    )


def https_opener(url: str) -> BinaryIO:
    """Open an address on the network, encrypted ones only."""
    if not url.startswith("https://"):
        raise DataError(f"refused to download from '{url}'; give an https:// address")
    return cast("BinaryIO", urllib.request.urlopen(url, timeout=30))  # noqa: S310 - https only, see above


def _pair(folder: Path, names: tuple[str, str], side: str) -> ImageSet:
    images_path, labels_path = (_existing(folder, name) for name in names)
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
    if len(labels) and labels.max() >= CLASSES:
        raise CorruptDataError(f"{labels_path.name} holds the label {labels.max()}; labels go from 0 to {CLASSES - 1}")
    return ImageSet(images, labels.astype(np.int64), f"{folder.name}/{side}")


def _existing(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise MissingDataError(f"{folder} has neither {name} nor {name}.gz; run 'platform data fetch mnist'")


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
    except FileNotFoundError as error:
        raise MissingDataError(f"no data file {path}; run 'platform data fetch mnist'") from error
    return _unzipped(raw, path.name) if path.suffix == ".gz" else raw


def _unzipped(raw: bytes, name: str) -> bytes:
    """At most MAX_BYTES, so that a small hostile file cannot fill the memory."""
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


def _parse(path: Path, content: bytes, kind: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if len(content) < 4 or content[:3] != bytes((0, 0, kind)) or not 1 <= content[3] <= 3:
        raise CorruptDataError(
            f"{path.name} starts with {content[:4].hex(' ') or 'nothing'}; "
            f"an IDX file of {'bytes' if kind == UNSIGNED_BYTES else 'integers'} starts with 00 00 {kind:02x} "
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


def _fetch(path: Path, name: str, digest: str, mirrors: Sequence[str], opener: Opener, progress: Progress) -> Path:
    if path.is_file() and _problem(path.read_bytes(), name, digest) is None:
        progress(name, "present")
        return path
    failures = []
    for mirror in mirrors:
        progress(name, f"fetching from {mirror}")
        try:
            with opener(f"{mirror.rstrip('/')}/{name}.gz") as answer:
                raw = answer.read(MAX_BYTES + 1)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{mirror}: {error}")
            continue
        problem = _problem(raw, name, digest)
        if problem is None:
            _write(path, raw)
            progress(name, "fetched")
            return path
        failures.append(f"{mirror}: {problem}")
    raise MissingDataError(
        f"no mirror gave {name}.gz ({'; '.join(failures) or 'none named'}); "
        f"check the network, or put the file into {path.parent} yourself"
    )


def _problem(raw: bytes, name: str, digest: str) -> str | None:
    """Why these zipped bytes are not the wanted file, or None."""
    try:
        content = _unzipped(raw, name)
    except CorruptDataError as error:
        return str(error)
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return None if found == digest else f"{name} has MD5 {found}, wanted {digest}"


def _write(path: Path, raw: bytes) -> None:
    """Whole or not at all."""
    partial = path.with_name(f"{path.name}.partial-{os.getpid()}")
    partial.write_bytes(raw)
    partial.replace(path)
