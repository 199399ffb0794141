"""The benchmark of letters: how writers are dealt, and what its figures mean."""

from __future__ import annotations

import numpy as np

from benchmarks.letters import FOLDS, fold_of_rows, monitor_forecasts, summary, writer_interval
from pipelines.builtin.characters import CLASSES
from pipelines.data import Examples
from pipelines.image.image_examples import image_examples


def rows(labels: list[int], groups: list[str]) -> Examples:
    images = np.random.default_rng(0).integers(0, 256, (len(labels), 28, 28), dtype=np.uint8)
    return image_examples(images, np.array(labels), "characters", groups=tuple(groups))


def test_a_writers_rows_are_in_one_fold_and_folds_are_alike() -> None:
    groups = [f"letters/{number % 35}" for number in range(140)] + ["4/0001", "4/0001", "", ""]
    folds = fold_of_rows(rows([10] * 144, groups))
    by_writer = {group: set(folds[np.array(groups) == group]) for group in groups if group}
    assert all(len(each) == 1 for each in by_writer.values())
    assert np.bincount(folds[:140], minlength=FOLDS).tolist() == [28] * FOLDS


def test_letters_digits_and_pairs_are_counted_apart() -> None:
    place = CLASSES.index
    truths = [place(each) for each in "0011AAOOBB"]
    answers = np.array([place(each) for each in "0O11ABO0BB"])
    groups = ["4/1"] * 4 + ["letters/1", "letters/2"] * 3
    found = summary(rows(truths, groups), answers)
    assert (found["letters"], found["accuracy"], found["digits"]) == (6, round(4 / 6, 4), 0.75)
    assert found["all_right_or_alike"] == 0.9
    assert sorted(found["confused"]) == [["0", "O", 1], ["A", "B", 1], ["O", "0", 1]]
    assert (found["writers"], found["worst_writer"]) == (2, round(1 / 3, 4))


def test_the_interval_draws_writers() -> None:
    alike = [[True] * 9 + [False]] * 20
    assert writer_interval(alike) == (0.9, 0.9), "writers who are alike leave no doubt"
    low, high = writer_interval([[True] * 10] * 10 + [[False] * 10] * 10)
    assert low < 0.35 < 0.65 < high


def test_more_classes_find_less_at_the_same_rate_of_labels() -> None:
    few, many = monitor_forecasts(10), monitor_forecasts(36)
    assert few.keys() == many.keys()
    assert all("misread" in text or "nothing is found" in text for text in (*few.values(), *many.values()))
    assert few != many
