"""Traffic that repeats itself is learnt and judged, and no picture is on both sides."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pipelines.data import Examples, FeedbackRows, images_of
from pipelines.datasets.optdigits import load_optdigits
from pipelines.image.image_examples import image_examples
from pipelines.image.near_duplicates import CHUNK_ROWS, first_occurrence_indices, near_duplicate_mask
from pipelines.inputs.image_codec import ImageCodec
from pipelines.labels.label_curation import exclude_cross_duplicates, separate_near_duplicates
from tests.support.image_feedback import image_feedback

CODEC = ImageCodec(28, 28)


@pytest.fixture(scope="module")
def digits() -> Examples:
    return load_optdigits()


def again(images: Examples, times: int, seed: int = 0) -> Examples:
    """Every picture seen so many times, each time a little moved and noisy."""
    generator = np.random.default_rng(seed)
    seen = []
    for turn in range(times):
        moved = np.roll(images_of(images.batch), (turn % 3 - 1, turn % 2), axis=(1, 2))
        seen.append(np.clip(moved + generator.normal(0, 2, moved.shape), 0, 255).astype(np.uint8))
    return image_examples(np.concatenate(seen), np.tile(images.labels, times), "again")


def feedback(images: Examples) -> FeedbackRows:
    return image_feedback(
        images_of(images.batch), images.labels, "feedback", tuple(f"f{i:06d}" for i in range(len(images)))
    )


@pytest.mark.parametrize(("pictures", "times"), [(60, 12), (8, 150)])
def test_of_traffic_that_repeats_itself_both_sides_keep_their_part(digits: Examples, pictures: int, times: int) -> None:
    rows = feedback(again(digits.take(range(pictures)), times))
    training, judging = rows.training_rows(), rows.holdout_rows()
    stay, judge = separate_near_duplicates(training, judging, CODEC)
    assert stay.sum() > 0.4 * len(training)
    assert judge.sum() > 0.05 * len(judging)
    assert not near_duplicate_mask(images_of(training.take(stay).batch), images_of(judging.take(judge).batch)).any()


def test_traffic_that_does_not_repeat_itself_stays_as_it_is(digits: Examples) -> None:
    rows = feedback(digits.take(range(600)))
    stay, judge = separate_near_duplicates(rows.training_rows(), rows.holdout_rows(), CODEC)
    assert stay.mean() > 0.97
    assert judge.mean() > 0.97


def test_who_sends_the_pictures_of_the_gate_again_takes_none_of_them_away(digits: Examples) -> None:
    first = feedback(digits.take(range(200))).holdout_rows()
    copies = again(digits.take(range(200)), 4)
    later = image_feedback(
        images_of(copies.batch), copies.labels, "later", tuple(f"g{i:06d}" for i in range(len(copies)))
    )
    stay, judge = separate_near_duplicates(later.training_rows(), first, CODEC)
    assert judge.all()
    teaching, held, aside = exclude_cross_duplicates(later.training_rows(), first, CODEC)
    assert len(held) == len(first)
    assert {each.reason for each in aside} == {"near-duplicate of a held image"}
    assert len(teaching) == stay.sum()


def test_a_reported_error_never_takes_a_row_from_the_gate_even_if_it_came_first(digits: Examples) -> None:
    rows = feedback(digits.take(range(300)))
    judging = rows.holdout_rows()
    early = image_feedback(
        images_of(judging.batch), judging.labels, "early", tuple(f"a{i:03d}" for i in range(len(judging)))
    )
    stay, judge = separate_near_duplicates(replace(early, trains_only=(True,) * len(early)), judging, CODEC)
    assert judge.all()
    assert not stay.any()


def test_a_chain_of_pictures_is_not_one_picture(digits: Examples) -> None:
    base = images_of(digits.batch)[0]
    chain = np.stack([np.roll(base, step, axis=1) for step in range(9)])
    found = first_occurrence_indices(chain)
    assert found[1] == 0
    assert (found <= np.arange(len(chain))).all()
    assert (found[found] == found).all()


def test_copies_are_known_beyond_a_chunk(digits: Examples) -> None:
    rows = np.concatenate([images_of(digits.batch)[:CHUNK_ROWS], images_of(digits.batch)[:50]])
    found = first_occurrence_indices(rows)
    assert (found[CHUNK_ROWS:] == found[:50]).all()
    assert len(first_occurrence_indices(rows[:0])) == 0
