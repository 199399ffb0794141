"""The format of predictions on disk: each is one payload, framed with its length and checksum.

A torn end is recognised by its frame. A payload is a prediction with its input, kept until the database has it.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final
from zlib import crc32

import orjson

from mlplatform.predictions.prediction_records import PredictionWithInput
from mlplatform.store.prediction import PredictionRecord
from pipelines.input_row import InputRow, image_form, image_size

FRAME_HEADER: Final = struct.Struct("<II")
"""Length of the payload in bytes and its CRC-32, little-endian, in front of each payload."""
LENGTH_BYTES: Final = 4
PAYLOAD_PREFIX: Final = b'{"row":'
"""What every payload begins with, behind the length of its JSON."""


@dataclass(frozen=True)
class Frame:
    """A payload and the offset behind it; `payload` is None where the checksum does not agree."""

    payload: bytes | None
    end: int


def encode_frames(payloads: Sequence[bytes]) -> bytes:
    """The payloads one after the other, each behind its length and checksum. Raises ValueError for an empty payload."""
    parts: list[bytes] = []
    for payload in payloads:
        if not payload:
            raise ValueError("an empty payload cannot be framed: it looks like the zeros of an unwritten block")
        parts += (FRAME_HEADER.pack(len(payload), crc32(payload)), payload)
    return b"".join(parts)


def decode_frames(data: bytes, offset: int = 0) -> Iterator[Frame]:
    """The whole frames of `data`, whose first byte lies at `offset` of its file; a torn end is passed over."""
    start = 0
    while start + FRAME_HEADER.size <= len(data):
        length, checksum = FRAME_HEADER.unpack_from(data, start)
        end = start + FRAME_HEADER.size + length
        if length == 0 or end > len(data):
            return
        payload = data[start + FRAME_HEADER.size : end]
        yield Frame(payload if crc32(payload) == checksum else None, offset + end)
        start = end


def scan_frames(data: bytes, offset: int = 0, max_count: float = math.inf) -> tuple[int, int]:
    """How many whole frames, at most so many, begin from `offset` on, and where they end; checksums are not read."""
    count = 0
    while count < max_count and offset + FRAME_HEADER.size <= len(data):
        length, _ = FRAME_HEADER.unpack_from(data, offset)
        end = offset + FRAME_HEADER.size + length
        if length == 0 or end > len(data):
            break
        count, offset = count + 1, end
    return count, offset


def frame_size(data: bytes) -> int:
    """The bytes that the first frame of `data` takes in all; 0 where its header is missing or is none."""
    if len(data) < FRAME_HEADER.size:
        return 0
    length, _ = FRAME_HEADER.unpack_from(data, 0)
    return FRAME_HEADER.size + length if length else 0


def encode_prediction(prediction: PredictionWithInput) -> bytes:
    """The prediction as one payload: JSON behind its length in bytes, little-endian, then the input's content.

    Raises TypeError or ValueError for what is no text or number.
    """
    form = prediction.input.form
    described = {"form": form} if prediction.input.is_table_row else {"shape": _image_shape(form)}
    header = orjson.dumps({"row": prediction.prediction, "host_class": prediction.host_class, **described})
    return len(header).to_bytes(LENGTH_BYTES, "little") + header + prediction.input.content


@lru_cache(64)
def _image_shape(form: str) -> tuple[int, int]:
    """A picture's sizes, as which its form is written: so were they before there were other inputs."""
    return image_size(form)


def decode_prediction(payload: bytes) -> PredictionWithInput:
    """The prediction that `encode_prediction` made these bytes of, its input hashed.

    Raises ValueError, KeyError or TypeError for other bytes.
    """
    content_start = LENGTH_BYTES + int.from_bytes(payload[:LENGTH_BYTES], "little")
    header: dict[str, Any] = orjson.loads(payload[LENGTH_BYTES:content_start])
    row = header["row"]
    form = str(header["form"]) if "form" in header else image_form(*header["shape"])
    row_input = InputRow(form, payload[content_start:])
    row_input.check()
    row["at"] = datetime.fromisoformat(row["at"])
    row["image_hash"] = row["image_hash"] or row_input.content_hash
    return PredictionWithInput(PredictionRecord(**row), row_input, header["host_class"])
