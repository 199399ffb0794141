"""What is kept of inputs says in which form it is: a picture of HxW, or a row of a table.

The table was called images, since nothing else was kept; what is there are pictures, whose PNGs say their sizes.
"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"

_SIZE_START, _SIZE_BYTES = 17, 8
"""Where a PNG says its width and height, 4 bytes each; SQL counts from 1."""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name == "postgresql":
        op.execute("ALTER TABLE images RENAME CONSTRAINT pk_images TO pk_inputs")
    op.rename_table("images", "inputs")
    op.execute("ALTER TABLE inputs RENAME COLUMN png TO content")
    op.add_column("inputs", sa.Column("form", sa.String(64), server_default="", nullable=False))
    inputs = sa.table("inputs", sa.column("content", sa.LargeBinary), sa.column("form", sa.String))
    size = sa.func.substr(inputs.c.content, _SIZE_START, _SIZE_BYTES, type_=sa.LargeBinary)
    for found in connection.scalars(sa.select(size).distinct()).all():
        if found is None or len(found) < _SIZE_BYTES:  # no PNG: nothing says its size
            continue
        width, height = (int.from_bytes(bytes(found)[start : start + 4], "big") for start in (0, 4))
        connection.execute(sa.update(inputs).where(size == found).values(form=f"{height}x{width}"))
