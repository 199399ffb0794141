"""The baseline's cuts."""

import numpy as np
from numpy.typing import NDArray

from pipelines.strings.segmentation import read_by_segments, segment_digits
from tests.support.drawn_strings import drawn_digit, drawn_string


def nearest_drawn(digits: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Which drawn digit each is most like."""
    models = (
        np.stack(
            [
                segment_digits(np.pad(200 - 130 * drawn_digit(each), 6, constant_values=200).astype(np.uint8))[0]
                for each in range(10)
            ]
        )
        .reshape(10, -1)
        .astype(np.float32)
    )
    distance = np.square(digits.reshape(-1, 1, 28 * 28).astype(np.float32) - models).sum(axis=2)
    nearest: NDArray[np.float32] = (distance == distance.min(axis=1, keepdims=True)).astype(np.float32)
    return nearest


def test_digits_that_stand_apart_are_cut_and_read() -> None:
    picture, _ = drawn_string("4072")
    assert read_by_segments(picture, nearest_drawn) == ("4072", 1.0)


def test_touching_digits_are_cut_at_the_narrowest_place() -> None:
    picture, boxes = drawn_string("00")
    y = boxes[0][1] + 14
    picture[y : y + 2, boxes[0][0] : boxes[1][0] + 4] = 60
    assert len(segment_digits(picture)) == 2


def test_dots_rules_and_empty_paper_are_no_digits() -> None:
    picture, boxes = drawn_string("23")
    bottom = boxes[0][1] + boxes[0][3]
    picture[bottom - 3 : bottom, boxes[0][0] + 16 : boxes[0][0] + 18] = 60
    picture[-2:, :] = 60
    assert len(segment_digits(picture)) == 2
    assert read_by_segments(np.full((40, 90), 200, np.uint8), nearest_drawn) == ("", 0.0)
