"""What a prediction request became: its records, and the reply that is made of them."""

from dataclasses import dataclass, field

import orjson

from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.schema_base import ModelName
from mlplatform.serve.inference.model_slot import LoadedModel
from mlplatform.serve.schemas import PredictionOut, PredictOut


@dataclass(frozen=True)
class PredictResult:
    """What a request became: its records, and what is said about it."""

    model: LoadedModel
    rows: list[PredictionWithInput] = field(repr=False)
    request_id: str
    latency_ms: float
    recorded: bool

    def to_response(self) -> PredictOut:
        """The reply as a model."""
        reader, model = self.model.predictor.reader, ModelName(name=self.model.name, version=self.model.version)
        predictions = [
            PredictionOut(
                id=row.prediction.id,
                label=row.prediction.label,
                confidence=row.prediction.confidence,
                probabilities=reader.by_class(row.prediction.probabilities),
                characters=reader.by_character(row.prediction.probabilities),
                model=model,
            )
            for row in self.rows
        ]
        return PredictOut(
            request_id=self.request_id, predictions=predictions, latency_ms=self.latency_ms, recorded=self.recorded
        )

    def to_json(self) -> bytes:
        """The same as JSON, without the time a model takes to be checked."""
        reader, model = self.model.predictor.reader, {"name": self.model.name, "version": self.model.version}
        predictions = [
            {
                "id": row.prediction.id,
                "label": row.prediction.label,
                "confidence": row.prediction.confidence,
                "probabilities": reader.by_class(row.prediction.probabilities),
                **_characters(reader.by_character(row.prediction.probabilities)),
                "model": model,
            }
            for row in self.rows
        ]
        return orjson.dumps(
            {
                "request_id": self.request_id,
                "predictions": predictions,
                "latency_ms": self.latency_ms,
                "recorded": self.recorded,
            }
        )


def _characters(shares: list[float]) -> dict[str, list[float]]:
    """How sure each character of a text is, as a field of its answer; no field for a class."""
    return {"characters": shares} if shares else {}
