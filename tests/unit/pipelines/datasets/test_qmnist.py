"""QMNIST's extended labels."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.data import Examples, split_by_group
from pipelines.datasets.idx_files import load_idx_folder
from pipelines.datasets.qmnist import FILES, attach_writers, has_writers, population_by_image, read_writers
from pipelines.errors import CorruptDataError, MissingDataError
from pipelines.image.image_examples import image_examples

ROWS = np.array([[3, 0, 17, 0, 33, 0, 0, 0], [7, 4, 2001, 5, 37, 1, 0, 0], [3, 2, 5, 1, 33, 2, 0, 0]])


def write_labels(folder: Path, rows: np.ndarray, side: str = "train") -> Path:
    sizes = b"".join(size.to_bytes(4, "big") for size in rows.shape)
    path = folder / f"{FILES[side]}.gz"
    path.write_bytes(gzip.compress(bytes((0, 0, 12, rows.ndim)) + sizes + rows.astype(">i4").tobytes()))
    return path


def images(labels: list[int]) -> Examples:
    pixels = np.arange(len(labels) * 16, dtype=np.uint8).reshape(-1, 4, 4)
    return image_examples(pixels, np.array(labels, dtype=np.int64), "some")


def test_each_image_gets_its_writer_and_the_writers_people(tmp_path: Path) -> None:
    write_labels(tmp_path, ROWS)
    known = attach_writers(images([3, 7, 3]), tmp_path, "train")
    assert known.groups == ("0/0017", "4/2001", "2/0005")
    assert list(population_by_image(known).values()) == ["staff", "students", "series-2"]
    assert tuple(population_by_image(known)) == known.ids
    assert population_by_image(images([3])) == {}


def test_a_file_may_describe_more_images_than_there_are(tmp_path: Path) -> None:
    write_labels(tmp_path, ROWS, "test")
    assert attach_writers(images([3, 7]), tmp_path, "test").groups == ("0/0017", "4/2001")


@pytest.mark.parametrize("labels", [[3, 3, 3], [3, 7, 3, 3]])
def test_labels_of_other_images_are_refused(tmp_path: Path, labels: list[int]) -> None:
    write_labels(tmp_path, ROWS)
    with pytest.raises(CorruptDataError, match="its classes are others"):
        attach_writers(images(labels), tmp_path, "train")


def test_a_table_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorruptDataError, match=r"shape \(3, 5\).*8 columns"):
        read_writers(write_labels(tmp_path, ROWS[:, :5]))


def test_a_folder_without_the_files_says_how_to_get_them(tmp_path: Path) -> None:
    write_labels(tmp_path, ROWS)
    assert not has_writers(tmp_path)
    with pytest.raises(MissingDataError, match="platform data fetch qmnist"):
        attach_writers(images([3]), tmp_path, "test")
    write_labels(tmp_path, ROWS, "test")
    assert has_writers(tmp_path)


@pytest.mark.skipif("PLATFORM_TEST_MNIST_DIR" not in os.environ, reason="PLATFORM_TEST_MNIST_DIR names no MNIST folder")
def test_mnist_has_writers_of_two_kinds_and_none_is_on_two_sides() -> None:
    mnist = Path(os.environ["PLATFORM_TEST_MNIST_DIR"])
    labels = mnist.parent / "qmnist-labels"
    if not has_writers(labels):
        pytest.skip(f"{labels} holds no extended labels of QMNIST")
    train, test = load_idx_folder(mnist)
    known = attach_writers(train, labels, "train")
    assert set(population_by_image(known).values()) == {"staff", "students"}
    assert not set(known.groups) & set(attach_writers(test, labels, "test").groups)
    split = split_by_group(known, {"train": 0.9, "validation": 0.1})
    assert not set(split.train.groups) & set(split.validation.groups)
    assert 0.05 < len(split.validation) / 60_000 < 0.15
