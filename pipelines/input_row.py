"""One input in its canonical form: what identifies it, what waits on disk, what the database packs."""

from __future__ import annotations

import hashlib
import math
from typing import NamedTuple

from pipelines.errors import DataError


class InputRow(NamedTuple):
    """The content of one row, and the sizes that it is meant in: height and width of a grey picture's pixels."""

    shape: tuple[int, ...]
    content: bytes

    @property
    def content_hash(self) -> str:
        """Its identity on the whole platform: sha256 over its sizes and its content."""
        return hashlib.sha256("x".join(map(str, self.shape)).encode() + self.content).hexdigest()

    def check(self) -> None:
        """Raise DataError unless there are as many bytes as the sizes say."""
        wanted = math.prod(self.shape)
        if len(self.content) != wanted:
            raise DataError(f"an input of {self.shape} has {len(self.content)} bytes where it needs {wanted}")
