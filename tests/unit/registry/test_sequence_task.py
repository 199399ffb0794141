"""Texts as answers: what they are counted as, what a label may be, and the numbers that stand for them."""

import pytest

from registry.errors import ContractError
from registry.prediction_task import OTHER_TEXT, Classification, Sequence, Task, task_from, task_to_dict

AMOUNTS = Sequence("0123456789", 9)
WORDS = Sequence("abcdé ", 40, "edits")


@pytest.mark.parametrize("task", [AMOUNTS, WORDS, Classification(("no", "yes"))])
def test_a_task_comes_back_from_what_is_written(task: Task) -> None:
    _ = task.counted_names  # what was derived is not written
    assert task_from(task_to_dict(task)) == task


@pytest.mark.parametrize(
    ("label", "kept"), [("12", "12"), (" 12 ", "12"), ("12a", None), ("", None), ("1" * 9, "1" * 9), ("1" * 10, None)]
)
def test_a_label_is_of_the_alphabet_and_not_too_long(label: str, kept: str | None) -> None:
    assert AMOUNTS.canonical(label) == kept


def test_a_label_is_composed_and_keeps_spaces_that_may_be_answered() -> None:
    assert WORDS.canonical("cade\u0301") == "cadé"
    assert WORDS.canonical(" a b") == " a b"


@pytest.mark.parametrize("alphabet", ["e\u0301", "\u212b", "क\u094dष", "é"])
def test_what_a_model_answers_may_be_its_label(alphabet: str) -> None:
    task = Sequence(alphabet, 4, "edits")
    for answer in (alphabet, alphabet[::-1], alphabet[0], alphabet[-1] * 2):
        assert task.canonical(answer) == answer
    assert Sequence("e\u0301", 4).canonical("é") == "e\u0301"


def test_a_text_must_fit_into_an_index() -> None:
    assert Sequence("ab", 1_000).longest == 1_000
    assert Sequence("字", 500).longest == 500
    with pytest.raises(ContractError, match="give 500 or fewer"):
        Sequence("a字", 501)


@pytest.mark.parametrize("task", [AMOUNTS, WORDS, Classification(("no", "yes"), costs={("no", "yes"): 0.5})])
def test_right_answers_are_counted_as_their_truth_and_wrong_ones_never(task: Task) -> None:
    answers = ["no", "yes"] if isinstance(task, Classification) else ["", "a", "ab", "ba", "c" * 40, "c" * 41]
    if task is AMOUNTS:
        answers = ["", "1", "12", "21", "9" * 9, "9" * 12]
    for truth in answers:
        for answer in answers:
            of_truth, of_answer = task.counted(truth, answer)
            assert (of_truth == of_answer) == (truth == answer)
            assert {of_truth, of_answer} <= set(task.counted_names)
            assert of_truth == task.segment(truth)
            assert 0 <= task.counted_loss(of_truth, of_answer) - task.loss(truth, answer) < 0.1


def test_texts_are_counted_by_their_length() -> None:
    assert AMOUNTS.counted("123", "12") == ("length 3", "length 2")
    assert AMOUNTS.counted("123", "124") == ("length 3", OTHER_TEXT)
    assert AMOUNTS.counted("123", "") == ("length 3", "empty")
    assert WORDS.counted("abc", "abd") == ("length 3 to 4", "wrong by 0.4")
    assert len(WORDS.segments) == 22


@pytest.mark.parametrize("text", ["", "0", "00", "10", "999999999", "012345678"])
def test_each_text_has_a_number_of_its_own(text: str) -> None:
    assert AMOUNTS.label(AMOUNTS.number(text)) == text
    assert AMOUNTS.number(text) < 2**63


def test_what_cannot_be_numbered_is_refused() -> None:
    with pytest.raises(ContractError, match="no answer of this task"):
        AMOUNTS.number("12a")
    with pytest.raises(ContractError, match="more texts than can be numbered"):
        WORDS.number("a")
    with pytest.raises(ContractError, match="is no class"):
        Classification(("no", "yes")).number("maybe")
