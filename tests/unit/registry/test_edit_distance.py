"""How far texts are apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.edit_distance import edit_distance


@pytest.mark.parametrize(
    ("first", "second", "edits"), [("", "", 0), ("12", "", 2), ("100", "1000", 1), ("7", "1", 1), ("123", "231", 2)]
)
def test_edits_are_counted(first: str, second: str, edits: int) -> None:
    assert edit_distance(first, second) == edits


@given(st.text("012", max_size=6), st.text("012", max_size=6), st.text("012", max_size=6))
def test_edits_are_a_distance(first: str, second: str, third: str) -> None:
    assert edit_distance(first, second) == edit_distance(second, first)
    assert (edit_distance(first, second) == 0) == (first == second)
    assert edit_distance(first, third) <= edit_distance(first, second) + edit_distance(second, third)
    assert abs(len(first) - len(second)) <= edit_distance(first, second) <= max(len(first), len(second))


def by_table(first: str, second: str) -> int:
    """The same, cell by cell (Wagner and Fischer 1974)."""
    row = list(range(len(second) + 1))
    for count, character in enumerate(first, start=1):
        diagonal, row[0] = row[0], count
        for place, other in enumerate(second, start=1):
            diagonal, row[place] = row[place], min(diagonal + (character != other), row[place] + 1, row[place - 1] + 1)
    return row[-1]


@given(st.text("ab1", max_size=90), st.text("ab1é", max_size=90))
def test_bits_say_what_the_table_says(first: str, second: str) -> None:
    assert edit_distance(first, second) == by_table(first, second)


def test_long_texts_are_compared_whole() -> None:
    assert edit_distance("ab" * 500, "ba" * 500) == 2
    assert edit_distance("a" * 1000, "b" * 999) == 1000
