"""Corruptions of pictures at stated levels."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.errors import DataError
from pipelines.image.corruptions import SEVERITIES, corrupt

IMAGES = images_of(load_optdigits().batch)[:40]


@pytest.mark.parametrize("kind", SEVERITIES)
def test_a_higher_level_changes_pictures_more_and_keeps_their_form(kind: str) -> None:
    seen = [corrupt(IMAGES, kind, level) for level in (1, 2, 3)]
    assert all(each.shape == IMAGES.shape and each.dtype == np.uint8 for each in seen)
    harm = [np.abs(each.astype(float) - IMAGES).mean() for each in seen]
    assert 0 < harm[0] < harm[1] < harm[2]


@pytest.mark.parametrize("kind", SEVERITIES)
def test_a_picture_is_always_corrupted_alike_in_any_company(kind: str) -> None:
    whole, some = corrupt(IMAGES, kind, 2), corrupt(IMAGES[[7, 3]], kind, 2)
    assert (some == whole[[7, 3]]).all()


def test_each_kind_does_what_its_name_says() -> None:
    bar = np.zeros((1, 28, 28), dtype=np.uint8)
    bar[0, 6:22, 13:16] = 255
    thin, thick = (int((corrupt(bar, kind, 3) > 127).sum()) for kind in ("thin strokes", "thick strokes"))
    assert thin < int((bar > 127).sum()) < thick
    assert int(np.ptp(corrupt(bar, "contrast", 2))) == pytest.approx(77, abs=2)
    rows, columns = np.nonzero(corrupt(bar, "shift", 1)[0])
    assert (abs(int(rows.min()) - 6), abs(int(columns.min()) - 13)) == (2, 2)
    assert (corrupt(bar, "occlusion", 3) <= bar).all()


def test_an_unknown_kind_or_level_is_refused() -> None:
    with pytest.raises(DataError, match="fog"):
        corrupt(IMAGES, "fog", 1)
    with pytest.raises(DataError, match="level 4"):
        corrupt(IMAGES, "noise", 4)
    assert len(corrupt(IMAGES[:0], "noise", 1)) == 0
