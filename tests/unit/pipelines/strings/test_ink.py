"""Scans become ink of one height."""

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.strings.ink import HEIGHT, MARGIN, MAX_WIDTH, MIN_WIDTH, STRETCH, ink_of, network_input
from tests.support.drawn_strings import drawn_string


def test_strokes_are_dark_and_paper_is_nothing_in_any_light() -> None:
    picture, boxes = drawn_string("11")
    ink = ink_of(picture)
    x, y, width, height, _ = boxes[0]
    assert ink[y : y + height, x + width - 3 : x + width].mean() > 0.9
    assert ink[:, :4].mean() < 0.1
    darker = (picture // 2).astype(np.uint8)
    assert np.abs(ink_of(darker) - ink).mean() < 0.05


def test_the_noise_of_empty_paper_is_no_ink() -> None:
    paper = np.random.default_rng(0).normal(200, 2, (40, 100)).astype(np.uint8)
    assert ink_of(paper).max() < 0.5
    assert ink_of(np.full((5, 5), 7, np.uint8)).max() == 0


def test_a_picture_keeps_its_proportions_within_limits() -> None:
    assert network_input(np.full((64, 128), 200, np.uint8)).shape == (1, 1, HEIGHT, round(64 * STRETCH) + 2 * MARGIN)
    assert network_input(np.full((1, 9_000), 200, np.uint8)).shape[3] == MAX_WIDTH + 2 * MARGIN
    assert network_input(np.full((900, 1), 200, np.uint8)).shape[3] == MIN_WIDTH + 2 * MARGIN


@pytest.mark.parametrize("picture", [np.zeros((0, 4), np.uint8), np.zeros((4, 4), np.float32), np.zeros(4, np.uint8)])
def test_what_is_no_grey_picture_is_refused(picture: np.ndarray) -> None:
    with pytest.raises(DataError, match="give grey uint8"):
        ink_of(picture)
