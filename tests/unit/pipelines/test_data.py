"""Labelled images, their identity and their splits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from pipelines.batch import Batch
from pipelines.data import (
    HOLDOUT_SHARE,
    Examples,
    FeedbackRows,
    Split,
    content_hash,
    hash_fraction,
    images_of,
    split_by_group,
    split_by_hash,
)
from pipelines.data import is_holdout as is_held_back
from pipelines.errors import DataError
from pipelines.image.image_examples import image_examples
from pipelines.input_row import InputRow
from tests.support.image_feedback import image_feedback

Bars = Callable[[int, int], Examples]


def feedback(rows: Examples) -> FeedbackRows:
    return image_feedback(images_of(rows.batch), rows.labels, "feedback", tuple(f"f{i}" for i in range(len(rows))))


def test_the_same_pixels_have_the_same_identity_and_other_shapes_another() -> None:
    image = np.arange(12, dtype=np.uint8).reshape(3, 4)
    assert content_hash(image) == content_hash(np.asfortranarray(image))
    assert content_hash(image) != content_hash(image.reshape(4, 3))
    assert content_hash(image) == "914b2313dce8ccfc047f829872fce09fceaa3d2ec8c93c3bd5f626a4ac1b257d"


def test_an_identity_of_anything_but_a_grey_byte_image_is_refused() -> None:
    with pytest.raises(DataError, match="float64"):
        content_hash(np.zeros((3, 3)))  # type: ignore[arg-type]


def test_buckets_are_spread_evenly_and_differ_by_salt() -> None:
    values = np.array([hash_fraction(str(i)) for i in range(4000)])
    assert values.min() >= 0
    assert values.max() < 1
    assert np.abs(np.histogram(values, 10, (0, 1))[0] - 400).max() < 80
    assert hash_fraction("7") == hash_fraction("7") != hash_fraction("7", "gate")


def test_about_a_third_of_images_is_held_back() -> None:
    share = np.mean([is_held_back(str(i)) for i in range(3000)])
    assert share == pytest.approx(HOLDOUT_SHARE, abs=0.03)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 4, 4), np.float32), np.zeros(2, np.int64), "float32"),
        (np.zeros((2, 16), np.uint8), np.zeros(2, np.int64), r"\(2, 16\)"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(3, np.int64), r"\(3,\)"),
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int32), "int32"),
    ],
)
def test_wrong_shapes_and_types_are_refused(
    images: np.ndarray[tuple[int, ...], np.dtype[np.uint8]],
    labels: np.ndarray[tuple[int, ...], np.dtype[np.int64]],
    message: str,
) -> None:
    with pytest.raises(DataError, match=message):
        image_examples(images, labels, "bad")


def test_the_digest_depends_on_labels_and_order(bars: Bars) -> None:
    rows = bars(6, 1)
    flipped = image_examples(images_of(rows.batch), 1 - rows.labels, rows.name)
    assert len({rows.digest, flipped.digest, rows.take([5, 4, 3, 2, 1, 0]).digest}) == 3
    assert rows.digest == rows.take(range(6)).digest


def test_rows_are_taken_by_position_and_by_mask(bars: Bars) -> None:
    rows = bars(5, 1)
    assert rows.take([4, 0]).ids == (rows.ids[4], rows.ids[0])
    assert rows.take(np.array([False, True, False, False, True])).ids == (rows.ids[1], rows.ids[4])
    assert len(rows.take([])) == 0


@pytest.mark.parametrize("indices", [[5], [-1], [0.5], [[0, 1]], [True]])
def test_positions_outside_the_set_are_refused(bars: Bars, indices: list[object]) -> None:
    with pytest.raises(DataError, match="give positions from 0 to 4"):
        bars(5, 1).take(indices)  # type: ignore[arg-type]


def test_sets_are_joined_only_when_their_images_have_one_size(bars: Bars) -> None:
    joined = Examples.concat("both", bars(3, 1), bars(2, 2))
    assert (len(joined), joined.name) == (5, "both")
    other = image_examples(np.zeros((1, 9, 9), np.uint8), np.zeros(1, np.int64), "other")
    with pytest.raises(DataError, match=r"image.*mix entries of the shapes"):
        Examples.concat("both", joined, other)
    with pytest.raises(DataError, match="no sets"):
        Examples.concat("none")


def test_a_split_takes_every_row_once_and_keeps_copies_on_one_side(bars: Bars) -> None:
    rows = bars(200, 3)
    doubled = Examples.concat("doubled", rows, rows)
    split = split_by_hash(doubled, {"train": 0.4, "validation": 0.1, "golden": 0.2, "stream": 0.3})
    sides = [set(side.ids) for side in (split.train, split.validation, split.golden, split.stream)]
    assert sum(map(len, sides)) == len(set().union(*sides)) == 200
    assert len(split.train) == 2 * len(sides[0])
    assert split.golden.name == "doubled/golden"


def test_a_split_does_not_move_when_rows_are_added(bars: Bars) -> None:
    shares = {"train": 0.5, "golden": 0.5}
    before = split_by_hash(bars(50, 3), shares)
    after = split_by_hash(Examples.concat("more", bars(50, 3), bars(50, 4)), shares)
    assert set(before.golden.ids) <= set(after.golden.ids)


@pytest.mark.parametrize("shares", [{"test": 1.0}, {"train": 0.8, "golden": 0.4}, {"train": -0.1}, {}])
def test_impossible_shares_are_refused(bars: Bars, shares: dict[str, float]) -> None:
    with pytest.raises(DataError):
        split_by_hash(bars(4, 1), shares)


def test_a_golden_image_among_training_images_is_refused(bars: Bars) -> None:
    rows = bars(4, 1)
    with pytest.raises(DataError, match="1 golden rows are also trained on"):
        Split(rows, bars(2, 2), rows.take([0]), bars(2, 3))


def test_feedback_is_dealt_to_training_and_gate_without_overlap(bars: Bars) -> None:
    rows = feedback(bars(60, 5))
    seen, kept = rows.training_rows(), rows.holdout_rows()
    assert len(seen) + len(kept) == 60
    assert not set(seen.ids) & set(kept.ids)
    assert set(seen.feedback_ids) | set(kept.feedback_ids) == set(rows.feedback_ids)
    assert len(kept) > 0


def test_rows_of_known_images_can_be_left_out(bars: Bars) -> None:
    rows = feedback(bars(4, 5))
    assert rows.exclude({rows.ids[1]}).feedback_ids == ("f0", "f2", "f3")


def test_feedback_without_an_id_per_row_is_refused(bars: Bars) -> None:
    rows = bars(3, 1)
    with pytest.raises(DataError, match="3 rows but 1 feedback ids"):
        image_feedback(images_of(rows.batch), rows.labels, "feedback", ("only",))


def test_a_reported_error_trains_and_never_judges() -> None:
    rows = unique_rows(40)
    flags = tuple(index % 2 == 0 for index in range(40))
    made = image_feedback(images_of(rows.batch), rows.labels, "feedback", tuple(f"f{i}" for i in range(40)), flags)
    judging, training = made.holdout_rows(), made.training_rows()
    assert not any(judging.trains_only)
    assert len(judging) > 0
    assert len(judging) + len(training) == 40
    assert {f"f{i}" for i in range(0, 40, 2)} <= set(training.feedback_ids)
    with pytest.raises(DataError, match="1 flags"):
        image_feedback(images_of(rows.batch), rows.labels, "feedback", made.feedback_ids, (True,))


def unique_rows(count: int) -> Examples:
    images = np.random.default_rng(5).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    return image_examples(images, np.zeros(count, dtype=np.int64), "noise")


def written(count: int, writers: tuple[str, ...]) -> Examples:
    pixels = np.random.default_rng(3).integers(0, 256, (count, 3, 3), dtype=np.uint8)
    return image_examples(pixels, np.zeros(count, dtype=np.int64), "written", groups=writers)


def test_writers_go_with_their_images() -> None:
    rows = written(4, ("a", "b", "", "a"))
    assert rows.take([3, 1]).groups == ("a", "b")
    assert rows.exclude([rows.ids[0]]).groups == ("b", "", "a")
    assert Examples.concat("both", rows, written(2, ())).groups == ("a", "b", "", "a", "", "")
    assert Examples.concat("none", written(2, ()), written(2, ())).groups == ()
    with pytest.raises(DataError, match="4 rows and 1 groups"):
        written(4, ("a",))


def test_no_writer_and_no_image_is_on_two_sides() -> None:
    rows = written(200, tuple(f"w{i % 40}" if i % 5 else "" for i in range(200)))
    copies = replace(rows.take([1, 2]), groups=("w39", "w38"))
    split = split_by_group(Examples.concat("all", rows, copies), {"train": 0.5, "validation": 0.2, "golden": 0.3})
    sides = [split.train, split.validation, split.golden]
    assert sum(len(side) for side in sides) == 202
    assert all(len(side) for side in sides)
    for index, side in enumerate(sides):
        others = [other for place, other in enumerate(sides) if place != index]
        assert not (set(side.groups) - {""}) & {w for other in others for w in other.groups}
        assert not set(side.ids) & {i for other in others for i in other.ids}


def test_without_writers_a_split_by_group_goes_by_the_image() -> None:
    rows = written(50, ())
    parts = {"train": 0.5, "golden": 0.5}
    assert split_by_group(rows, parts).golden.ids == split_by_hash(rows, parts).golden.ids


def events(columns: list[float], keys: tuple[str, ...]) -> Examples:
    """Rows of one column, each an event of its own, one second apart."""
    batch = Batch({"age": np.array(columns)})
    labels, times = np.zeros(len(columns), dtype=np.int64), np.arange(len(columns), dtype=np.float64)
    return Examples(batch, labels, "events", age_rows, keys=keys, times=times)


def age_rows(batch: Batch) -> list[InputRow]:
    return [InputRow("1x1", bytes([int(age)])) for age in batch.array("age")]


def test_rows_with_keys_are_told_apart_though_their_content_is_equal() -> None:
    rows = events([41, 41, 7], ("a", "b", "c"))
    assert rows.ids == ("a", "b", "c")
    assert len(set(rows.content_hashes)) == 2
    assert rows.exclude(["b"]).ids == ("a", "c")
    assert rows.digest != events([41, 7, 41], ("a", "b", "c")).digest


def test_times_and_keys_go_with_their_rows() -> None:
    first, second = events([41, 41, 7], ("a", "b", "c")), events([8], ("d",))
    taken = first.take([2, 0])
    assert taken.times is not None
    assert (taken.keys, taken.times.tolist()) == (("c", "a"), [2.0, 0.0])
    whole = Examples.concat("whole", taken, second)
    assert whole.times is not None
    assert (whole.ids, whole.times.tolist()) == (("c", "a", "d"), [2.0, 0.0, 0.0])
    assert Examples.concat("whole", first, replace(second, times=None)).times is None


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(DataError, match="times of 'events'"):
        replace(events([1], ("a",)), times=np.array([np.nan]))
