"""Pictures of handwritten strings with their texts, read from a folder and dealt to training, validation and test."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipelines.data import content_hash, hash_fraction
from pipelines.errors import CorruptDataError, DataError, MissingDataError
from pipelines.strings.string_alphabet import DIGITS

LABELS_FILE, IMAGES_FOLDER = "labels.jsonl", "images"
MAX_LENGTH: Final = 20
MAX_LABELS_BYTES: Final = 64 * 1024 * 1024
MAX_PIXELS: Final = 4_000_000
"""Of one picture: a whole cheque at 300 dots an inch has about three million."""
TRAIN_SHARE, VALIDATION_SHARE = 0.67, 0.11
"""The rest, more than a fifth, is the test part."""


@dataclass(frozen=True, eq=False)
class StringExample:
    """One picture, uint8 (height, width), ink dark on light, with the text that is written in it.

    `boxes` (n, 4) say where each character stands, as x, y, width and height in pixels; none where nobody knows.
    """

    name: str
    picture: NDArray[np.uint8]
    text: str
    boxes: NDArray[np.int64]

    @cached_property
    def content_hash(self) -> str:
        """The identity of the picture: copies under other names have the same."""
        return content_hash(self.picture)


@dataclass(frozen=True, eq=False)
class StringSplit:
    """The three parts of one folder. What is chosen is chosen on validation; the test part judges, once."""

    train: tuple[StringExample, ...]
    validation: tuple[StringExample, ...]
    test: tuple[StringExample, ...]


def load_string_folder(folder: Path) -> tuple[StringExample, ...]:
    """The examples of a folder that holds `labels.jsonl` and `images/`, as ORAND-CAR-A is kept."""
    if not folder.is_dir():
        raise MissingDataError(f"no data folder {folder}; give the folder that holds {LABELS_FILE} and {IMAGES_FOLDER}")
    return load_strings(folder / LABELS_FILE, folder / IMAGES_FOLDER)


def load_strings(labels: Path, images: Path) -> tuple[StringExample, ...]:
    """One example for each line of the file of labels: JSON with `file`, `amount` and, where known, `boxes`.

    A box is [x, y, width, height, digit]. Raises MissingDataError or CorruptDataError naming line and value.
    """
    examples = []
    for number, line in enumerate(_lines(labels), start=1):
        if line.strip():
            examples.append(_example(line, f"{labels.name}, line {number}", images))
    if not examples:
        raise CorruptDataError(f"{labels.name} names no picture; give one JSON object a line")
    return tuple(examples)


def split_strings(examples: Sequence[StringExample]) -> StringSplit:
    """Deal the examples by the hash of their pictures, so that each stays where it is when others come."""
    parts: tuple[list[StringExample], ...] = ([], [], [])
    for example in examples:
        place = hash_fraction(example.content_hash, "split")
        parts[(place >= TRAIN_SHARE) + (place >= TRAIN_SHARE + VALIDATION_SHARE)].append(example)
    return StringSplit(*(tuple(part) for part in parts))


def _lines(labels: Path) -> list[str]:
    try:
        if labels.stat().st_size > MAX_LABELS_BYTES:
            raise CorruptDataError(f"{labels.name} is longer than {MAX_LABELS_BYTES} bytes; cut it into parts")
        return labels.read_text(encoding="utf-8").split("\n")
    except FileNotFoundError as error:
        raise MissingDataError(f"no file of labels {labels}; give one with a JSON object a line") from error
    except UnicodeDecodeError as error:
        raise CorruptDataError(f"{labels.name} is not UTF-8 ({error.reason} at byte {error.start})") from error


def _example(line: str, where: str, images: Path) -> StringExample:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise CorruptDataError(f"{where}: not JSON ({error}); give an object with file and amount") from error
    if not isinstance(row, dict):
        raise CorruptDataError(f"{where}: {line.strip()[:80]!r} is no JSON object; give one with file and amount")
    name, text = row.get("file"), row.get("amount")
    if not isinstance(name, str) or name in ("", ".", "..") or {"/", "\\", "\0"} & set(name):
        raise CorruptDataError(f"{where}: file {str(name)[:80]!r} is no plain name; name a picture of {images.name}")
    if not isinstance(text, str) or not 1 <= len(text) <= MAX_LENGTH or not set(text) <= set(DIGITS):
        raise CorruptDataError(f"{where}: amount {str(text)[:80]!r}; give 1 to {MAX_LENGTH} digits as text")
    picture = read_picture(images / name)
    return StringExample(name, picture, text, _boxes(row.get("boxes", []), text, picture.shape, where))


def _boxes(listed: object, text: str, size: tuple[int, ...], where: str) -> NDArray[np.int64]:
    if listed == []:
        return np.zeros((0, 4), np.int64)
    if not isinstance(listed, list) or len(listed) != len(text):
        raise CorruptDataError(f"{where}: boxes are not one for each of {len(text)} digits; mend or leave them out")
    for box, digit in zip(listed, text, strict=True):
        _check_box(box, digit, size, where)
    return np.array([box[:4] for box in listed], np.int64)


def _check_box(box: object, digit: str, size: tuple[int, ...], where: str) -> None:
    if not isinstance(box, list) or len(box) != 5 or not all(type(value) is int for value in box):
        raise CorruptDataError(f"{where}: box {str(box)[:80]}; give [x, y, width, height, digit] as whole numbers")
    x, y, width, height, named = box
    if str(named) != digit:
        raise CorruptDataError(f"{where}: box {box} is of {named} where the amount has {digit}; mend one of them")
    if min(x, y) < 0 or min(width, height) < 1 or x + width > size[1] or y + height > size[0]:
        raise CorruptDataError(f"{where}: box {box} leaves the picture of {size[1]}x{size[0]}; mend it")


def read_picture(path: Path) -> NDArray[np.uint8]:
    """The greys (height, width) of one JPEG or PNG; raises MissingDataError or CorruptDataError."""
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise CorruptDataError(f"{path.name} has {opened.width}x{opened.height} pixels; cut the amount out")
            return np.asarray(opened.convert("L"), dtype=np.uint8)
    except FileNotFoundError as error:
        raise MissingDataError(f"no picture {path}; the labels name it") from error
    except DataError:
        raise
    except Exception as error:  # Pillow raises anything on a broken file; all mean one thing
        raise CorruptDataError(f"{path.name} is no JPEG or PNG that can be read ({str(error)[:120]})") from error
