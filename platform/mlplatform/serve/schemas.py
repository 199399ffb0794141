"""The JSON of requests and responses that several modules share, as frozen pydantic models, and their OpenAPI."""

import operator
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, JsonValue, PlainSerializer, StringConstraints, Tag, WithJsonSchema

from mlplatform.feedback.label_schema import FeedbackIn
from mlplatform.schema_base import NO_NUL_PATTERN, ApiModel, ModelName

JsonObject = Annotated[dict[str, JsonValue], WithJsonSchema({"type": "object", "additionalProperties": True})]
"""An object of JSON whose fields are its writer's, such as a verdict's evidence."""
IsoTime = Annotated[
    datetime,
    PlainSerializer(datetime.isoformat, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""A time written as `datetime.isoformat` does, such as 2026-01-01T12:00:00+00:00."""


RowValues = dict[str, float | int | bool | str | None]
"""A row of a table: a value by column; a time that is given back is seconds since 1970."""


class PredictionOut(ApiModel):
    """One answer. Give feedback by its `id`."""

    id: str
    label: str
    confidence: float = Field(ge=0, le=1)
    probabilities: dict[str, float] = Field(description="Of each class; empty where the answer is a text.")
    characters: list[float] = Field(
        [], description="How sure each character of a text is; left out of a class.", exclude_if=operator.not_
    )
    model: ModelName


class PredictOut(ApiModel):
    """Answers in the order of the images. `recorded` is false when the recorder was full."""

    request_id: str
    predictions: list[PredictionOut]
    latency_ms: float
    recorded: bool


class ExplainIn(ApiModel):
    """What to explain: a recorded prediction by its id, an image (base64 PNG or JPEG, or pixels), or a table's row."""

    prediction_id: str | None = Field(None, min_length=1, max_length=64, pattern=NO_NUL_PATTERN)
    image: str | list[list[float]] | None = None
    row: RowValues | None = Field(None, description="A row of a table, as POST /v1/predict takes one.")
    label: str | None = Field(None, max_length=64, description="The class to explain; the model's answer by default.")


class ColumnContributionOut(ApiModel):
    """What one column's value does, beside the usual one: about the median, or the commonest category, in training."""

    column: str
    value: float | int | bool | str | None
    usual: float | int | bool | str | None = Field(description="None where the value was made missing.")
    effect: float = Field(description="The probability of the label with the value, less that with the usual one.")
    answer: str = Field(description="What would be answered with the usual value.")


class ExplainOut(ApiModel):
    """What spoke for a label.

    Of a picture where the model looks: `heat` has a row of values from 0 to 1 per row of pixels, `overlay` is a base64
    PNG. Of a row of a table what each column does: `columns`, the largest effects first.
    """

    label: str
    answer: str
    method: Literal["grad-cam", "feature-ablation"]
    heat: list[list[float]] | None = Field(None, description="None for a row of a table.")
    overlay: str | None = Field(None, description="None for a row of a table.")
    probability: float | None = Field(None, description="Of the label; None for a picture.")
    columns: list[ColumnContributionOut] | None = Field(None, description="None for a picture.")
    model: ModelName
    prediction_id: str | None


class ReviewOut(ApiModel):
    """An input to be labelled, without the model's answer, held until `until`."""

    prediction_id: str
    at: datetime
    image: str = Field(description="The picture, a base64 PNG; empty for a row of a table.")
    row: RowValues | None = Field(
        None, description="The row of a table; a time is seconds since 1970. None for a picture."
    )
    until: datetime


class ReviewMany(ApiModel):
    """What to review next, and the labels to choose from."""

    answers: list[ReviewOut]
    classes: list[str] = Field(description="The classes; empty where labels are texts.")
    allowed: str = Field("", description="What a label may be, in words.")


class FeedbackMany(ApiModel):
    """Labels for many predictions: all are taken, or none."""

    feedback: list[FeedbackIn] = Field(min_length=1, max_length=1000)


def _one_or_many(body: object) -> str:
    many = "feedback" in body if isinstance(body, dict) else isinstance(body, FeedbackMany)
    return "many" if many else "one"


FeedbackBody = Annotated[
    Annotated[FeedbackIn, Tag("one")] | Annotated[FeedbackMany, Tag("many")], Discriminator(_one_or_many)
]


class FeedbackOut(ApiModel):
    """What became of each label.

    recorded; repeated; superseded: it replaced one; late: kept as history; waiting: its prediction is on its way;
    erased: its prediction was, and nothing was taken.
    """

    id: str
    prediction_id: str
    outcome: Literal["recorded", "repeated", "superseded", "late", "waiting", "erased"]
    counts: bool = Field(False, description="Whether it estimates how good the model is.")
    note: str = Field("", description="Why it does not, and what to do about it.")


class RetrainIn(ApiModel):
    """A wish to retrain."""

    reason: str = Field("asked through the API", max_length=500, pattern=NO_NUL_PATTERN)
    requested_by: str = Field(
        "", max_length=200, pattern=NO_NUL_PATTERN, description="Who asks; the key's holder if empty."
    )


class RetrainOut(ApiModel):
    """The queued retraining; `joined` when one was queued already."""

    id: str
    joined: bool


Tags = Annotated[
    dict[
        Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,31}$")],
        Annotated[str, StringConstraints(max_length=64)],
    ],
    Field(max_length=10),
]


class PredictIn(ApiModel):
    """The JSON body of POST /v1/predict: images or rows, as the model takes.

    It documents: a decoder reads and checks the bytes.
    """

    images: list[
        Annotated[str, Field(description="base64 of a PNG or JPEG")]
        | Annotated[
            list[list[Annotated[float, Field(ge=0, le=255)]]],
            Field(description="rows of grey values from 0 (ground) to 255 (ink)"),
        ]
    ] = Field([], min_length=1, description="pictures, for a model of pictures")
    rows: list[dict[str, Annotated[str | float | bool | None, Field(description="a value of the column's kind")]]] = (
        Field([], min_length=1, description="rows of a table, for a model of a table: an object of values by column")
    )
    references: list[Annotated[str, StringConstraints(max_length=200)] | None] | None = Field(
        None, description="keys of the caller's own, one for each row: a label may name its prediction by it"
    )
    subjects: list[Annotated[str, StringConstraints(max_length=200)] | None] | None = Field(
        None,
        description="whom each row of a table is about, such as a customer's number: `platform retention erase "
        "--subject` removes all that is kept of one",
    )
    client_id: str = Field("", max_length=200)
    request_id: str = Field("", max_length=200)
    tags: Tags | list[Tags | None] = Field(
        {},
        description="what rules may slice by, such as the scanner or the writer's group; for rows of a table also a "
        "list with the tags of each row",
    )


PROBLEM_RESPONSE: dict[str, Any] = {
    "description": "Problem details (RFC 9457)",
    "content": {
        "application/problem+json": {
            "schema": {
                "type": "object",
                "properties": {
                    "type": {"type": "string"},
                    "title": {"type": "string"},
                    "status": {"type": "integer"},
                    "detail": {"type": "string"},
                },
            }
        }
    },
}
PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = dict.fromkeys(
    (401, 403, 404, 409, 413, 422, 429, 503), PROBLEM_RESPONSE
)
