"""Encodes a prediction with its input as the bytes that the spool keeps until the database has it, and decodes them."""

from datetime import datetime
from typing import Any, Final

import numpy as np
import orjson

from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.store.prediction import PredictionRecord
from pipelines.data import content_hash

LENGTH_BYTES: Final = 4
PAYLOAD_PREFIX: Final = b'{"row":'
"""What every payload begins with, behind its length."""


def encode_prediction(prediction: PredictionWithInput) -> bytes:
    """The prediction as one payload: JSON behind its length in bytes, little-endian, then the image's bytes.

    Raises TypeError or ValueError for what is no text or number.
    """
    image = np.ascontiguousarray(prediction.image, dtype=np.uint8)
    header = orjson.dumps({"row": prediction.prediction, "host_class": prediction.host_class, "shape": image.shape})
    return len(header).to_bytes(LENGTH_BYTES, "little") + header + image.tobytes()


def decode_prediction(payload: bytes) -> PredictionWithInput:
    """The prediction that `encode_prediction` made these bytes of, its image hashed.

    Raises ValueError, KeyError or TypeError for other bytes.
    """
    image_start = LENGTH_BYTES + int.from_bytes(payload[:LENGTH_BYTES], "little")
    header: dict[str, Any] = orjson.loads(payload[LENGTH_BYTES:image_start])
    row = header["row"]
    image = np.frombuffer(payload, dtype=np.uint8, offset=image_start).reshape(header["shape"])
    row["at"] = datetime.fromisoformat(row["at"])
    row["image_hash"] = row["image_hash"] or content_hash(image)
    return PredictionWithInput(PredictionRecord(**row), image, header["host_class"])
