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
    model: ModelName


class PredictionDetail(ApiModel):
    """A recorded prediction with its labels."""

    id: str
    at: datetime
    label: str
    confidence: float
    probabilities: dict[str, float]
    latency_ms: float
    model: ModelName
    image_hash: str
    request_id: str
    client_id: str
    tags: dict[str, str]
    role: str = Field(description="champion, or canary: who answered.")
    labels: list[LabelOut]
    shadows: list[ShadowOut]
