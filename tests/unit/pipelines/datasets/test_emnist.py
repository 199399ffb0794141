"""EMNIST's files, whose images lie on their side."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.builtin.characters import CLASSES, external_datasets
from pipelines.data import images_of
from pipelines.datasets.emnist import CHARACTERS, has_emnist, load_emnist
from pipelines.errors import CorruptDataError, MissingDataError
from tests.support.data_files import write_emnist

DIGITS = {str(digit): digit for digit in range(10)}


def test_images_are_turned_upright(tmp_path: Path) -> None:
    write_emnist(tmp_path, "digits", [1, 7])
    rows = load_emnist(tmp_path, "digits", DIGITS)
    assert (rows.labels.tolist(), rows.name) == ([1, 7], "emnist/digits-test")
    assert images_of(rows.batch)[0, 4:24, 14].tolist() == [255] * 20
    assert images_of(rows.batch)[0].sum() == 255 * 20
    assert has_emnist(tmp_path, "digits")
    assert not has_emnist(tmp_path, "balanced")


def test_small_letters_that_differ_belong_to_their_capitals(tmp_path: Path) -> None:
    places = [CHARACTERS["balanced"].index(each) for each in "0AZat"]
    write_emnist(tmp_path / "emnist", "balanced", places)
    [rows] = external_datasets(tmp_path)
    assert sorted(CLASSES[label] for label in rows.labels) == ["0", "A", "A", "T", "Z"]
    assert external_datasets(tmp_path / "a" / "b") == external_datasets(None) == (), "neither in it nor beside it"


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="platform data fetch emnist"):
        load_emnist(tmp_path, "digits", DIGITS)
    write_emnist(tmp_path, "digits", [10])
    with pytest.raises(CorruptDataError, match="holds the label 10; labels go from 0 to 9"):
        load_emnist(tmp_path, "digits", DIGITS)
    write_emnist(tmp_path, "balanced", [46])
    with pytest.raises(CorruptDataError, match=r"characters ABC.* which are no classes here"):
        load_emnist(tmp_path, "balanced", DIGITS)
