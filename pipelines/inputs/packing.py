"""Packs inputs for the database: a grey picture as PNG, a table's row as it is."""

from pipelines.image.grey_png import pack_image
from pipelines.input_row import InputRow


def pack_input(row: InputRow) -> bytes:
    """What is kept of a row; its codec's `unpack` reads it. Raises ValueError for what is none."""
    return row.content if row.is_table_row else pack_image(row)
