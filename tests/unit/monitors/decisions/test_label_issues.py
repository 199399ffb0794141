"""Which answers a person should look at: confident learning on labelled ones, misreadings among the others."""

from random import Random

import numpy as np
import pytest

from pipelines.labels.label_issues import (
    RecordedPrediction,
    class_thresholds,
    label_error_candidates,
    likely_errors,
    select_batch,
)

CLASSES = ("a", "b", "c")


def answer(key: str, a: float, b: float, given: str | None = None, **more: object) -> RecordedPrediction:
    chances = (a, b, round(1 - a - b, 6))
    read = CLASSES[max(range(3), key=chances.__getitem__)]
    feedback = None if given is None else f"label of {key}"
    return RecordedPrediction(key, read, chances, given, feedback, **more)  # type: ignore[arg-type]


def test_the_threshold_of_a_class_is_what_its_answers_usually_get() -> None:
    rows = [answer("1", 0.9, 0.1, "a"), answer("2", 0.5, 0.4, "a"), answer("3", 0.2, 0.7, "b")]
    probabilities, labels = np.array([row.probabilities for row in rows]), np.array([0, 0, 1])
    assert class_thresholds(probabilities, labels) == pytest.approx([0.7, 0.7, 2.0])


def test_a_label_the_model_surely_contradicts_comes_before_one_it_contradicts_by_a_hair() -> None:
    usual = [answer(f"b{n}", 0.1, 0.8, "b") for n in range(8)] + [answer(f"a{n}", 0.8, 0.1, "a") for n in range(8)]
    rows = [answer("hair", 0.45, 0.5, "a"), answer("sure", 0.05, 0.95, "a"), answer("right", 0.9, 0.05, "a"), *usual]
    found = label_error_candidates(rows, CLASSES, "a")
    assert [each.prediction_id for each in found] == ["sure", "hair"]
    assert found[0].feedback_id == "label of sure"
    assert found[0].score == pytest.approx(0.95)
    assert "labelled a; the model gives b 95% and a 5%, and it is as sure of b as it usually is" in found[0].reason
    assert "usually" not in found[1].reason


def test_what_a_person_reviewed_is_not_asked_again() -> None:
    assert label_error_candidates([answer("1", 0.1, 0.9, "a", reviewed=True)], CLASSES, "a") == []


def test_an_unlabelled_answer_is_doubted_for_what_it_may_hide_about_the_class() -> None:
    rows = [answer("sure", 0.9, 0.1), answer("unsure", 0.4, 0.3), answer("elsewhere", 0.35, 0.6)]
    found = likely_errors(rows, CLASSES, "a")
    assert [each.prediction_id for each in found] == ["unsure", "elsewhere", "sure"]
    assert [each.score for each in found] == pytest.approx([0.6, 0.35, 0.1])
    assert found[1].reason == "unlabelled; read as b, with 35% for a"


def test_a_batch_takes_turns_and_each_picture_once() -> None:
    labelled = [answer("l1", 0.1, 0.9, "a", input_hash="x"), answer("l2", 0.2, 0.8, "a", input_hash="y")]
    free = [
        answer("u1", 0.4, 0.5, input_hash="x"),
        answer("u2", 0.3, 0.6, input_hash="z"),
        answer("u3", 0.2, 0.7, input_hash="w"),
    ]
    assert [each.prediction_id for each in select_batch(labelled, free, CLASSES, "a", 9)] == ["l1", "l2", "u2", "u3"]
    assert [each.prediction_id for each in select_batch(labelled, free, CLASSES, "a", 2)] == ["l1", "l2"]


def test_wrong_labels_are_found_among_right_ones() -> None:
    random = Random(0)
    rows, wrong = [], set()
    for n in range(600):
        true = random.choice(CLASSES)
        chances = {name: random.uniform(0, 0.2) for name in CLASSES} | {true: random.uniform(0.6, 1.2)}
        whole = sum(chances.values())
        given = random.choice([name for name in CLASSES if name != true]) if n % 10 == 0 else true
        if given != true:
            wrong.add(f"{n}")
        rows.append(answer(f"{n}", chances["a"] / whole, chances["b"] / whole, given))
    found = [each.prediction_id for name in CLASSES for each in label_error_candidates(rows, CLASSES, name)]
    assert set(found) == wrong
