"""The training mixture of base rows and feedback."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pipelines.data import Examples, FeedbackRows, images_of
from pipelines.errors import DataError
from pipelines.recipe import NetworkRecipe
from pipelines.training.training_mix import feedback_repeats, mix_epoch_rows
from tests.support.image_feedback import image_feedback

Bars = Callable[[int, int], Examples]


def feedback(rows: Examples) -> FeedbackRows:
    return image_feedback(images_of(rows.batch), rows.labels, "feedback", tuple(f"f{i}" for i in range(len(rows))))


def test_without_feedback_the_base_is_taken_whole(bars: Bars, tiny: NetworkRecipe) -> None:
    base = bars(20, 1)
    assert mix_epoch_rows(base, None, tiny).digest == base.digest
    assert mix_epoch_rows(base, feedback(bars(0, 2)), tiny).digest == base.digest


def test_a_cap_takes_the_same_base_rows_every_time(bars: Bars, tiny: NetworkRecipe) -> None:
    recipe = replace(tiny, max_train_rows=7)
    once, again = mix_epoch_rows(bars(20, 1), None, recipe), mix_epoch_rows(bars(20, 1), None, recipe)
    assert len(once) == 7
    assert once.digest == again.digest


def test_feedback_is_repeated_up_to_its_share(bars: Bars, tiny: NetworkRecipe) -> None:
    rows = feedback(bars(30, 2)).training_rows()
    mixed = mix_epoch_rows(bars(90, 1), rows, replace(tiny, feedback_share=0.5, feedback_repeats=50))
    from_feedback = sum(1 for i in mixed.ids if i in set(rows.ids))
    assert from_feedback / len(mixed) >= 0.5
    assert (from_feedback - len(rows)) / (len(mixed) - len(rows)) < 0.5


@pytest.mark.parametrize(("rows", "expected"), [(1, 4), (100, 4), (150, 3), (1000, 1)])
def test_a_row_is_repeated_at_least_once_and_at_most_as_the_recipe_says(
    tiny: NetworkRecipe, rows: int, expected: int
) -> None:
    assert feedback_repeats(1200, rows, replace(tiny, feedback_share=0.25, feedback_repeats=4)) == expected


def test_held_back_feedback_never_enters_the_mixture(bars: Bars, tiny: NetworkRecipe) -> None:
    with pytest.raises(DataError, match="held back for the gate"):
        mix_epoch_rows(bars(20, 1), feedback(bars(30, 2)), tiny)
