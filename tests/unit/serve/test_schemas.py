"""Bodies are strict and frozen, and feedback is one label or many."""

from datetime import UTC, datetime

import pytest
from pydantic import TypeAdapter, ValidationError

from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.serve.schemas import FeedbackBody, FeedbackMany, RetrainIn

ADAPTER: TypeAdapter[FeedbackIn | FeedbackMany] = TypeAdapter(FeedbackBody)


def test_feedback_is_told_apart_by_its_list() -> None:
    one = ADAPTER.validate_python({"prediction_id": "p", "label": "4"})
    many = ADAPTER.validate_python({"feedback": [{"prediction_id": "p", "label": "4"}]})
    assert isinstance(one, FeedbackIn)
    assert isinstance(many, FeedbackMany)
    assert many.feedback == [one]
    assert (one.source, one.reviewer, one.at) == ("correction", "", None)
    assert ADAPTER.dump_python(many)["feedback"][0]["label"] == "4"


@pytest.mark.parametrize("body", [{}, [], "x", None, {"feedback": []}, {"feedback": None}, {"label": "4"}])
def test_what_is_neither_is_refused(body: object) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(body)


def test_a_thousand_labels_are_taken_and_no_more() -> None:
    label = {"prediction_id": "p", "label": "4"}
    ADAPTER.validate_python({"feedback": [label] * 1000})
    with pytest.raises(ValidationError, match="at most 1000"):
        ADAPTER.validate_python({"feedback": [label] * 1001})


def test_extra_fields_and_changes_are_refused() -> None:
    with pytest.raises(ValidationError, match="Extra inputs"):
        RetrainIn.model_validate({"reason": "x", "priority": 1})
    with pytest.raises(ValidationError, match="frozen"):
        RetrainIn().reason = "y"  # type: ignore[misc]


@pytest.mark.parametrize("field", ["prediction_id", "reviewer"])
def test_a_character_that_no_database_holds_is_refused(field: str) -> None:
    with pytest.raises(ValidationError, match=field):
        FeedbackIn.model_validate({"prediction_id": "p", "label": "4"} | {field: "a\0"})


def test_a_reason_may_have_lines() -> None:
    assert RetrainIn(reason="one\ntwo").reason == "one\ntwo"


def test_times_are_aware_and_of_this_age() -> None:
    def at(text: str) -> datetime | None:
        return FeedbackIn.model_validate({"prediction_id": "p", "label": "4", "at": text}).at

    assert at("2026-01-01T12:00:00+02:00") == datetime(2026, 1, 1, 10, tzinfo=UTC)
    for text in ("2026-01-01T12:00:00", "1969-12-31T00:00:00Z", "0001-01-01T00:00:00+14:00"):
        with pytest.raises(ValidationError):
            at(text)
