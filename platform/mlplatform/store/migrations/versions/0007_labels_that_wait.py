"""Labels that wait for their prediction, and the idempotency keys under which labels came."""

import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "waiting_labels",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("prediction_id", sa.String(length=64), nullable=False),
        sa.Column("label", sa.String(length=64), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("reviewer", sa.String(length=200), server_default="", nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("received_at", UtcDateTime(), nullable=False),
        sa.Column("key", sa.Text(), server_default="", nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_waiting_labels")),
    )
    op.create_index(
        "uq_waiting_labels_once",
        "waiting_labels",
        ["prediction_id", "source", "reviewer", "label", "at"],
        unique=True,
    )
    op.create_index("ix_waiting_labels_received_at", "waiting_labels", ["received_at"])
    op.create_table(
        "feedback_keys",
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("feedback_id", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_feedback_keys")),
    )
    op.create_index("ix_feedback_keys_at", "feedback_keys", ["at"])
