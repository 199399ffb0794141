"""An answer as bytes and back: what the spool keeps of a prediction until the database has it; it writes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mlplatform.store.prediction import PredictionRecord
from pipelines.data import content_hash

LENGTH_BYTES = 4
PAYLOAD_PREFIX = b'{"row":'
"""What every payload begins with, behind its length."""


@dataclass(frozen=True)
class SpooledPrediction:
    """A prediction whose image need not be hashed and is not encoded yet: that happens off the answer's path."""

    prediction: PredictionRecord
    image: NDArray[np.uint8]
    host_class: str = ""


def encode_prediction(prediction: SpooledPrediction) -> bytes:
    """The answer as one payload: JSON behind its length, then the picture's bytes.

    Raises TypeError or ValueError for what is no text or number.
    """
    image = np.ascontiguousarray(prediction.image, dtype=np.uint8)
    told = orjson.dumps({"row": prediction.prediction, "host_class": prediction.host_class, "shape": image.shape})
    return len(told).to_bytes(LENGTH_BYTES, "little") + told + image.tobytes()


def decode_prediction(payload: bytes) -> SpooledPrediction:
    """The answer that `to_bytes` made these bytes of, its picture hashed.

    Raises ValueError, KeyError or TypeError for other bytes.
    """
    begin = LENGTH_BYTES + int.from_bytes(payload[:LENGTH_BYTES], "little")
    told: dict[str, Any] = orjson.loads(payload[LENGTH_BYTES:begin])
    row = told["row"]
    image = np.frombuffer(payload, dtype=np.uint8, offset=begin).reshape(told["shape"])
    row["at"] = datetime.fromisoformat(row["at"])
    row["image_hash"] = row["image_hash"] or content_hash(image)
    return SpooledPrediction(PredictionRecord(**row), image, told["host_class"])
