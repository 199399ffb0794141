"""Folders of strings: what is read, what is refused, and on which part each picture lies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.errors import CorruptDataError, MissingDataError
from pipelines.strings.string_examples import load_string_folder, load_strings, split_strings
from tests.support.drawn_strings import drawn_string, write_string_folder


def test_pictures_come_with_their_texts_and_boxes(tmp_path: Path) -> None:
    first, second = load_string_folder(write_string_folder(tmp_path / "car", ["407", "12"]))
    assert (first.text, second.text) == ("407", "12")
    assert first.boxes.shape == (3, 4)
    assert np.array_equal(first.picture, drawn_string("407", seed=0)[0])


def test_boxes_may_be_unknown_and_empty_lines_are_nothing(tmp_path: Path) -> None:
    folder = write_string_folder(tmp_path / "car", ["407"])
    (folder / "labels.jsonl").write_text('\n{"file": "0.png", "amount": "407"}\n\n')
    [example] = load_string_folder(folder)
    assert example.boxes.shape == (0, 4)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "line 1: not JSON"),
        ("[1]", "no JSON object"),
        ('{"amount": "1"}', "file 'None' is no plain name"),
        ('{"file": "../0.png", "amount": "407"}', "no plain name"),
        ('{"file": "0.png", "amount": 407}', "amount '407'; give 1 to 20 digits"),
        ('{"file": "0.png", "amount": "4,07"}', "amount '4,07'"),
        ('{"file": "0.png", "amount": "407", "boxes": [[0, 0, 1, 1, 4]]}', "not one for each of 3 digits"),
        ('{"file": "0.png", "amount": "4", "boxes": [[0, 0, 1, 1, 5]]}', "of 5 where the amount has 4"),
        ('{"file": "0.png", "amount": "4", "boxes": [[0, 0, 1, 900, 4]]}', "leaves the picture"),
        ('{"file": "0.png", "amount": "4", "boxes": [[0, 0, 1, "1", 4]]}', "as whole numbers"),
        ("", "names no picture"),
    ],
)
def test_a_bad_line_is_refused_by_its_number_and_value(tmp_path: Path, line: str, words: str) -> None:
    folder = write_string_folder(tmp_path / "car", ["407"])
    (folder / "labels.jsonl").write_text(line)
    with pytest.raises(CorruptDataError, match=words):
        load_string_folder(folder)


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDataError, match="no data folder"):
        load_string_folder(tmp_path / "nowhere")
    folder = write_string_folder(tmp_path / "car", ["407"])
    with pytest.raises(MissingDataError, match="no file of labels"):
        load_strings(folder / "other.jsonl", folder / "images")
    (folder / "images" / "0.png").unlink()
    with pytest.raises(MissingDataError, match=r"no picture .*0\.png"):
        load_string_folder(folder)


def test_a_file_that_is_no_picture_or_too_large_is_refused(tmp_path: Path) -> None:
    folder = write_string_folder(tmp_path / "car", ["407"])
    (folder / "images" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(CorruptDataError, match="no JPEG or PNG"):
        load_string_folder(folder)
    Image.new("1", (4_001, 1_000)).save(folder / "images" / "0.png")
    with pytest.raises(CorruptDataError, match="4001x1000 pixels"):
        load_string_folder(folder)


def test_the_parts_depend_on_the_pictures_alone(tmp_path: Path) -> None:
    texts = [str(number) for number in range(100, 400)]
    examples = load_string_folder(write_string_folder(tmp_path / "car", texts))
    split = split_strings(examples)
    again = split_strings(examples[::-1])
    assert {e.name for e in split.test} == {e.name for e in again.test}
    assert len(split.train) + len(split.validation) + len(split.test) == len(texts)
    assert 40 <= len(split.test) <= 95
    assert 15 <= len(split.validation) <= 55


def test_copies_of_a_picture_lie_on_one_part(tmp_path: Path) -> None:
    folder = write_string_folder(tmp_path / "car", ["407"] * 1)
    line = {"file": "0.png", "amount": "407"}
    (folder / "labels.jsonl").write_text("\n".join(json.dumps(line) for _ in range(6)))
    split = split_strings(load_string_folder(folder))
    assert sorted(map(len, (split.train, split.validation, split.test))) == [0, 0, 6]
