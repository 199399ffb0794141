"""Shares of strings and digits that are right."""

import numpy as np
import pytest

from pipelines.errors import DataError
from pipelines.strings.string_scores import score_strings


def test_a_string_is_right_as_a_whole_and_its_digits_one_by_one() -> None:
    scores = score_strings(["12", "345", ""], np.array([0.9, 0.8, 0.0]), ["12", "344", "7"])
    assert scores.n == 3
    assert scores.strings_right == pytest.approx(1 / 3)
    assert scores.digits_right == pytest.approx(1 - 2 / 6)
    assert scores.interval[0] < 1 / 3 < scores.interval[1]
    assert scores.right.tolist() == [True, False, False]


def test_much_too_long_an_answer_leaves_no_digit_right() -> None:
    assert score_strings(["123456"], np.array([0.9]), ["7"]).digits_right == 0.0


@pytest.mark.parametrize(("answers", "texts"), [([], []), (["1"], []), (["1"], ["1", "2"])])
def test_what_cannot_be_compared_is_refused(answers: list[str], texts: list[str]) -> None:
    with pytest.raises(DataError, match="give one each"):
        score_strings(answers, np.ones(len(answers)), texts)
