"""When a challenger fails too often to be tried on."""

import pytest

from monitors.decisions.failure_rate import too_many_failures


@pytest.mark.parametrize(("failed", "answered"), [(0, 0), (0, 10_000), (1, 0), (2, 10_000), (10, 2_000)])
def test_few_failures_among_many_answers_are_borne(failed: int, answered: int) -> None:
    assert too_many_failures(failed, answered) is None


@pytest.mark.parametrize(("failed", "answered"), [(3, 0), (3, 1), (20, 100), (100, 2_000)])
def test_failures_that_are_surely_too_many_are_told_in_numbers(failed: int, answered: int) -> None:
    said = too_many_failures(failed, answered)
    assert said is not None
    assert f"{failed:,} of {failed + answered:,} pictures" in said
