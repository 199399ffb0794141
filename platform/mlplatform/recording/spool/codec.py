"""An answer as bytes and back: what the spool keeps of a prediction until the database has it; it writes nothing."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from mlplatform.store.prediction import Prediction
from pipelines.data import content_hash

LENGTH_BYTES = 4
BEGINNING = b'{"row":'
"""What every payload begins with, behind its length."""


@dataclass(frozen=True)
class Answer:
    """A prediction whose image need not be hashed and is not encoded yet: that happens off the answer's path."""

    prediction: Prediction
    image: NDArray[np.uint8]
    host_class: str = ""


def to_bytes(answer: Answer) -> bytes:
    """The answer as one payload: JSON behind its length, then the picture's bytes.

    Raises TypeError or ValueError for what is no text or number.
    """
    image = np.ascontiguousarray(answer.image, dtype=np.uint8)
    told = orjson.dumps({"row": answer.prediction, "host_class": answer.host_class, "shape": image.shape})
    return len(told).to_bytes(LENGTH_BYTES, "little") + told + image.tobytes()


def from_bytes(payload: bytes) -> Answer:
    """The answer that `to_bytes` made these bytes of, its picture hashed.

    Raises ValueError, KeyError or TypeError for other bytes.
    """
    begin = LENGTH_BYTES + int.from_bytes(payload[:LENGTH_BYTES], "little")
    told: dict[str, Any] = orjson.loads(payload[LENGTH_BYTES:begin])
    row = told["row"]
    image = np.frombuffer(payload, dtype=np.uint8, offset=begin).reshape(told["shape"])
    row["at"] = datetime.fromisoformat(row["at"])
    row["image_hash"] = row["image_hash"] or content_hash(image)
    return Answer(Prediction(**row), image, told["host_class"])
