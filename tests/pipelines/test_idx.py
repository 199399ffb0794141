"""MNIST's IDX files, read and fetched."""

from __future__ import annotations

import gzip
import hashlib
import io
import urllib.error
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest

from pipelines import idx
from pipelines.errors import CorruptDataError, DataError, MissingDataError

NAMES = (*idx.TRAIN, *idx.TEST)


def encoded(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes((0, 0, 8, array.ndim)) + sizes + array.tobytes()


def write_folder(folder: Path, rows: int = 6) -> None:
    images = np.arange(rows * 20, dtype=np.uint8).reshape(rows, 5, 4)
    labels = np.arange(rows, dtype=np.uint8)
    for name in NAMES:
        (folder / name).write_bytes(encoded(images if "images" in name else labels))


def zip_file(path: Path) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def test_four_files_become_a_train_and_a_test_set(tmp_path: Path) -> None:
    write_folder(tmp_path)
    zip_file(tmp_path / NAMES[0])
    zip_file(tmp_path / NAMES[3])
    train, test = idx.load_idx_folder(tmp_path)
    assert train.images.shape == test.images.shape == (6, 5, 4)
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert train.images[1, 0, 0] == 20


def test_a_missing_folder_or_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="nowhere"):
        idx.load_idx_folder(tmp_path / "nowhere")
    write_folder(tmp_path)
    (tmp_path / NAMES[1]).unlink()
    with pytest.raises(MissingDataError, match=r"train-labels-idx1-ubyte.*platform data fetch mnist"):
        idx.load_idx_folder(tmp_path)
    with pytest.raises(MissingDataError, match="gone"):
        idx.read_idx(tmp_path / "gone")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing"),
        (b"\x89PNG....", "89 50 4e 47"),
        (bytes((0, 0, 13, 1)) + bytes(8), "00 00 0d 01"),
        (bytes((0, 0, 8, 3, 0, 0)), "inside its header, after 6 bytes"),
        (encoded(np.zeros((3, 2, 2), np.uint8))[:-1], "12 bytes, but holds 11"),
        (encoded(np.zeros((3, 2, 2), np.uint8)) + b"x", "12 bytes, but holds 13"),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12, "but holds 0"),
    ],
)
def test_a_file_that_is_not_idx_is_refused_with_its_counts(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "some-file"
    path.write_bytes(content)
    with pytest.raises(CorruptDataError, match=f"some-file.*{message}"):
        idx.read_idx(path)


@pytest.mark.parametrize("cut", [0, 5, -4])
def test_a_broken_gzip_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(encoded(np.zeros((3, 2, 2), np.uint8)))[:cut])
    with pytest.raises(CorruptDataError, match=r"images\.gz"):
        idx.read_idx(path)
    path.write_bytes(b"plain text")
    with pytest.raises(CorruptDataError, match="not a gzip file"):
        idx.read_idx(path)


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(idx.MAX_BYTES + 1), compresslevel=1))
    with pytest.raises(CorruptDataError, match="more than"):
        idx.read_idx(path)


def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, rows=11)
    with pytest.raises(CorruptDataError, match="label 10; labels go from 0 to 9"):
        idx.load_idx_folder(tmp_path)


def test_different_counts_and_swapped_files_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(encoded(np.zeros(5, np.uint8)))
    with pytest.raises(CorruptDataError, match="6 images, train-labels-idx1-ubyte 5 labels"):
        idx.load_idx_folder(tmp_path)
    (tmp_path / NAMES[1]).write_bytes((tmp_path / NAMES[0]).read_bytes())
    with pytest.raises(CorruptDataError, match="3 dimensions"):
        idx.load_idx_folder(tmp_path)


class Mirror:
    """A world of addresses, each with its bytes; anything else is refused like a dead server."""

    def __init__(self, answers: dict[str, bytes]) -> None:
        self.answers, self.asked = answers, list[str]()

    def __call__(self, url: str) -> BinaryIO:
        self.asked.append(url)
        if url not in self.answers:
            raise urllib.error.URLError("no answer")
        return io.BytesIO(self.answers[url])


def files() -> tuple[dict[str, bytes], dict[str, str]]:
    contents = {name: encoded(np.full(4, index, np.uint8)) for index, name in enumerate(NAMES)}
    sums = {n: hashlib.md5(c, usedforsecurity=False).hexdigest() for n, c in contents.items()}
    return {name: gzip.compress(content) for name, content in contents.items()}, sums


def test_files_are_fetched_checked_and_then_kept(tmp_path: Path) -> None:
    zipped, sums = files()
    mirror = Mirror({f"https://one/{name}.gz": raw for name, raw in zipped.items()})
    told: list[tuple[str, str]] = []
    for _ in range(2):
        paths = idx.fetch_mnist(
            tmp_path / "mnist", ["https://one/"], mirror, lambda *news: told.append(news), sums=sums
        )
    assert [path.name for path in paths] == [f"{name}.gz" for name in NAMES]
    assert len(mirror.asked) == 4
    assert told[-1] == (NAMES[3], "present")
    assert sorted(path.name for path in (tmp_path / "mnist").iterdir()) == sorted(f"{n}.gz" for n in NAMES)
    assert idx.read_idx(paths[2]).tolist() == [2, 2, 2, 2]


def test_the_next_mirror_is_tried_and_only_wrong_files_are_fetched_again(tmp_path: Path) -> None:
    zipped, sums = files()
    bad = {f"https://one/{name}.gz": b"<html>moved</html>" for name in NAMES}
    good = {f"https://two/{name}.gz": raw for name, raw in zipped.items()}
    mirror = Mirror(bad | good)
    (tmp_path / f"{NAMES[0]}.gz").write_bytes(zipped[NAMES[0]])
    (tmp_path / f"{NAMES[1]}.gz").write_bytes(zipped[NAMES[0]])
    paths = idx.fetch_mnist(tmp_path, ["https://one/", "https://two"], mirror, sums=sums)
    assert len(mirror.asked) == 6
    assert [int(idx.read_idx(path)[0]) for path in paths] == [0, 1, 2, 3]


def test_when_all_mirrors_fail_the_error_says_why_and_nothing_is_left(tmp_path: Path) -> None:
    zipped, sums = files()
    wrong = Mirror({f"https://one/{NAMES[0]}.gz": zipped[NAMES[1]]})
    with pytest.raises(MissingDataError, match=r"wanted .*no answer.*check the network"):
        idx.fetch_mnist(tmp_path, ["https://one/", "https://dead/"], wrong, sums=sums)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["http://one/file.gz", "file:///etc/hostname", "ftp://one/x"])
def test_only_encrypted_addresses_are_opened(url: str) -> None:
    with pytest.raises(DataError, match="https://"):
        idx.https_opener(url)
