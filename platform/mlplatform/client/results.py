"""The API's responses as frozen records."""

from base64 import b64decode
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mlplatform.client.pandas_frames import to_frame

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Prediction:
    """One answer. Feedback follows by its `id`."""

    id: str
    label: str
    confidence: float
    probabilities: Mapping[str, float]
    model: str
    version: int
    characters: tuple[float, ...] = ()
    """How sure each character of a text is; empty for a class."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "Prediction":
        """From JSON."""
        return cls(
            id=str(raw["id"]),
            label=str(raw["label"]),
            confidence=float(raw["confidence"]),
            probabilities={str(name): float(value) for name, value in raw["probabilities"].items()},
            model=str(raw["model"]["name"]),
            version=int(raw["model"]["version"]),
            characters=tuple(map(float, raw.get("characters", ()))),
        )


@dataclass(frozen=True)
class PredictResponse:
    """The answers to one request, in the order of its images; `recorded` is false where the recorder was full."""

    request_id: str
    predictions: tuple[Prediction, ...]
    latency_ms: float
    recorded: bool

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "PredictResponse":
        """From JSON."""
        rows = tuple(Prediction.from_json(row) for row in raw["predictions"])
        return cls(str(raw["request_id"]), rows, float(raw["latency_ms"]), bool(raw["recorded"]))

    def to_frame(self) -> "pd.DataFrame":
        """One row an answer, by its id, with a column `probabilities.CLASS` for each class; needs pandas."""
        return to_frame(map(vars, self.predictions), index="id")


@dataclass(frozen=True)
class HistoryPoint:
    """One stretch of time: answers, labels, accuracy with limits of 95 %, latencies; None where nothing is known."""

    at: datetime
    answers: int
    labels: int
    accuracy: float | None
    low: float | None
    high: float | None
    p50_ms: float | None
    p95_ms: float | None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "HistoryPoint":
        """From JSON."""
        names = ("accuracy", "low", "high", "p50_ms", "p95_ms")
        measured = (None if raw[name] is None else float(raw[name]) for name in names)
        return cls(datetime.fromisoformat(raw["at"]), int(raw["answers"]), int(raw["labels"]), *measured)


@dataclass(frozen=True)
class History:
    """How a model did over a time, by stretches of `stretch_seconds`, oldest first.

    `source` is the kind of labels that estimates accuracy, empty without any; `versions` are those that are counted.
    """

    model: str
    range: str
    stretch_seconds: int
    source: str
    versions: tuple[int, ...]
    points: tuple[HistoryPoint, ...]

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "History":
        """From JSON."""
        return cls(
            model=str(raw["model"]),
            range=str(raw["range"]),
            stretch_seconds=int(raw["stretch_seconds"]),
            source=str(raw["source"]),
            versions=tuple(map(int, raw["versions"])),
            points=tuple(HistoryPoint.from_json(point) for point in raw["points"]),
        )

    def to_frame(self) -> "pd.DataFrame":
        """One row a stretch, by its beginning; needs pandas."""
        return to_frame(map(vars, self.points), index="at")


@dataclass(frozen=True)
class FeedbackResult:
    """What became of a label: recorded, repeated, superseded, late, waiting or erased.

    `counts` says whether it estimates how good the model is, the note why not.
    """

    id: str
    prediction_id: str
    outcome: str
    counts: bool = False
    note: str = ""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "FeedbackResult":
        """From JSON."""
        said = bool(raw.get("counts", False)), str(raw.get("note", ""))
        return cls(str(raw["id"]), str(raw["prediction_id"]), str(raw["outcome"]), *said)


@dataclass(frozen=True)
class LabelRecord:
    """A current label of a prediction."""

    label: str
    source: str
    at: datetime

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "LabelRecord":
        """From JSON."""
        return cls(str(raw["label"]), str(raw["source"]), datetime.fromisoformat(raw["at"]))


@dataclass(frozen=True)
class PredictionDetail:
    """A recorded prediction with its labels."""

    prediction: Prediction
    at: datetime
    latency_ms: float
    image_hash: str
    request_id: str
    client_id: str
    tags: Mapping[str, str]
    role: str
    labels: tuple[LabelRecord, ...]
    reference: str = ""
    subject: str = ""
    row: Mapping[str, Any] | None = None
    """The row of a table that was answered; None for a picture."""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "PredictionDetail":
        """From JSON."""
        return cls(
            prediction=Prediction.from_json(raw),
            at=datetime.fromisoformat(raw["at"]),
            latency_ms=float(raw["latency_ms"]),
            image_hash=str(raw["image_hash"]),
            request_id=str(raw["request_id"]),
            client_id=str(raw["client_id"]),
            tags=dict(raw["tags"]),
            role=str(raw["role"]),
            labels=tuple(LabelRecord.from_json(label) for label in raw["labels"]),
            reference=str(raw.get("reference", "")),
            subject=str(raw.get("subject", "")),
            row=raw.get("row"),
        )


@dataclass(frozen=True)
class ReviewAssignment:
    """An input to be labelled, held until a moment: a picture as PNG, or a row's values by column."""

    prediction_id: str
    at: datetime
    png: bytes
    until: datetime
    row: Mapping[str, Any] | None = None

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "ReviewAssignment":
        """From JSON."""
        times = (datetime.fromisoformat(raw[name]) for name in ("at", "until"))
        at, until = times
        return cls(str(raw["prediction_id"]), at, b64decode(raw["image"]), until, raw.get("row"))


@dataclass(frozen=True)
class ReviewBatch:
    """What to review next, the classes to choose from, none where labels are texts, and what is allowed in words."""

    answers: tuple[ReviewAssignment, ...]
    classes: tuple[str, ...]
    allowed: str = ""

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "ReviewBatch":
        """From JSON."""
        answers = tuple(ReviewAssignment.from_json(item) for item in raw["answers"])
        return cls(answers, tuple(map(str, raw["classes"])), str(raw.get("allowed", "")))


@dataclass(frozen=True)
class RetrainingQueued:
    """The queued retraining; `joined` where one was queued already."""

    id: str
    joined: bool

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> "RetrainingQueued":
        """From JSON."""
        return cls(str(raw["id"]), bool(raw["joined"]))
