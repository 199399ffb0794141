"""Pictures disturbed in fixed ways."""

from __future__ import annotations

import numpy as np

from pipelines.data import images_of
from pipelines.image.corruptions import MILD_NOISE, mild_corruptions
from tests.support.bars import draw_bars

IMAGES = images_of(draw_bars(20, 1).batch)


def test_every_kind_keeps_shape_and_type_and_changes_the_pictures() -> None:
    seen = mild_corruptions(IMAGES)
    assert list(seen) == ["blur", "contrast", "noise", "shift"]
    for images in seen.values():
        assert images.shape == IMAGES.shape
        assert images.dtype == np.uint8
        assert (images != IMAGES).any(axis=(1, 2)).all()


def test_a_picture_is_always_disturbed_alike_in_any_company() -> None:
    whole, some = mild_corruptions(IMAGES), mild_corruptions(IMAGES[[7, 3]])
    for kind, images in some.items():
        assert (images == whole[kind][[7, 3]]).all()


def test_each_kind_does_what_its_name_says() -> None:
    grey = np.full((400, 28, 28), 128, dtype=np.uint8)
    grey[:, 14, 14] = np.arange(400) % 100  # so that no two draw the same noise
    seen = mild_corruptions(grey)
    assert abs(float((seen["noise"].astype(float) - grey)[:, :10].std()) - MILD_NOISE) < 1.0
    picture = np.zeros((1, 28, 28), dtype=np.uint8)
    picture[0, 10, 12] = 255
    seen = mild_corruptions(picture)
    down, right = (np.argwhere(seen["shift"][0] == 255)[0] - (10, 12)).tolist()
    assert (abs(down), abs(right)) == (2, 2)
    assert 0 < seen["blur"].max() < 60
    assert 100 < np.ptp(seen["contrast"]) < 130


def test_no_pictures_stay_none() -> None:
    assert all(images.shape == (0, 12, 12) for images in mild_corruptions(IMAGES[:0]).values())
