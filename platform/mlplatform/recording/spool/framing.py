"""Frames: payloads on disk with their length and checksum, so that a torn end is known; they know no content."""

import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final
from zlib import crc32

HEAD: Final = struct.Struct("<II")
"""Length of the payload in bytes and its CRC-32, little-endian, in front of each payload."""


@dataclass(frozen=True)
class Frame:
    """A payload and the offset behind it; `payload` is None where the checksum does not agree."""

    payload: bytes | None
    end: int


def framed(payloads: Sequence[bytes]) -> bytes:
    """The payloads one after the other, each behind its length and checksum. An empty payload is none."""
    parts: list[bytes] = []
    for payload in payloads:
        if not payload:
            raise ValueError("an empty payload cannot be framed: it looks like the zeros of an unwritten block")
        parts += (HEAD.pack(len(payload), crc32(payload)), payload)
    return b"".join(parts)


def frames(data: bytes, offset: int = 0) -> Iterator[Frame]:
    """The whole frames of `data`, whose first byte lies at `offset`; a torn end is passed over."""
    place = 0
    while place + HEAD.size <= len(data):
        length, checksum = HEAD.unpack_from(data, place)
        end = place + HEAD.size + length
        if length == 0 or end > len(data):
            return
        payload = data[place + HEAD.size : end]
        yield Frame(payload if crc32(payload) == checksum else None, offset + end)
        place = end


def measured(data: bytes, offset: int = 0, most: float = math.inf) -> tuple[int, int]:
    """How many whole frames, at most so many, begin from `offset` on, and where they end; checksums are not read."""
    count = 0
    while count < most and offset + HEAD.size <= len(data):
        length, _ = HEAD.unpack_from(data, offset)
        end = offset + HEAD.size + length
        if length == 0 or end > len(data):
            break
        count, offset = count + 1, end
    return count, offset


def needed(data: bytes) -> int:
    """The bytes that the first frame of `data` takes in all; 0 where even its head is missing or is no head."""
    if len(data) < HEAD.size:
        return 0
    length, _ = HEAD.unpack_from(data, 0)
    return HEAD.size + length if length else 0
