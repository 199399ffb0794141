"""One input in its canonical form: what identifies it, what waits on disk, what the database packs."""

from __future__ import annotations

import hashlib
from typing import Final, NamedTuple

from pipelines.errors import DataError

ROW_FORM_PREFIX: Final = "row:"
"""How the form of a table's row begins; behind it stands a digest of its columns."""
MAX_FORM_LENGTH: Final = 64


class InputRow(NamedTuple):
    """The content of one row, and the form that it is meant in.

    `28x28` is a grey picture of that height and width, whose content is its pixels; `row:` and a digest of its columns
    is a row of a table, whose content is the JSON array of its values.
    """

    form: str
    content: bytes

    @property
    def content_hash(self) -> str:
        """Its identity on the whole platform: sha256 over its form and its content."""
        return hashlib.sha256(self.form.encode() + self.content).hexdigest()

    @property
    def is_table_row(self) -> bool:
        """Whether it is a row of a table."""
        return is_table_form(self.form)

    def check(self) -> None:
        """Raise DataError unless the content can be one of this form."""
        if self.is_table_row:
            if len(self.form) > MAX_FORM_LENGTH or not (self.content[:1] == b"[" and self.content[-1:] == b"]"):
                raise DataError(f"an input of the form {self.form[:80]!r} is the JSON array of a row's values")
            return
        height, width = image_size(self.form)
        if len(self.content) != height * width:
            raise DataError(
                f"an input of the form {self.form} has {len(self.content)} bytes where it needs {height * width}"
            )


def is_table_form(form: str) -> bool:
    """Whether inputs of this form are rows of a table."""
    return form.startswith(ROW_FORM_PREFIX)


def image_form(height: int, width: int) -> str:
    """The form of a grey picture of this size."""
    return f"{height}x{width}"


def image_size(form: str) -> tuple[int, int]:
    """Height and width of a picture of this form; raises DataError for another form."""
    height, _, width = form.partition("x")
    if len(form) > MAX_FORM_LENGTH or not (form.isascii() and height.isdigit() and width.isdigit()):
        raise DataError(f"{form[:80]!r} is no form of a grey picture; it is height and width, such as 28x28")
    return int(height), int(width)
