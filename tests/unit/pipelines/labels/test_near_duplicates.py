"""Near-duplicates: found when moved a little, not claimed of what is merely alike."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from pipelines.data import images_of
from pipelines.datasets.idx_files import load_idx_folder
from pipelines.datasets.optdigits import load_optdigits
from pipelines.errors import DataError
from pipelines.image.near_duplicates import fingerprint, near_duplicate_mask
from pipelines.image.simulated_shift import simulate_scanner_shift
from tests.support.bars import Images, seen_again


@pytest.fixture(scope="module")
def digits() -> Images:
    return images_of(load_optdigits().batch)


def test_a_picture_seen_again_is_found(digits: Images) -> None:
    found = near_duplicate_mask(seen_again(digits[:900], 1), digits[:900])
    assert found.mean() >= 0.99


def test_other_pictures_of_the_same_digits_are_not_claimed(digits: Images) -> None:
    assert near_duplicate_mask(digits[900:], digits[:900]).mean() < 0.005
    assert near_duplicate_mask(simulate_scanner_shift(digits[900:], 1), digits[:900]).mean() < 0.005


def test_exact_copies_count_even_where_there_is_nothing_to_see() -> None:
    blank = np.full((2, 28, 28), 7, dtype=np.uint8)
    other = np.full((1, 28, 28), 9, dtype=np.uint8)
    assert near_duplicate_mask(blank, blank[:1]).tolist() == [True, True]
    assert near_duplicate_mask(blank, other).tolist() == [False, False]


def test_nothing_is_like_nothing(digits: Images) -> None:
    assert near_duplicate_mask(digits[:3], digits[:0]).tolist() == [False] * 3
    assert near_duplicate_mask(digits[:0], digits[:3]).tolist() == []


def test_the_answer_does_not_depend_on_what_is_asked_together(digits: Images) -> None:
    candidates = np.concatenate([seen_again(digits[:20], 2), digits[1000:1020]])
    together = near_duplicate_mask(candidates, digits[:100])
    alone = [near_duplicate_mask(candidates[i : i + 1], digits[:100])[0] for i in range(40)]
    assert together.tolist() == [bool(each) for each in alone]


def test_a_fingerprint_ignores_place_light_and_contrast(digits: Images) -> None:
    moved = np.roll(digits[:50], (2, -2), axis=(1, 2)) // 2 + 30
    cosines = (fingerprint(digits[:50]) * fingerprint(moved)).sum(axis=1)
    assert cosines.min() > 0.99


def test_images_of_other_sizes_are_refused(digits: Images) -> None:
    with pytest.raises(DataError, match="resize them first"):
        near_duplicate_mask(digits[:1], np.zeros((1, 12, 12), dtype=np.uint8))


@pytest.mark.slow
@pytest.mark.skipif("PLATFORM_TEST_MNIST_DIR" not in os.environ, reason="PLATFORM_TEST_MNIST_DIR names no MNIST folder")
def test_on_mnist_copies_are_found_and_strangers_are_not_claimed() -> None:
    train, test = load_idx_folder(Path(os.environ["PLATFORM_TEST_MNIST_DIR"]))
    protected = images_of(test.batch)[:3_000]
    assert near_duplicate_mask(seen_again(protected[:1_000], 3), protected).mean() >= 0.98
    assert near_duplicate_mask(images_of(train.batch)[:5_000], protected).mean() < 0.005
