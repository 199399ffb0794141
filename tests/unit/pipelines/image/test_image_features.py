"""Plain measures of a picture."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.errors import DataError
from pipelines.image.corruptions import mild_corruptions
from pipelines.image.image_statistics import STATISTICS, image_statistics
from pipelines.image.simulated_shift import simulate_scanner_shift

Images = NDArray[np.uint8]


@pytest.fixture(scope="module")
def digits() -> Images:
    return images_of(load_optdigits().batch)[:600]


def bar(height: int = 20, width: int = 20, columns: slice = slice(8, 12), light: int = 200) -> Images:
    picture = np.zeros((1, height, width), dtype=np.uint8)
    picture[0, 4:16, columns] = light
    return picture


def middle(images: Images, name: str) -> float:
    return float(np.median(image_statistics(images)[name]))


def test_every_measure_is_finite_for_any_picture() -> None:
    generator = np.random.default_rng(0)
    odd = np.concatenate(
        [
            np.zeros((1, 9, 7), dtype=np.uint8),
            np.full((1, 9, 7), 255, dtype=np.uint8),
            generator.integers(0, 256, (50, 9, 7), dtype=np.uint8),
        ]
    )
    found = image_statistics(odd)
    assert list(found) == list(STATISTICS)
    assert all(values.shape == (52,) and np.isfinite(values).all() for values in found.values())


def test_a_picture_of_one_colour_has_no_ink_and_its_centre_is_the_middle() -> None:
    found = {name: values[0] for name, values in image_statistics(np.full((1, 8, 8), 90, dtype=np.uint8)).items()}
    assert (found["mean"], found["ground"]) == (pytest.approx(90 / 255), pytest.approx(90 / 255))
    assert (found["centre_x"], found["centre_y"]) == (0.5, 0.5)
    nothing = ("contrast", "ink_share", "slant", "stroke_width", "sharpness", "noise", "deviation")
    assert [found[name] for name in nothing] == pytest.approx([0.0] * len(nothing))


def test_a_bar_measures_as_it_was_drawn() -> None:
    found = {name: values[0] for name, values in image_statistics(bar()).items()}
    assert found["ink_share"] == pytest.approx(12 * 4 / 400)
    assert found["contrast"] == pytest.approx(200 / 255)
    assert found["slant"] == pytest.approx(0.0, abs=1e-9)
    assert found["centre_x"] == pytest.approx(9.5 / 19)
    assert found["stroke_width"] == pytest.approx(2 * 48 / (2 * 12 + 2 * 4) / 20)


def test_no_pictures_give_no_numbers() -> None:
    assert all(values.shape == (0,) for values in image_statistics(np.zeros((0, 8, 8), dtype=np.uint8)).values())


def test_chunks_change_nothing(digits: Images) -> None:
    whole, single = image_statistics(digits), [image_statistics(digits[i : i + 1]) for i in (0, 511, 512, 599)]
    for name in STATISTICS:
        assert [part[name][0] for part in single] == pytest.approx(whole[name][[0, 511, 512, 599]].tolist())


@pytest.mark.parametrize(
    ("name", "change", "rises"),
    [
        ("mean", lambda images: np.clip(images.astype(int) + 40, 0, 255).astype(np.uint8), True),
        ("ground", lambda images: np.maximum(images, 40), True),
        ("contrast", lambda images: mild_corruptions(images)["contrast"], False),
        ("sharpness", lambda images: ndimage.gaussian_filter(images, (0, 1, 1)), False),
        ("noise", lambda images: mild_corruptions(images)["noise"], True),
        ("stroke_width", lambda images: ndimage.grey_dilation(images, (1, 3, 3)), True),
        ("centre_x", lambda images: np.roll(images, 2, axis=2), True),
        ("centre_y", lambda images: np.roll(images, 2, axis=1), True),
        ("noise", lambda images: simulate_scanner_shift(images, 0), True),
    ],
)
def test_a_change_of_the_pictures_moves_its_measure(
    digits: Images, name: str, change: Callable[[Images], Images], rises: bool
) -> None:
    before, after = middle(digits, name), middle(change(digits), name)
    assert (after > before) if rises else (after < before)


def test_a_slanted_pen_has_a_slant_to_its_side() -> None:
    upright = bar(21, 21)
    right = np.stack([np.roll(row, (10 - place) // 3) for place, row in enumerate(upright[0])])[None]
    left = right[:, :, ::-1].copy()
    assert image_statistics(right)["slant"][0] == pytest.approx(1 / 3, abs=0.1)
    assert image_statistics(left)["slant"][0] == pytest.approx(-1 / 3, abs=0.1)


def test_light_that_slopes_over_the_ground_is_no_noise() -> None:
    slope = np.broadcast_to(np.linspace(0, 60, 20).astype(np.uint8), (1, 20, 20))
    sloped = np.maximum(bar(), slope)
    noisy = np.clip(sloped + np.random.default_rng(1).normal(0, 10, sloped.shape), 0, 255).astype(np.uint8)
    assert image_statistics(sloped)["noise"][0] < 0.006 < 0.02 < image_statistics(noisy)["noise"][0]


@pytest.mark.parametrize(
    "images",
    [np.zeros((2, 2, 9), np.uint8), np.zeros((9, 9), np.uint8), np.zeros((2, 9, 9), np.float32)],
)
def test_what_is_no_picture_is_refused_with_the_remedy(images: NDArray[np.uint8]) -> None:
    with pytest.raises(DataError, match=r"cannot be measured; give uint8 \(n, height, width\)"):
        image_statistics(images)
