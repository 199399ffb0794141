"""Digits of other collections beside the data of a pipeline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.datasets.digit_collections import read_collections
from tests.support.data_files import photograph, usps_row, write_emnist, write_svhn, write_usps


def test_each_collection_is_found_in_the_folder_or_beside_it(tmp_path: Path) -> None:
    own = tmp_path / "mnist"
    write_usps(tmp_path / "usps" / "zip.test.gz", usps_row())
    write_svhn(tmp_path / "svhn" / "test_32x32.mat", [photograph((9, 9, 9), (200, 200, 200))], [4])
    write_emnist(own / "emnist", "digits", [3, 3])
    for digit in range(2):
        (own / "dida" / str(digit)).mkdir(parents=True)
        paper = Image.new("RGB", (40, 30), (220, 210, 180))
        paper.paste((40, 30, 20), (18, 4, 22, 26))
        paper.save(own / "dida" / str(digit) / "scan.JPG")
    found = {rows.name: rows for rows in read_collections(own)}
    assert {name: rows.labels.tolist() for name, rows in found.items()} == {
        "usps/test": [6],
        "svhn/test": [4],
        "emnist/digits-test": [3, 3],
        "dida": [0, 1],
    }
    scan = found["dida"].batch.array("image")[0].astype(int)
    assert scan[14, 13:15].min() > 150 > 60 > scan[12:16, :6].max(), "ink on paper is bright on dark"
    assert [rows.name for rows in read_collections(tmp_path)] == ["usps/test", "svhn/test"]
    assert read_collections(None) == ()


def test_of_a_large_collection_some_rows_are_drawn_by_hash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [usps_row(str(digit), grey) for digit in range(10) for grey in np.linspace(-1, 1, 5)]
    write_usps(tmp_path / "usps" / "zip.test.gz", *rows)
    monkeypatch.setattr("pipelines.datasets.digit_collections.MAX_ROWS", 7)
    [some] = read_collections(tmp_path)
    assert len(some) == 7
    assert list(some.ids) == sorted(some.ids)
