"""Frames payloads on disk with their length and checksum, so that a torn end is recognised."""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

FRAME_HEADER: Final = struct.Struct("<II")
"""Length of the payload in bytes and its CRC-32, little-endian, in front of each payload."""


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
