"""One recorded prediction, as the store keeps it."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class PredictionRecord:
    """One answer. `latency_ms` is server time from decoding to the answer; probabilities in class order.

    `reference` is the caller's own key of the row, `subject` whom the row is about. `tags` are what the client said of
    it, such as its scanner or its writer's group; `role` says whether the champion answered or a canary
    (`store.trials`).
    """

    id: str
    at: datetime
    model_name: str
    model_version: int
    image_hash: str
    label: str
    probabilities: list[float]
    confidence: float
    latency_ms: float
    request_id: str
    client_id: str
    tags: dict[str, str] | None = None
    role: str = "champion"
    reference: str = ""
    subject: str = ""
    label_class: str = ""
    """What the answer is counted as where that is not itself, such as the length of a text."""

    @property
    def counted_as(self) -> str:
        """What the answer is counted as: a class, or the length of a text."""
        return self.label_class or self.label
