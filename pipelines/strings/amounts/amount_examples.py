"""Labelled amounts as rows of a pipeline: scans of a folder, or strings that are drawn of the bundled digits."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipelines.data import Examples, Split, image_batch, image_rows, images_of, split_by_hash
from pipelines.datasets.optdigits import load_optdigits
from pipelines.strings.amounts.canvas import HEIGHT, WIDTH, from_canvas, to_canvas
from pipelines.strings.drawing.digit_glyphs import DigitGlyphs, glyphs_of_digits
from pipelines.strings.drawing.string_augmentation import augmented
from pipelines.strings.drawing.synthetic_strings import synthetic_string
from pipelines.strings.drawing.written_string import WrittenString
from pipelines.strings.ink import ink_of
from pipelines.strings.string_alphabet import DIGITS
from pipelines.strings.string_examples import StringExample, load_string_folder, split_strings
from registry.prediction_task import Sequence as SequenceTask

LONGEST: Final = 9
TASK: Final = SequenceTask(DIGITS, LONGEST)
DIGIT_FRACTIONS: Final = {"train": 0.4, "validation": 0.1, "golden": 0.25, "stream": 0.25}
DRAWN_ROWS: Final = {"train": 300, "validation": 100, "golden": 200, "stream": 300}
"""Strings that are drawn where no folder is given; each side of digits of its own."""


def load_amounts(folder: Path | None) -> Split:
    """The scans of a folder as ORAND-CAR-A is kept, its test part golden; without one, strings of bundled digits."""
    if folder is None:
        return _drawn_split()
    parts = split_strings(load_string_folder(folder))
    return Split(
        train=scanned_rows(parts.train, "amounts/train"),
        validation=scanned_rows(parts.validation, "amounts/validation"),
        golden=scanned_rows(parts.test, "amounts/golden"),
        stream=scanned_rows((), "amounts/stream"),
    )


def scanned_rows(examples: Sequence[StringExample], name: str) -> Examples:
    """Scans as a server would keep them; what is longer than an answer may be is left out."""
    fitting = [example for example in examples if len(example.text) <= LONGEST]
    return _rows([to_canvas(example.picture) for example in fitting], [example.text for example in fitting], name)


def bundled_glyphs() -> DigitGlyphs:
    """The bundled digits that strings are drawn of while training."""
    return glyphs_of_digits(split_by_hash(load_optdigits(), DIGIT_FRACTIONS).train)


def written_rows(rows: Examples, weights: Sequence[float]) -> list[WrittenString]:
    """Labelled rows as strings that train, each as often as its weight says; where its characters stand is unknown."""
    nowhere = np.zeros((0, 2), np.float32)
    return [
        WrittenString(ink_of(from_canvas(image)), TASK.label(number), nowhere, weight)
        for image, number, weight in zip(images_of(rows.batch), rows.labels.tolist(), weights, strict=True)
        if number
    ]


def _drawn_split() -> Split:
    digits = split_by_hash(load_optdigits(), DIGIT_FRACTIONS)
    sides = {}
    for seed, (side, count) in enumerate(DRAWN_ROWS.items()):
        glyphs, rng = glyphs_of_digits(getattr(digits, side)), np.random.default_rng(seed)
        drawn = [augmented(synthetic_string(glyphs, rng), rng) for _ in range(count)]
        pictures = [np.rint(255 * (1 - string.ink)).astype(np.uint8) for string in drawn]
        sides[side] = _rows(
            [to_canvas(picture) for picture in pictures], [string.text for string in drawn], f"drawn amounts/{side}"
        )
    return Split(**sides)


def _rows(images: Sequence[NDArray[np.uint8]], texts: Sequence[str], name: str) -> Examples:
    stacked = np.stack(images) if images else np.zeros((0, HEIGHT, WIDTH), np.uint8)
    numbers = np.array([TASK.number(text) for text in texts], dtype=np.int64)
    return Examples(image_batch(stacked), numbers, name, lambda batch: image_rows(images_of(batch)))
