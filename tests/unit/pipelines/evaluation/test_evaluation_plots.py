"""Charts of a judgement."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from pipelines.candidate.plots import reliability_diagram
from pipelines.errors import DataError
from pipelines.evaluation.image_figures import confused_images
from registry.calibration_metrics import reliability_bins

CLASSES = ("a", "b")


def size(png: bytes) -> tuple[int, int]:
    with Image.open(io.BytesIO(png)) as image:
        image.load()
        assert image.format == "PNG"
        return image.size


def test_a_reliability_diagram_is_a_png_and_follows_the_answers() -> None:
    confidence = np.linspace(0.5, 1.0, 100)
    good = reliability_diagram(reliability_bins(confidence, np.ones(100, dtype=np.bool_)), "good")
    bad = reliability_diagram(reliability_bins(confidence, np.zeros(100, dtype=np.bool_)), "good")
    assert size(good) == size(bad)
    assert good != bad


def test_each_confused_pair_has_a_line_of_its_own_pictures() -> None:
    images = np.zeros((3, 12, 12), np.uint8)
    images[1] = 255
    labels, answers = np.array([0, 1, 0]), np.array([1, 0, 1])
    one = confused_images(images, labels, answers, [(0, 1, 2)], CLASSES)
    two = confused_images(images, labels, answers, [(0, 1, 2), (1, 0, 1)], CLASSES)
    assert size(two)[1] > size(one)[1]
    assert size(two)[0] == size(one)[0]


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(DataError, match="no answers"):
        reliability_diagram(reliability_bins(np.zeros(0), np.zeros(0, dtype=np.bool_)), "none")
    with pytest.raises(DataError, match="no pair"):
        confused_images(np.zeros((1, 12, 12), np.uint8), np.zeros(1, np.int64), np.zeros(1, np.int64), [], CLASSES)
