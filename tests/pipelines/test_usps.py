"""USPS's digits."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import CorruptDataError, MissingDataError
from pipelines.usps import TEST_FILE, load_usps

USPS = Path(os.environ.get("PLATFORM_TEST_MNIST_DIR", "")).parent / "usps" / TEST_FILE


def written(path: Path, rows: list[tuple[float, ...]]) -> Path:
    path.write_bytes(gzip.compress("\n".join(" ".join(map(str, row)) for row in rows).encode()))
    return path


def test_ink_is_bright_in_the_middle_box_and_the_label_is_kept(tmp_path: Path) -> None:
    picture = np.full((16, 16), -1.0)
    picture[4:12, 7:9] = 1.0
    found = load_usps(written(tmp_path / "some.gz", [(6.0, *picture.ravel()), (3.0, *(-picture).ravel())]))
    assert found.labels.tolist() == [6, 3]
    assert found.images.shape == (2, 28, 28)
    assert found.images[0, 14, 14] == 255
    assert not found.images[:, :4].any()
    assert found.images[1, 4, 4] == 255


def test_a_file_that_is_missing_or_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no file"):
        load_usps(tmp_path / "none.gz")
    (tmp_path / "plain.gz").write_bytes(b"no gzip")
    with pytest.raises(CorruptDataError, match="not USPS"):
        load_usps(tmp_path / "plain.gz")
    with pytest.raises(CorruptDataError, match="256 greys"):
        load_usps(written(tmp_path / "short.gz", [(1.0, 0.5)]))
    with pytest.raises(CorruptDataError, match="outside 0 to 9"):
        load_usps(written(tmp_path / "far.gz", [(11.0, *[0.0] * 256)]))


@pytest.mark.skipif(not USPS.is_file(), reason="no usps folder beside PLATFORM_TEST_MNIST_DIR")
def test_the_real_test_file_holds_2007_digits() -> None:
    found = load_usps(USPS)
    assert (len(found), int(found.labels.min()), int(found.labels.max())) == (2007, 0, 9)
    assert 25 < found.images.mean() < 50
