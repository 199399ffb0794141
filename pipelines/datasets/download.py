"""Downloads public data sets of handwriting and verifies their checksums."""

from __future__ import annotations

import errno
import hashlib
import http.client
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from pipelines.datasets.idx_files import MAX_BYTES, gunzip_bounded
from pipelines.engines.atomic_write import write_atomically
from pipelines.errors import CorruptDataError, DataError, MissingDataError

CHUNK_BYTES = 64 * 1024
MAX_ARCHIVE_BYTES = 1024**3


@dataclass(frozen=True)
class DownloadSource:
    """Files by name with their checksums, and where they are to be had."""

    name: str
    checksums: Mapping[str, str]
    """The MD5 of each file; where the suffix is .gz, which is no part of the name here, of what it unzips to."""
    mirrors: tuple[str, ...]
    suffix: str = ".gz"
    """What follows a name at the mirrors and on disk."""
    members: tuple[str, ...] = ()
    """The gzip files that are taken out of a zip archive, which is not kept; none: the files themselves are wanted."""


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
        DownloadSource(
            "svhn",
            {"test_32x32.mat": "eb5a983be6a315427106f1b164d9cef3"},
            ("https://ufldl.stanford.edu/housenumbers/", "https://cseweb.ucsd.edu/~weijian/static/datasets/svhn/"),
            suffix="",
        ),
        DownloadSource(
            "emnist",
            {"gzip.zip": "58c8d27c78d21e728a6bc7b3cc06412e"},
            ("https://biometrics.nist.gov/cs_links/EMNIST/",),
            suffix="",
            members=tuple(
                f"gzip/emnist-{part}-test-{kind}.gz"
                for part in ("digits", "balanced")
                for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")
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
    call = partial(_fetch_archive if download_source.members else _fetch_file, download_source, target)
    return tuple(path for name in download_source.checksums for path in call(name, opener or https_opener, progress))


def checksum_problem(raw: bytes, name: str, digest: str, *, zipped: bool = True) -> str | None:
    """Why these bytes, or what they unzip to, are not the wanted file, or None."""
    try:
        content = gunzip_bounded(raw, name) if zipped else raw
    except CorruptDataError as error:
        return str(error)
    return _md5_problem(hashlib.md5(content, usedforsecurity=False).hexdigest(), name, digest)


def _md5_problem(md5: str, name: str, digest: str) -> str | None:
    return None if md5 == digest else f"{name} has MD5 {md5}, wanted {digest}"


def https_opener(url: str) -> BinaryIO:
    """Open an address on the network, encrypted ones only."""
    if not url.startswith("https://"):
        raise DataError(f"refused to download from '{url}'; give an https:// address")
    return cast("BinaryIO", urllib.request.urlopen(url, timeout=30))  # noqa: S310 - https only, see above


def _fetch_file(
    source: DownloadSource, folder: Path, name: str, opener: UrlOpener, progress: ProgressCallback
) -> tuple[Path, ...]:
    """One file of a source, checked as a whole in memory."""
    path, digest = folder / f"{name}{source.suffix}", source.checksums[name]
    problem = partial(checksum_problem, name=name, digest=digest, zipped=source.suffix == ".gz")
    if path.is_file() and problem(path.read_bytes()) is None:
        progress(DownloadProgress(name, "present", path.stat().st_size, path.stat().st_size))
        return (path,)

    def bring(url: str) -> str | None:
        raw = b"".join(_read_chunks(url, name, MAX_BYTES, opener, progress))
        wrong = problem(raw)
        if wrong is None:
            write_atomically(path, raw)
            progress(DownloadProgress(name, "fetched", len(raw), len(raw)))
        return wrong

    _try_mirrors(source, path, bring)
    return (path,)


def _fetch_archive(
    source: DownloadSource, folder: Path, name: str, opener: UrlOpener, progress: ProgressCallback
) -> tuple[Path, ...]:
    """The members of a zip archive, which is checked on disk and removed again."""
    paths = tuple(folder / Path(member).name for member in source.members)
    if all(path.is_file() and _is_whole_gzip(path) for path in paths):
        size = sum(path.stat().st_size for path in paths)
        progress(DownloadProgress(name, "present", size, size))
        return paths

    def bring(url: str) -> str | None:
        md5 = hashlib.md5(usedforsecurity=False)
        with tempfile.TemporaryFile(dir=folder) as file:
            for part in _read_chunks(url, name, MAX_ARCHIVE_BYTES, opener, progress):
                md5.update(part)
                file.write(part)
            size = file.tell()
            wrong = _md5_problem(md5.hexdigest(), name, source.checksums[name])
            if wrong is None:
                _extract(file, source.members, paths)
                progress(DownloadProgress(name, "fetched", size, size))
        return wrong

    _try_mirrors(source, folder / name, bring)
    return paths


def _try_mirrors(source: DownloadSource, path: Path, bring: Callable[[str], str | None]) -> None:
    """Bring a file from the first mirror that has it; `bring` says what is wrong with what came from an address."""
    failures = []
    for mirror in source.mirrors:
        try:
            wrong = bring(f"{mirror.rstrip('/')}/{path.name}")
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
            failures.append(f"{mirror}: {error}")
            continue
        if wrong is None:
            return
        failures.append(f"{mirror}: {wrong}")
    raise MissingDataError(
        f"no mirror gave {path.name} ({'; '.join(failures) or 'none named'}); "
        f"check the network, or put {'its files' if source.members else 'the file'} into {path.parent} yourself"
    )


def _extract(archive: BinaryIO, members: Sequence[str], paths: Sequence[Path]) -> None:
    try:
        with zipfile.ZipFile(archive) as opened:
            for member, path in zip(members, paths, strict=True):
                with opened.open(member) as file:
                    write_atomically(path, file.read(MAX_BYTES))
    except (KeyError, zipfile.BadZipFile) as error:
        raise CorruptDataError(f"the archive is not the one that is known: {error}") from error


def _is_whole_gzip(path: Path) -> bool:
    try:
        gunzip_bounded(path.read_bytes(), path.name)
    except CorruptDataError:
        return False
    return True


def _read_chunks(url: str, name: str, max_bytes: int, opener: UrlOpener, progress: ProgressCallback) -> Iterator[bytes]:
    """All bytes of an address, at most so many and one chunk more, which fails the check."""
    with opener(url) as answer:
        length = answer.headers.get("Content-Length") if hasattr(answer, "headers") else None
        total, done = int(length) if length and length.isdigit() else None, 0
        progress(DownloadProgress(name, "fetching", 0, total))
        while done <= max_bytes and (part := answer.read(CHUNK_BYTES)):
            done += len(part)
            progress(DownloadProgress(name, "fetching", done, total))
            yield part
