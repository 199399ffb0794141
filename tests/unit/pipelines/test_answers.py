"""What outputs mean: answers with their confidence, and how they are held against truths."""

from __future__ import annotations

import numpy as np
import pytest

from pipelines.answers import ClassReader, TextReader, answer_reader, counted_labels, judge_answers
from pipelines.errors import DataError
from registry.prediction_task import Classification, Sequence

CLASSES = Classification(("no", "yes"))
TEXTS = Sequence("0123456789", 3)


def test_classes_are_read_by_their_probability() -> None:
    reader = answer_reader(CLASSES)
    assert isinstance(reader, ClassReader)
    outputs = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    first, tied = reader.answers(outputs)
    assert (first.label, first.confidence, first.counted_as) == ("yes", 0.75, "")
    assert tied.label == "no"
    assert reader.numbers(outputs).tolist() == [1, 0]
    assert reader.by_class(first.shares) == {"no": 0.25, "yes": 0.75}
    assert reader.by_character(first.shares) == []


def test_texts_come_back_as_they_were_written() -> None:
    reader = TextReader(TEXTS)
    outputs = reader.outputs([("10", 0.75, (0.75, 1.0)), ("", 0.0, ()), ("007", 0.5, (0.5, 0.5, 1.0))])
    assert outputs.shape == (3, 7)
    answers = reader.answers(outputs)
    assert [answer.label for answer in answers] == ["10", "", "007"]
    assert [answer.counted_as for answer in answers] == ["length 2", "empty", "length 3"]
    assert answers[0].shares == [0.75, 1.0]
    assert reader.confidences(outputs).tolist() == [0.75, 0.0, 0.5]
    assert [TEXTS.label(number) for number in reader.numbers(outputs).tolist()] == ["10", "", "007"]
    assert all(reader.is_sound(row) for row in outputs)
    assert reader.by_class([0.5]) == {}
    with pytest.raises(DataError, match="give one each"):
        reader.outputs([("10", 0.5, (0.5,))])


@pytest.mark.parametrize(("place", "value"), [(0, 1.5), (0, np.nan), (1, 12.0), (1, 0.5), (2, -1.0), (4, -0.5)])
def test_what_no_model_gives_is_no_sound_output(place: int, value: float) -> None:
    row = TextReader(TEXTS).outputs([("12", 0.5, (0.5, 1.0))])[0]
    row[place] = value
    assert not TextReader(TEXTS).is_sound(row)


def test_a_text_is_right_whole_or_not_at_all() -> None:
    reader = TextReader(TEXTS)
    outputs = reader.outputs([("12", 0.75, (0.75, 1.0)), ("13", 0.25, (0.25, 1.0)), ("1", 0.5, (0.5,))])
    truths = np.array([TEXTS.number(text) for text in ("12", "12", "12")])
    judged = judge_answers(TEXTS, outputs, truths)
    assert judged.right.tolist() == [True, False, False]
    assert [judged.names[place] for place in judged.answers] == ["length 2", "another text", "length 1"]
    assert judged.of_truth.tolist() == [0.75, 0.75, 0.5]
    assert [judged.names[place] for place in counted_labels(TEXTS, truths)] == ["length 2"] * 3


def test_outputs_of_another_form_are_refused() -> None:
    with pytest.raises(DataError, match="one row per label"):
        judge_answers(TEXTS, np.zeros((1, 2), np.float32), np.zeros(1, np.int64))
