"""By which feed a label came, and which predictions were erased, so that a late label for one is told so."""

import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    with op.batch_alter_table("feedback", schema=None) as batch_op:
        batch_op.add_column(sa.Column("feed", sa.String(length=200), nullable=True))
    with op.batch_alter_table("waiting_labels", schema=None) as batch_op:
        batch_op.add_column(sa.Column("feed", sa.String(length=200), server_default="", nullable=False))
    op.create_table(
        "erased_predictions",
        sa.Column("digest", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_erased_predictions")),
    )
    with op.batch_alter_table("erased_predictions", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_erased_predictions_at"), ["at"], unique=False)
