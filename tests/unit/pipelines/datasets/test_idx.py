"""IDX files, the format of MNIST and its kin."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from pipelines.data import images_of
from pipelines.datasets import idx_files
from pipelines.errors import CorruptDataError, MissingDataError
from tests.support.data_files import idx_bytes

NAMES = (*idx_files.TRAIN_FILES, *idx_files.TEST_FILES)


def write_folder(folder: Path, rows: int = 6) -> None:
    images = np.arange(rows * 20, dtype=np.uint8).reshape(rows, 5, 4)
    labels = np.arange(rows, dtype=np.uint8)
    for name in NAMES:
        (folder / name).write_bytes(idx_bytes(images if "images" in name else labels))


def zip_file(path: Path) -> None:
    path.with_name(f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()


def test_four_files_become_a_train_and_a_test_set(tmp_path: Path) -> None:
    write_folder(tmp_path)
    zip_file(tmp_path / NAMES[0])
    zip_file(tmp_path / NAMES[3])
    train, test = idx_files.load_idx_folder(tmp_path)
    assert images_of(train.batch).shape == images_of(test.batch).shape == (6, 5, 4)
    assert train.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert images_of(train.batch)[1, 0, 0] == 20


def test_a_missing_folder_or_file_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="nowhere"):
        idx_files.load_idx_folder(tmp_path / "nowhere")
    write_folder(tmp_path)
    (tmp_path / NAMES[1]).unlink()
    with pytest.raises(MissingDataError, match=r"train-labels-idx1-ubyte.*platform data fetch mnist"):
        idx_files.load_idx_folder(tmp_path)
    with pytest.raises(MissingDataError, match="gone"):
        idx_files.read_idx(tmp_path / "gone")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "nothing"),
        (b"\x89PNG....", "89 50 4e 47"),
        (bytes((0, 0, 13, 1)) + bytes(8), "00 00 0d 01"),
        (bytes((0, 0, 8, 3, 0, 0)), "inside its header, after 6 bytes"),
        (idx_bytes(np.zeros((3, 2, 2), np.uint8))[:-1], "12 bytes, but holds 11"),
        (idx_bytes(np.zeros((3, 2, 2), np.uint8)) + b"x", "12 bytes, but holds 13"),
        (bytes((0, 0, 8, 3)) + b"\xff" * 12, "but holds 0"),
    ],
)
def test_a_file_that_is_not_idx_is_refused_with_its_counts(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "some-file"
    path.write_bytes(content)
    with pytest.raises(CorruptDataError, match=f"some-file.*{message}"):
        idx_files.read_idx(path)


@pytest.mark.parametrize("cut", [0, 5, -4])
def test_a_broken_gzip_file_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "images.gz"
    path.write_bytes(gzip.compress(idx_bytes(np.zeros((3, 2, 2), np.uint8)))[:cut])
    with pytest.raises(CorruptDataError, match=r"images\.gz"):
        idx_files.read_idx(path)
    path.write_bytes(b"plain text")
    with pytest.raises(CorruptDataError, match="not a gzip file"):
        idx_files.read_idx(path)


def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path: Path) -> None:
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(idx_files.MAX_BYTES + 1), compresslevel=1))
    with pytest.raises(CorruptDataError, match="more than"):
        idx_files.read_idx(path)


def test_a_label_out_of_range_is_refused(tmp_path: Path) -> None:
    write_folder(tmp_path, rows=11)
    with pytest.raises(CorruptDataError, match="label 10; labels go from 0 to 9"):
        idx_files.load_idx_folder(tmp_path)


def test_different_counts_and_swapped_files_are_refused(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / NAMES[1]).write_bytes(idx_bytes(np.zeros(5, np.uint8)))
    with pytest.raises(CorruptDataError, match="6 images, train-labels-idx1-ubyte 5 labels"):
        idx_files.load_idx_folder(tmp_path)
    (tmp_path / NAMES[1]).write_bytes((tmp_path / NAMES[0]).read_bytes())
    with pytest.raises(CorruptDataError, match="3 dimensions"):
        idx_files.load_idx_folder(tmp_path)


def test_every_pair_of_a_folder_is_read_with_its_own_classes(tmp_path: Path) -> None:
    for stem, top in (("letters", 30), ("digits", 9)):
        (tmp_path / f"{stem}-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((2, 4, 3), np.uint8)))
        (tmp_path / f"{stem}-labels-idx1-ubyte").write_bytes(idx_bytes(np.array([0, top], np.uint8)))
    zip_file(tmp_path / "letters-images-idx3-ubyte")
    pairs = idx_files.load_idx_pairs(tmp_path, 36)
    assert [pair.name.partition("/")[2] for pair in pairs] == ["digits", "letters"]
    assert [int(pair.labels.max()) for pair in pairs] == [9, 30]
    with pytest.raises(CorruptDataError, match=r"letters-labels.*label 30; labels go from 0 to 9"):
        idx_files.load_idx_pairs(tmp_path, 10)
    (tmp_path / "digits-labels-idx1-ubyte").unlink()
    with pytest.raises(MissingDataError, match="digits-labels-idx1-ubyte"):
        idx_files.load_idx_pairs(tmp_path, 36)
    with pytest.raises(MissingDataError, match="nowhere"):
        idx_files.load_idx_pairs(tmp_path / "nowhere", 36)


def test_integers_are_read_as_such_and_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "numbers"
    path.write_bytes(bytes((0, 0, 12, 1)) + (2).to_bytes(4, "big") + np.array([-5, 70000], ">i4").tobytes())
    assert idx_files.read_idx_integers(path).tolist() == [-5, 70000]
    path.write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    with pytest.raises(CorruptDataError, match="IDX file of integers starts with 00 00 0c"):
        idx_files.read_idx_integers(path)
