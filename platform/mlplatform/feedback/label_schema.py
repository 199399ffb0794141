"""The schema of a label that arrives by HTTP or in a file."""

from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from mlplatform.feedback.label_precedence import SubmittedSource
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel, _check_earliest_year


class FeedbackIn(ApiModel):
    """A label for one prediction, named by its id or by the caller's reference.

    `at` is when it was given; it defaults to now.
    """

    prediction_id: str = Field("", max_length=64, pattern=NO_NUL_PATTERN)
    reference: str = Field(
        "",
        max_length=200,
        pattern=NO_NUL_PATTERN,
        description="In place of the id: the key that the row was sent with, of the newest prediction under it.",
    )
    label: str = Field(min_length=1, max_length=1000, description="One of the model's classes, or a text.")
    source: SubmittedSource = Field(
        "correction",
        description="audit: drawn at random for review, estimates accuracy; delayed: truth that arrived later, "
        "estimates accuracy; correction: a reported error, trains but never estimates.",
    )
    reviewer: str = Field(
        "", max_length=200, pattern=NO_NUL_PATTERN, description="Who says so; the key's holder if empty."
    )
    at: Annotated[AwareDatetime, AfterValidator(_check_earliest_year)] | None = None
    idempotency_key: str = Field(
        "",
        max_length=200,
        pattern=NO_NUL_PATTERN,
        description="One giving of a label: sent again, nothing is taken again.",
    )

    @model_validator(mode="after")
    def _check_names_one_prediction(self) -> Self:
        if bool(self.prediction_id) == bool(self.reference):
            raise ValueError("give prediction_id or reference, one of both")
        return self
