"""The public sources of handwriting, fetched."""

from __future__ import annotations

import gzip
import hashlib
import io
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import pytest

from pipelines.datasets import download, idx_files
from pipelines.datasets.download import DownloadProgress, DownloadSource, fetch
from pipelines.errors import DataError, MissingDataError
from tests.support.data_files import idx_bytes

NAMES = (*idx_files.TRAIN_FILES, *idx_files.TEST_FILES)


class Mirror:
    """A world of addresses, each with its bytes; anything else is refused like a dead server."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers, self.asked = answers, list[str]()

    def __call__(self, url: str) -> BinaryIO:
        self.asked.append(url)
        if url not in self.answers:
            raise urllib.error.URLError("no answer")
        return io.BytesIO(self.answers[url])


def files(*mirrors: str) -> tuple[dict[str, bytes], DownloadSource]:
    contents = {name: idx_bytes(np.full(4, index, np.uint8)) for index, name in enumerate(NAMES)}
    sums = {n: hashlib.md5(c, usedforsecurity=False).hexdigest() for n, c in contents.items()}
    return {name: gzip.compress(content) for name, content in contents.items()}, DownloadSource("some", sums, mirrors)


def test_files_are_fetched_checked_and_then_kept(tmp_path: Path) -> None:
    zipped, wanted = files("https://one/")
    mirror = Mirror({f"https://one/{name}.gz": raw for name, raw in zipped.items()})
    told: list[DownloadProgress] = []
    for _ in range(2):
        paths = fetch(wanted, tmp_path / "mnist", mirror, told.append)
    assert [path.name for path in paths] == [f"{name}.gz" for name in NAMES]
    assert len(mirror.asked) == 4
    assert (told[-1].file, told[-1].state) == (NAMES[3], "present")
    assert sorted(path.name for path in (tmp_path / "mnist").iterdir()) == sorted(f"{n}.gz" for n in NAMES)
    assert idx_files.read_idx(paths[2]).tolist() == [2, 2, 2, 2]


def test_the_next_mirror_is_tried_and_only_wrong_files_are_fetched_again(tmp_path: Path) -> None:
    zipped, wanted = files("https://one/", "https://two")
    bad = {f"https://one/{name}.gz": b"<html>moved</html>" for name in NAMES}
    good = {f"https://two/{name}.gz": raw for name, raw in zipped.items()}
    mirror = Mirror(bad | good)
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(zipped[NAMES[0]])
    (tmp_path / f"{NAMES[1]}.gz").write_bytes(zipped[NAMES[0]])
    paths = fetch(wanted, tmp_path, mirror)
    assert len(mirror.asked) == 6
    assert [int(idx_files.read_idx(path)[0]) for path in paths] == [0, 1, 2, 3]


def test_when_all_mirrors_fail_the_error_says_why_and_nothing_is_left(tmp_path: Path) -> None:
    zipped, wanted = files("https://one/", "https://dead/")
    wrong = Mirror({f"https://one/{NAMES[0]}.gz": zipped[NAMES[1]]})
    with pytest.raises(MissingDataError, match=r"wanted .*no answer.*check the network"):
        fetch(wanted, tmp_path, wrong)
    assert list(tmp_path.iterdir()) == []


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has there
        """Say nothing."""


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A folder on a server of this machine."""
    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", folder
    server.shutdown()
    thread.join()
    server.server_close()


def plain_opener(url: str) -> BinaryIO:
    return cast("BinaryIO", urllib.request.urlopen(url, timeout=5))


def test_a_real_server_tells_how_far_each_file_is(tmp_path: Path, served: tuple[str, Path]) -> None:
    address, folder = served
    content = np.random.default_rng(0).integers(0, 256, 200_000, dtype=np.uint8).tobytes()
    raw = gzip.compress(content)
    (folder / "big.gz").write_bytes(raw)
    digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
    told: list[DownloadProgress] = []
    [path] = fetch(
        DownloadSource("some", {"big": digest}, (f"{address}gone", address)), tmp_path, plain_opener, told.append
    )
    assert path.read_bytes() == raw
    assert {news.bytes_total for news in told} == {len(raw)}
    done = [news.bytes_done for news in told]
    assert done == sorted(done)
    assert (done[0], done[-1], told[-1].state) == (0, len(raw), "fetched")
    assert len(done) > 4


