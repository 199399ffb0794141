"""A folder of labelled pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.data import images_of
from pipelines.datasets.image_folder import fit_all_to_canvas, fit_to_canvas, load_image_folder
from pipelines.errors import CorruptDataError, DataError, MissingDataError
from pipelines.image.image_examples import image_examples

CLASSES = {"a": 0, "A": 0, "b": 1}


def draw(path: Path, grey: int, size: tuple[int, int] = (8, 8), mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, grey if mode == "L" else (grey,) * 3).save(path)


def test_folders_name_the_classes_and_files_come_in_order(tmp_path: Path) -> None:
    for name, grey in (("b/2.png", 20), ("b/1.png", 10), ("a/x.png", 30), ("A/y.png", 40)):
        draw(tmp_path / name, grey, mode="RGB" if grey == 40 else "L")
    rows = load_image_folder(tmp_path, CLASSES, height=8, width=8)
    assert rows.labels.tolist() == [0, 0, 1, 1]
    assert images_of(rows.batch)[:, 0, 0].tolist() == [40, 30, 10, 20]
    dark = load_image_folder(tmp_path, CLASSES, height=8, width=8, polarity="dark-on-light")
    assert images_of(dark.batch)[:, 0, 0].tolist() == [215, 225, 245, 235]


def test_a_picture_keeps_its_proportions_in_the_middle() -> None:
    tall = fit_to_canvas(np.full((20, 10), 200, np.uint8), 10, 10)
    assert tall.shape == (10, 10)
    assert tall[5].tolist() == [0, 0, *[200] * 5, 0, 0, 0]
    wide = fit_to_canvas(np.full((1, 40), 200, np.uint8), 12, 8)
    assert int((wide > 0).sum()) == 8
    same = np.arange(64, dtype=np.uint8).reshape(8, 8)
    assert np.array_equal(fit_to_canvas(same, 8, 8), same)
    with pytest.raises(DataError, match="fits nowhere"):
        fit_to_canvas(np.zeros((0, 3), np.uint8), 8, 8)


def test_a_whole_set_is_enlarged_with_its_labels_and_writers() -> None:
    rows = image_examples(np.full((2, 4, 4), 9, np.uint8), np.array([1, 0]), "small", groups=("x", "y"))
    large = fit_all_to_canvas(rows, 8, 8)
    assert images_of(large.batch).tolist() == np.full((2, 8, 8), 9).tolist()
    assert (large.labels.tolist(), large.groups, large.name) == ([1, 0], ("x", "y"), "small")
    assert fit_all_to_canvas(rows, 4, 4) is rows


def test_what_is_no_labelled_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no data folder"):
        load_image_folder(tmp_path / "nowhere", CLASSES, height=8, width=8)
    (tmp_path / "a").mkdir()
    with pytest.raises(MissingDataError, match="no PNG or JPEG files"):
        load_image_folder(tmp_path, CLASSES, height=8, width=8)
    draw(tmp_path / "a" / "cut.png", 100, (60, 60))
    whole = (tmp_path / "a" / "cut.png").read_bytes()
    for content in (b"text", whole[:50], b""):
        (tmp_path / "a" / "cut.png").write_bytes(content)
        with pytest.raises(CorruptDataError, match=r"cut\.png is no whole PNG"):
            load_image_folder(tmp_path, CLASSES, height=8, width=8)
    draw(tmp_path / "q" / "1.png", 10)
    with pytest.raises(CorruptDataError, match=r"\['q'\], which are no classes; known: A, a, b"):
        load_image_folder(tmp_path, CLASSES, height=8, width=8)
