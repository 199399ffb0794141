"""The second scanner."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.errors import DataError
from pipelines.image.simulated_shift import simulate_scanner_shift


def test_the_same_seed_scans_the_same_and_another_differs() -> None:
    images = images_of(load_optdigits().batch)[:5]
    assert np.array_equal(simulate_scanner_shift(images, 1), simulate_scanner_shift(images, 1))
    assert not np.array_equal(simulate_scanner_shift(images, 1), simulate_scanner_shift(images, 2))


def test_the_scan_is_grey_where_the_paper_was_dark_and_never_the_same_image() -> None:
    images = images_of(load_optdigits().batch)[:20]
    before = images.copy()
    scans = simulate_scanner_shift(images, 1)
    assert (scans.dtype, scans.shape) == (np.dtype(np.uint8), images.shape)
    assert 12 < np.median(scans) < 32
    assert scans.max() < 255
    assert np.array_equal(images, before)


def test_the_paper_is_turned() -> None:
    bar = np.zeros((1, 28, 28), np.uint8)
    bar[0, 4:24, 13:15] = 255
    scan = simulate_scanner_shift(bar, 1)[0].astype(float)
    rows, columns = np.nonzero(scan > 80)
    slope = np.polyfit(rows, columns, 1)[0]
    assert 15 < abs(np.degrees(np.arctan(slope))) < 50


def test_no_images_give_no_scans() -> None:
    assert simulate_scanner_shift(np.zeros((0, 28, 28), np.uint8), 1).shape == (0, 28, 28)


def test_anything_but_grey_bytes_is_refused() -> None:
    with pytest.raises(DataError, match="float32"):
        simulate_scanner_shift(np.zeros((1, 28, 28), np.float32), 1)
