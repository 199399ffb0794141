"""What a prediction request holds once its content was read."""

from dataclasses import dataclass

from pipelines.batch import Batch
from pipelines.input_row import InputRow


@dataclass(frozen=True)
class DecodedRequest:
    """The rows of one request for the model, its names for client and request, its tags and keys of its own.

    `rows` are the same in canonical form, None where the codec has still to make it. `references` and `subjects`, whom
    each row is about, have one for each row, or none at all; so have `row_tags`, which then stand for `tags`.
    """

    batch: Batch
    fields: dict[str, str]
    tags: dict[str, str]
    references: tuple[str, ...] = ()
    rows: list[InputRow] | None = None
    subjects: tuple[str, ...] = ()
    row_tags: tuple[dict[str, str], ...] = ()
