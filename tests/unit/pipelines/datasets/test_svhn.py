"""SVHN's photographed house numbers, in files as SciPy and MATLAB write them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import io

from pipelines.data import images_of
from pipelines.datasets.svhn import read_svhn
from pipelines.errors import CorruptDataError, MissingDataError
from tests.support.data_files import photograph, write_svhn


@pytest.mark.parametrize("compressed", [True, False])
def test_photographs_become_bright_digits_on_dark_and_ten_is_zero(tmp_path: Path, compressed: bool) -> None:
    dark_ink, light_ink = photograph((200, 180, 190), (20, 30, 40)), photograph((30, 60, 20), (250, 240, 220))
    rows = read_svhn(write_svhn(tmp_path / "test_32x32.mat", [dark_ink, light_ink], [10, 1], compressed=compressed))
    assert (rows.labels.tolist(), rows.name) == ([0, 1], "svhn/test")
    images = images_of(rows.batch).astype(int)
    assert images.shape == (2, 28, 28)
    for image in images:
        assert image[14, 13:15].min() > image[:, :4].max() + 100, "the stroke is brighter than its ground"


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"X": np.zeros((32, 32, 3, 2), np.uint8)}, r"holds \{'X'.*cropped digits are X of 32x32x3xn"),
        ({"X": np.zeros((16, 32, 3, 2), np.uint8), "y": np.ones((2, 1))}, "cropped digits"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.ones((3, 1))}, "cropped digits"),
        ({"X": np.zeros((32, 32, 3, 2), np.uint8), "y": np.array([[0], [11]])}, "labels from 0 to 11"),
        ({"X": np.zeros((32, 32, 3, 2)), "y": np.ones((2, 1))}, "pixels of float64"),
        ({"X": "text", "y": np.ones((2, 1))}, "cropped digits"),
    ],
)
def test_a_file_that_is_not_svhn_is_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    io.savemat(tmp_path / "test_32x32.mat", arrays)
    with pytest.raises(CorruptDataError, match=message):
        read_svhn(tmp_path / "test_32x32.mat")


def test_a_cut_foreign_or_missing_file_is_named(tmp_path: Path) -> None:
    whole = write_svhn(tmp_path / "test_32x32.mat", [photograph((9, 9, 9), (200, 200, 200))] * 3, [1, 2, 3])
    cut = tmp_path / "cut.mat"
    for length in (0, 10, 128, 200, whole.stat().st_size - 20):
        cut.write_bytes(whole.read_bytes()[:length])
        with pytest.raises(CorruptDataError, match=r"cut\.mat"):
            read_svhn(cut)
    with pytest.raises(MissingDataError, match="platform data fetch svhn"):
        read_svhn(tmp_path / "nowhere.mat")
