"""The bundled optical digits."""

from __future__ import annotations

import numpy as np

from pipelines.data import images_of
from pipelines.datasets.optdigits import load_optdigits


def test_the_bundled_scans_look_like_mnist() -> None:
    digits = load_optdigits()
    assert images_of(digits.batch).shape == (1797, 28, 28)
    assert images_of(digits.batch).max() == 255
    assert images_of(digits.batch)[:, :4].max() == images_of(digits.batch)[:, :, -4:].max() == 0
    assert np.bincount(digits.labels).min() > 170


def test_the_bundled_scans_never_change() -> None:
    assert load_optdigits().digest == "0189bff8648e9e5de109acef24bfd04d11654d744ccdf0e7b737e0d40e3b4121"
    assert len(set(load_optdigits().ids)) == 1797
