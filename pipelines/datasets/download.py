"""Downloads public data sets of handwriting and verifies their checksums."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from pipelines.datasets.idx_files import MAX_BYTES, gunzip_bounded
from pipelines.engines.atomic_write import write_atomically
from pipelines.errors import CorruptDataError, DataError, MissingDataError

CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True)
class DownloadSource:
    """Gzip files by name, without .gz, with the MD5 of what they unzip to, and where they are to be had."""

    name: str
    checksums: Mapping[str, str]
    mirrors: tuple[str, ...]


DOWNLOAD_SOURCES = {
    source.name: source
    for source in (
        DownloadSource(
            "mnist",
            {
                "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
                "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
                "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
                "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
            },
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
        ),
        DownloadSource(
            "qmnist",
            {
                "qmnist-train-labels-idx2-int": "1d43300e7f41ddcbf7fd006cbe865af9",
                "qmnist-test-labels-idx2-int": "5e00709fb0090091f3afc51d204ad83c",
            },
            ("https://raw.githubusercontent.com/facebookresearch/qmnist/master/",),
        ),
        DownloadSource(
            "usps",
            {"zip.train": "a2d376ecc766edab27f0c4621f180f99", "zip.test": "ec27c60f11cf4a80de34679dd9108b4d"},
            (
                "https://hastie.su.domains/ElemStatLearn/datasets/",
                "https://web.stanford.edu/~hastie/ElemStatLearn/datasets/",
            ),
        ),
    )
}


@dataclass(frozen=True)
class DownloadProgress:
    """How far one file is: `present`, `fetching` or `fetched`."""

    file: str
    state: str
    bytes_done: int = 0
    """Bytes that have come."""
    bytes_total: int | None = None
    """Bytes that will come, where the server says so."""


UrlOpener = Callable[[str], BinaryIO]
ProgressCallback = Callable[[DownloadProgress], None]


def find_source(name: str) -> DownloadSource:
    """The source of this name."""
    if name not in DOWNLOAD_SOURCES:
        raise MissingDataError(f"data set '{name}' is not known; known: {', '.join(sorted(DOWNLOAD_SOURCES))}")
    return DOWNLOAD_SOURCES[name]


def fetch(
    download_source: DownloadSource,
    target: Path,
    opener: UrlOpener | None = None,
    progress: ProgressCallback = lambda _: None,
) -> tuple[Path, ...]:
    """Bring a source's files into the folder, each checked; files that are already right are kept."""
    target.mkdir(parents=True, exist_ok=True)
    return tuple(
        _fetch_file(target / f"{name}.gz", name, digest, download_source.mirrors, opener or https_opener, progress)
        for name, digest in download_source.checksums.items()
    )


def checksum_problem(raw: bytes, name: str, digest: str) -> str | None:
    """Why these zipped bytes are not the wanted file, or None."""
    try:
        content = gunzip_bounded(raw, name)
    except CorruptDataError as error:
        return str(error)
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    return None if md5 == digest else f"{name} has MD5 {md5}, wanted {digest}"


def https_opener(url: str) -> BinaryIO:
    """Open an address on the network, encrypted ones only."""
    if not url.startswith("https://"):
        raise DataError(f"refused to download from '{url}'; give an https:// address")
    return cast("BinaryIO", urllib.request.urlopen(url, timeout=30))  # noqa: S310 - https only, see above


def _fetch_file(
    path: Path, name: str, digest: str, mirrors: Sequence[str], opener: UrlOpener, progress: ProgressCallback
) -> Path:
    if path.is_file() and checksum_problem(path.read_bytes(), name, digest) is None:
        progress(DownloadProgress(name, "present", path.stat().st_size, path.stat().st_size))
        return path
    failures = []
    for mirror in mirrors:
        try:
            raw = _download(f"{mirror.rstrip('/')}/{name}.gz", name, opener, progress)
        except (OSError, http.client.HTTPException) as error:
            failures.append(f"{mirror}: {error}")
            continue
        wrong = checksum_problem(raw, name, digest)
        if wrong is None:
            write_atomically(path, raw)
            progress(DownloadProgress(name, "fetched", len(raw), len(raw)))
            return path
        failures.append(f"{mirror}: {wrong}")
    raise MissingDataError(
        f"no mirror gave {name}.gz ({'; '.join(failures) or 'none named'}); "
        f"check the network, or put the file into {path.parent} yourself"
    )


def _download(url: str, name: str, opener: UrlOpener, progress: ProgressCallback) -> bytes:
    """All bytes of an address, at most MAX_BYTES and one more, which fails the check."""
    with opener(url) as answer:
        length = answer.headers.get("Content-Length") if hasattr(answer, "headers") else None
        total = int(length) if length and length.isdigit() else None
        parts, done = list[bytes](), 0
        progress(DownloadProgress(name, "fetching", 0, total))
        while done <= MAX_BYTES and (part := answer.read(CHUNK_BYTES)):
            parts.append(part)
            done += len(part)
            progress(DownloadProgress(name, "fetching", done, total))
    return b"".join(parts)
