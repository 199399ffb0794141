"""The form in which recorded predictions are shown."""

from datetime import datetime

from pydantic import Field

from mlplatform.schema_base import ApiModel, ModelName


class LabelOut(ApiModel):
    """A current label of a prediction."""

    label: str
    source: str
    at: datetime


class ShadowOut(ApiModel):
    """What another version would have answered to the same picture."""

    label: str
    confidence: float
    probabilities: dict[str, float]
    characters: list[float] = Field([], description="How sure each character of a text is; empty for a class.")
    model: ModelName


class PredictionDetail(ApiModel):
    """A recorded prediction with its labels."""

    id: str
    at: datetime
    label: str
    confidence: float
    probabilities: dict[str, float]
    characters: list[float] = Field([], description="How sure each character of a text is; empty for a class.")
    latency_ms: float
    model: ModelName
    image_hash: str
    request_id: str
    client_id: str
    reference: str = Field("", description="The key that the caller sent it with.")
    subject: str = Field("", description="Whom the row is about, as the caller sent it.")
    row: dict[str, float | int | bool | str | None] | None = Field(
        None, description="The row of a table that was answered; a time is seconds since 1970. None for a picture."
    )
    tags: dict[str, str]
    role: str = Field(description="champion, or canary: who answered.")
    labels: list[LabelOut]
    shadows: list[ShadowOut]
