"""Labelled rows are split so that what judges is newer than what trained, and a group is on one side only."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from pipelines.data import Examples
from pipelines.errors import DataError
from pipelines.table.table_data import RowRoles, class_codes, labelled_rows, split_rows
from registry.model_contract import Column

COLUMNS = (Column("a", "number"),)
ROLES = RowRoles("left", time="day", group="customer")


def _frame(count: int, customers: int = 10_000) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "a": rng.integers(0, 5, count).astype(float),
            "left": np.where(rng.random(count) < 0.3, "yes", "no"),
            "day": pd.Timestamp("2026-01-01") + pd.to_timedelta(rng.permutation(count) // 4, unit="D"),
            "customer": rng.integers(0, customers, count),
        }
    )


def _rows(frame: pd.DataFrame, roles: RowRoles = ROLES) -> Examples:
    return labelled_rows(frame, COLUMNS, roles, ("no", "yes"), "churn")


def _times(rows: Examples) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    assert rows.times is not None
    return rows.times


def test_golden_is_the_newest_fifth_and_validation_the_tenth_before_it() -> None:
    split = split_rows(_rows(_frame(1000), RowRoles("left", time="day")))
    assert (len(split.golden), len(split.validation), len(split.train), len(split.stream)) == (200, 100, 700, 0)
    assert _times(split.golden).min() >= _times(split.validation).max()
    assert _times(split.validation).min() >= _times(split.train).max()
    assert split.golden.name == "churn/golden"


def test_no_day_is_on_two_sides_where_rows_of_a_day_go_wrong_together() -> None:
    rows = _rows(_frame(1000), RowRoles("left", time="day"))
    spread = replace(rows, times=np.sort(_times(rows)))
    length = int((_times(spread).max() - _times(spread).min()) / 33)
    by_row, whole = split_rows(spread), split_rows(spread, length)
    shared = _stretches(by_row.golden, length) & _stretches(by_row.validation, length)
    assert shared, "a cut by rows goes through a stretch"
    assert not _stretches(whole.golden, length) & _stretches(whole.validation, length)
    assert not _stretches(whole.validation, length) & _stretches(whole.train, length)
    assert 200 <= len(whole.golden) <= 235
    assert len(whole.golden) + len(whole.validation) + len(whole.train) == 1000


def test_sides_of_two_long_days_are_cut_within_a_day() -> None:
    rows = _rows(_frame(1000), RowRoles("left", time="day"))
    half = (_times(rows).max() - _times(rows).min()) / 2
    split = split_rows(replace(rows, times=_times(rows) - _times(rows).min()), int(half) + 1)
    assert (len(split.golden), len(split.validation), len(split.train)) == (200, 100, 700)


def _stretches(rows: Examples, length: int) -> set[float]:
    return set(np.floor(_times(rows) / length).tolist())


def test_a_group_is_on_one_side_and_its_newest_row_says_on_which() -> None:
    split = split_rows(_rows(_frame(1000, customers=300)))
    sides = [set(side.groups) for side in (split.train, split.validation, split.golden)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert 200 <= len(split.golden) <= 215
    assert _times(split.golden).max() >= _times(split.train).max()


def test_rows_without_time_are_dealt_by_hash_and_stay_where_they_are_when_more_come() -> None:
    few, more = _frame(400), _frame(400)
    more = pd.concat([few, _frame(500).iloc[400:].assign(customer=-1)])
    roles = RowRoles("left", group="customer")
    before, after = split_rows(_rows(few, roles)), split_rows(_rows(more, roles))
    assert set(before.golden.groups) <= set(after.golden.groups)
    assert 40 <= len(before.golden) <= 120


def test_equal_rows_are_rows_of_their_own_and_keep_their_identity() -> None:
    frame = pd.DataFrame({"a": [1.0, 1.0, 1.0], "left": ["no", "yes", "no"]})
    rows = labelled_rows(frame, COLUMNS, RowRoles("left"), ("no", "yes"), "twins")
    assert len(set(rows.ids)) == 3
    assert len(set(rows.content_hashes)) == 1
    assert labelled_rows(frame, COLUMNS, RowRoles("left"), ("no", "yes"), "twins").ids == rows.ids


@pytest.mark.parametrize(
    ("values", "codes"),
    [(["yes", "no"], [1, 0]), (pd.Series([1, 0]), [1, 0]), (pd.Series([1.0, 0.0]), [1, 0])],
)
def test_truths_are_read_as_names(values: object, codes: list[int]) -> None:
    names = ("no", "yes") if isinstance(values, list) else ("0", "1")
    assert class_codes(pd.Series(values, name="t"), names).tolist() == codes


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["yes", "perhaps"], "the target 't', row 1: 'perhaps' is no class of the task; known: no, yes"),
        ([True, False], "row 0: True is no class"),
        (["no", None], "row 1: no class is there; leave out rows whose outcome is not known yet"),
    ],
)
def test_other_truths_are_refused_with_the_row(values: list[object], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        class_codes(pd.Series(values, name="t"), ("no", "yes"))


def test_too_few_rows_one_class_or_one_group_are_refused() -> None:
    with pytest.raises(DataError, match="churn has 99 labelled rows; at least 100"):
        split_rows(_rows(_frame(99)))
    with pytest.raises(DataError, match="may train have one class"):
        split_rows(_rows(_frame(200).assign(left="no")))
    with pytest.raises(DataError, match="no row of churn is left for its train side, because its groups are few"):
        split_rows(_rows(_frame(200, customers=1)))


def test_a_row_without_time_is_refused_where_there_is_one() -> None:
    frame = _frame(200)
    frame.loc[7, "day"] = pd.NaT
    with pytest.raises(DataError, match="the time 'day', row 7: none is there"):
        _rows(frame)
