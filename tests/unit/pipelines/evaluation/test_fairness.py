"""Fairness between groups of rows."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from pipelines.errors import DataError
from pipelines.evaluation.group_fairness import MIN_GROUP_ROWS, compare_groups

CLASSES = ("a", "b")


def rows(shares: dict[str, float], each: int, seed: int = 0) -> tuple[NDArray[np.bool_], NDArray[np.int64], list[str]]:
    """`each` rows per group, right as often as its share says; classes in turns."""
    generator = np.random.default_rng(seed)
    right = np.concatenate([generator.random(each) < share for share in shares.values()])
    labels = np.arange(len(right), dtype=np.int64) % 2
    return right, labels, [name for name in shares for _ in range(each)]


def test_a_group_that_is_read_worse_is_found_with_its_gap_and_interval() -> None:
    right, labels, tags = rows({"staff": 0.98, "students": 0.88}, 500)
    found = compare_groups(right, labels, tags, CLASSES, "series")
    staff, students = found.groups
    assert (staff.group, staff.rows, students.group) == ("staff", 500, "students")
    assert found.gap == pytest.approx(right[:500].mean() - right[500:].mean())
    assert 0 < found.gap_low < found.gap < found.gap_high
    assert staff.differs
    assert students.differs
    table = [[students.correct, 500 - students.correct], [staff.correct, 500 - staff.correct]]
    assert students.p_value == pytest.approx(stats.fisher_exact(table).pvalue)
    assert students.low < students.accuracy < students.high


def test_groups_that_are_read_alike_are_seldom_called_different() -> None:
    alarms = 0
    for seed in range(100):
        found = compare_groups(*rows(dict.fromkeys("abcdefgh", 0.9), 60, seed), CLASSES, "writer")
        alarms += any(each.differs for each in found.groups)
    assert alarms <= 10


def test_each_class_of_each_group_is_a_cell_of_its_own_family() -> None:
    right, labels, tags = rows({"x": 1.0, "y": 1.0}, 200)
    right[(labels == 1) & (np.arange(400) >= 200)] = False
    found = compare_groups(right, labels, tags, CLASSES, "series")
    cells = {(each.of_class, each.group): each for each in found.cells}
    assert len(cells) == 4
    assert cells["b", "y"].accuracy == 0.0
    assert cells["b", "y"].differs
    assert not cells["a", "y"].differs


def test_a_small_group_is_listed_and_neither_tested_nor_the_gap() -> None:
    right, labels, tags = rows({"big": 0.95, "other": 0.95}, 300)
    few = MIN_GROUP_ROWS - 1
    found = compare_groups(
        np.concatenate([right, np.zeros(few, dtype=bool)]),
        np.concatenate([labels, np.zeros(few, dtype=np.int64)]),
        [*tags, *["few"] * few],
        CLASSES,
        "series",
    )
    few_score = next(each for each in found.groups if each.group == "few")
    assert (few_score.accuracy, few_score.p_value, few_score.differs) == (0.0, 1.0, False)
    assert found.gap < 0.1


def test_the_worst_decile_is_held_against_chance() -> None:
    writers = {f"w{number:02d}": 0.9 for number in range(40)}
    alike = compare_groups(*rows(writers, 30), CLASSES, "writer")
    assert alike.tail is not None
    assert alike.tail.chance_low <= alike.tail.accuracy <= alike.tail.chance_high
    assert alike.tail.p_value > 0.05
    assert alike.tail.accuracy < 0.85  # the worst of many always look bad
    bad = compare_groups(*rows({**writers, "w00": 0.3, "w01": 0.3, "w02": 0.3}, 30), CLASSES, "writer")
    assert bad.tail is not None
    assert bad.tail.p_value < 0.01
    assert bad.as_metrics("fairness_writer")["fairness_writer_worst_decile_accuracy"] == bad.tail.accuracy


def test_rows_without_a_group_are_left_out_and_none_at_all_is_refused() -> None:
    right, labels, tags = rows({"x": 0.9, "": 0.1}, 50)
    found = compare_groups(right, labels, tags, CLASSES, "series")
    assert [each.rows for each in found.groups] == [50]
    assert (found.gap, found.gap_low, found.gap_high, found.cells) == (0.0, 0.0, 0.0, ())
    with pytest.raises(DataError, match="make no groups"):
        compare_groups(right, labels, [""] * 100, CLASSES, "series")
    with pytest.raises(DataError, match="make no groups"):
        compare_groups(right, labels, tags[:-1], CLASSES, "series")
