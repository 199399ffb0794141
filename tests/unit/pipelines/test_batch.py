"""A batch holds named arrays of one length, says which one does not fit, and is cut and joined by rows."""

import numpy as np
import pytest

from pipelines.batch import Batch
from pipelines.errors import DataError


def table(rows: int = 4) -> Batch:
    return Batch({"age": np.arange(rows, dtype=np.float64), "plan": np.array(["gold", None] * rows, object)[:rows]})


def test_it_has_as_many_rows_as_each_array() -> None:
    assert [len(table(rows)) for rows in (0, 1, 4)] == [0, 1, 4]


def test_arrays_of_two_lengths_are_refused_by_name_with_both_lengths() -> None:
    with pytest.raises(DataError, match="the array 'b' has 3 rows where 'a' has 2"):
        Batch({"a": np.zeros(2), "b": np.zeros((3, 5))})


def test_a_single_value_and_no_array_at_all_are_refused() -> None:
    with pytest.raises(DataError, match="the array 'a' is a single value"):
        Batch({"a": np.array(1.0)})
    with pytest.raises(DataError, match="without arrays"):
        Batch({})


def test_a_slice_shares_the_memory_and_taken_rows_do_not() -> None:
    batch = table()
    part, taken = batch[1:3], batch.take([3, 1])
    assert np.shares_memory(part.arrays["age"], batch.arrays["age"])
    assert (part.arrays["age"].tolist(), part.arrays["plan"].tolist()) == ([1.0, 2.0], [None, "gold"])
    assert not np.shares_memory(taken.arrays["age"], batch.arrays["age"])
    assert (taken.arrays["age"].tolist(), taken.arrays["plan"].tolist()) == ([3.0, 1.0], [None, None])
    assert batch.take(np.array([True, False, False, True])).arrays["age"].tolist() == [0.0, 3.0]
    assert len(batch.take([])) == len(batch[4:]) == 0


def test_rows_that_are_not_there_are_refused() -> None:
    for rows in ([4], [-1], [[0]], [0.5]):
        with pytest.raises(DataError, match="give positions from 0 to 3"):
            table().take(rows)
    with pytest.raises(TypeError, match="cut by slices"):
        table()[0]  # type: ignore[index]


def test_parts_come_one_after_the_other_and_one_part_is_not_copied() -> None:
    batch = table()
    whole = Batch.concat([batch[:1], batch[1:1], batch[1:]])
    assert whole.arrays["age"].tolist() == batch.arrays["age"].tolist()
    assert whole.arrays["plan"].tolist() == batch.arrays["plan"].tolist()
    assert Batch.concat([batch]) is batch


def test_parts_that_cannot_follow_each_other_are_refused() -> None:
    with pytest.raises(DataError, match="at least one"):
        Batch.concat([])
    with pytest.raises(DataError, match="rows with the arrays age cannot follow rows with age, plan"):
        Batch.concat([table(), Batch({"age": np.zeros(1)})])
    with pytest.raises(DataError, match=r"the array 'image' would mix entries of the shapes \[\(2, 2\), \(3, 3\)\]"):
        Batch.concat([Batch({"image": np.zeros((1, 3, 3))}), Batch({"image": np.zeros((1, 2, 2))})])


def test_an_array_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(DataError, match="no array 'image' in these rows, which have age, plan"):
        table().array("image")