def test_a_cut_file_of_a_real_server_is_not_kept(tmp_path: Path, served: tuple[str, Path]) -> None:
    address, folder = served
    (folder / "big.gz").write_bytes(gzip.compress(bytes(5000))[:-10])
    with pytest.raises(MissingDataError, match="big ends early"):
        fetch(DownloadSource("some", {"big": "0" * 32}, (address,)), tmp_path / "to", plain_opener)
    assert list((tmp_path / "to").iterdir()) == []


def archive(member: bytes = b"zipped") -> tuple[bytes, DownloadSource]:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as opened:
        opened.writestr("gzip/wanted.gz", gzip.compress(member))
        opened.writestr("gzip/other.gz", bytes(100))
    digest = hashlib.md5(packed.getvalue(), usedforsecurity=False).hexdigest()
    source = DownloadSource("some", {"all.zip": digest}, ("https://one/",), suffix="", members=("gzip/wanted.gz",))
    return packed.getvalue(), source


def test_of_an_archive_the_wanted_members_are_kept_alone(tmp_path: Path) -> None:
    packed, source = archive()
    mirror, told = Mirror({"https://one/all.zip": packed}), list[DownloadProgress]()
    for state in ("fetched", "present"):
        [path] = fetch(source, tmp_path, mirror, told.append)
        assert gzip.decompress(path.read_bytes()) == b"zipped"
        assert (told[-1].file, told[-1].state) == ("all.zip", state)
    assert mirror.asked == ["https://one/all.zip"]
    path.write_bytes(path.read_bytes()[:-3])
    fetch(source, tmp_path, mirror)
    assert gzip.decompress(path.read_bytes()) == b"zipped", "a cut member is brought again"
    assert [each.name for each in tmp_path.iterdir()] == ["wanted.gz"]


def test_an_archive_with_another_checksum_or_too_long_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed, source = archive()
    with pytest.raises(MissingDataError, match=r"all\.zip has MD5 .* put its files into"):
        fetch(source, tmp_path, Mirror({"https://one/all.zip": packed[:-1] + b"x"}))
    monkeypatch.setattr(download, "CHUNK_BYTES", 16)
    monkeypatch.setattr(download, "MAX_ARCHIVE_BYTES", 64)
    with pytest.raises(MissingDataError, match="has MD5"):
        fetch(source, tmp_path, Mirror({"https://one/all.zip": packed}))
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_zipped_is_checked_as_it_is(tmp_path: Path) -> None:
    digest = hashlib.md5(b"plain", usedforsecurity=False).hexdigest()
    source = DownloadSource("some", {"x.mat": digest}, ("https://one/",), suffix="")
    [path] = fetch(source, tmp_path, Mirror({"https://one/x.mat": b"plain"}))
    assert (path.name, path.read_bytes()) == ("x.mat", b"plain")


def test_every_source_names_encrypted_addresses_and_whole_checksums() -> None:
    assert set(download.DOWNLOAD_SOURCES) == {"emnist", "mnist", "qmnist", "svhn", "usps"}
    for each in download.DOWNLOAD_SOURCES.values():
        assert all(address.startswith("https://") for address in each.mirrors)
        assert all(len(digest) == 32 for digest in each.checksums.values())
    with pytest.raises(MissingDataError, match="'cats' is not known; known: emnist, mnist, qmnist, svhn, usps"):
        download.find_source("cats")


@pytest.mark.parametrize("url", ["http://one/file.gz", "file:///etc/hostname", "ftp://one/x"])
def test_only_encrypted_addresses_are_opened(url: str) -> None:
    with pytest.raises(DataError, match="https://"):
        download.https_opener(url)
