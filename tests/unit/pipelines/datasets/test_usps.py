"""USPS's zip-code digits."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.data import images_of
from pipelines.datasets.usps import load_usps, read_usps
from pipelines.errors import CorruptDataError, MissingDataError
from tests.support.data_files import usps_row, write_usps


def test_rows_become_bright_digits_in_the_middle(tmp_path: Path) -> None:
    rows = read_usps(write_usps(tmp_path / "zip.train.gz", usps_row(), usps_row("3.0", 1.0)))
    assert rows.labels.tolist() == [6, 3]
    assert rows.name == "usps/train"
    assert images_of(rows.batch).shape == (2, 28, 28)
    assert int(images_of(rows.batch)[0].max()) == 0
    assert int(images_of(rows.batch)[1].astype(int).sum()) == 255 * 20 * 20
    assert images_of(rows.batch)[1, 4, 4] == 255
    assert images_of(rows.batch)[1, 3].max() == 0


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ((), "no row"),
        ((usps_row(), usps_row(count=255)), "row 2 of zip.test.gz has 256 numbers"),
        ((usps_row("10"),), "no whole number from 0 to 9"),
        ((usps_row("1.5"),), "no whole number"),
        ((usps_row(grey=1.5),), "grey 1.5; greys go from -1 to 1"),
        (("1 two",), "no text of numbers"),
    ],
)
def test_a_file_that_is_not_usps_is_refused(tmp_path: Path, rows: tuple[str, ...], message: str) -> None:
    with pytest.raises(CorruptDataError, match=message):
        read_usps(write_usps(tmp_path / "zip.test.gz", *rows))


def test_a_cut_or_missing_file_is_named(tmp_path: Path) -> None:
    path = write_usps(tmp_path / "zip.train.gz", usps_row())
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(CorruptDataError, match="ends early"):
        read_usps(path)
    with pytest.raises(MissingDataError, match="platform data fetch usps"):
        load_usps(tmp_path / "nowhere")


@pytest.mark.skipif("PLATFORM_TEST_MNIST_DIR" not in os.environ, reason="PLATFORM_TEST_MNIST_DIR names no MNIST folder")
def test_the_real_files_have_their_known_counts() -> None:
    folder = Path(os.environ["PLATFORM_TEST_MNIST_DIR"]).parent / "usps"
    if not folder.is_dir():
        pytest.skip(f"{folder} does not hold USPS")
    train, test = load_usps(folder)
    assert (len(train), len(test)) == (7291, 2007)
    assert np.bincount(train.labels).tolist() == [1194, 1005, 731, 658, 652, 556, 664, 645, 542, 644]
