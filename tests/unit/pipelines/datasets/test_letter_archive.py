"""Letters of known writers in an archive of arrays, and the characters made of them."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.builtin import characters
from pipelines.data import SPLIT_PARTS
from pipelines.datasets.letter_archive import ARCHIVE_FILE, load_letter_archive
from pipelines.errors import CorruptDataError


def arrays(writers: int = 30) -> dict[str, Any]:
    """Each writer wrote every letter once."""
    count = 26 * writers
    images = np.random.default_rng(0).integers(0, 256, (count, 28, 28), dtype=np.uint8)
    return {
        "images28": images,
        "labels": np.tile(np.arange(26, dtype=np.uint8), writers),
        "writers": np.repeat(np.arange(writers, dtype=np.uint8), 26),
    }


def save(folder: Path, **changes: Any) -> Path:  # noqa: ANN401 - whatever an archive may hold
    np.savez(folder / ARCHIVE_FILE, **(arrays() | changes))
    return folder / ARCHIVE_FILE


def test_letters_have_classes_and_writers(tmp_path: Path) -> None:
    rows = load_letter_archive(save(tmp_path), first_class=10)
    assert (rows.labels.min(), rows.labels.max(), len(rows)) == (10, 35, 780)
    assert rows.groups[25:27] == ("letters/0", "letters/1")


def test_no_writer_is_on_two_sides_and_digits_are_as_many_as_letters(tmp_path: Path) -> None:
    save(tmp_path)
    whole = characters.load_characters(tmp_path)
    assert Counter(whole.labels.tolist()) == dict.fromkeys(range(36), 30)
    split = characters.load_split(tmp_path)
    writers = [{group for group in getattr(split, part).groups if group} for part in SPLIT_PARTS]
    assert sum(map(len, writers)) == len(set().union(*writers)) == 30
    assert min(map(len, writers)) > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images28": np.zeros((780, 50, 50), np.uint8)}, r"shape \(780, 50, 50\)"),
        ({"images28": np.zeros((780, 28, 28))}, "float64"),
        ({"labels": np.full(780, 26)}, "a label from 0 to 25"),
        ({"labels": np.zeros(779, np.uint8)}, "a label from 0 to 25 and a writer for each of 780"),
        ({"writers": np.zeros(3, np.uint8)}, "a writer for each"),
        ({"writers": np.array([{}] * 780)}, "allow_pickle"),
    ],
)
def test_an_archive_of_something_else_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(CorruptDataError, match=message):
        load_letter_archive(save(tmp_path, **changes), 10)


def test_a_broken_or_swollen_archive_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path)
    whole = path.read_bytes()
    for length in (0, 100, len(whole) // 2):
        path.write_bytes(whole[:length])
        with pytest.raises(CorruptDataError, match="no whole archive"):
            load_letter_archive(path, 10)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("labels.npy", b"")
    with pytest.raises(CorruptDataError, match=r"lacks the array|no whole archive"):
        load_letter_archive(path, 10)
    path.write_bytes(whole)
    monkeypatch.setattr("pipelines.datasets.letter_archive.MAX_BYTES", 1000)
    with pytest.raises(CorruptDataError, match="unpacks to more than 1000 bytes"):
        load_letter_archive(path, 10)
