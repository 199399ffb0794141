"""The schema of a label that arrives by HTTP or in a file."""

from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field

from mlplatform.feedback.label_precedence import SubmittedSource
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel, _check_earliest_year


class FeedbackIn(ApiModel):
    """A label for one prediction. `at` is when it was given; it defaults to now."""

    prediction_id: str = Field(min_length=1, max_length=64, pattern=NO_NUL_PATTERN)
    label: str = Field(min_length=1, max_length=64, description="One of the model's classes.")
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
