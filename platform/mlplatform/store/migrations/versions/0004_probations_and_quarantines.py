"""Probations of new versions, quarantines of failed ones, and notices about a model without an alert."""

import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "probations",
        sa.Column("promotion_seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("before", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.Column("label_level", sa.Float(), nullable=False),
        sa.Column("latency_level", sa.Float(), nullable=False),
        sa.Column("cursor", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("duel", sa.JSON(), nullable=False),
        sa.Column("latency_until", UtcDateTime(), nullable=False),
        sa.Column("reason", sa.Text(), server_default="", nullable=False),
        sa.Column("decided_at", UtcDateTime(), nullable=True),
        sa.Column("ended_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["promotion_seq"], ["promotions.seq"], name=op.f("fk_probations_promotion_seq")),
        sa.PrimaryKeyConstraint("promotion_seq", name=op.f("pk_probations")),
    )
    op.create_index("ix_probations_model", "probations", ["model_name", "promotion_seq"])
    op.create_table(
        "quarantines",
        sa.Column("seq", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("lifted", sa.Boolean(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("projected_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("seq", name=op.f("pk_quarantines")),
    )
    op.create_index("ix_quarantines_version", "quarantines", ["model_name", "version", "seq"])
    with op.batch_alter_table("outbox", schema=None) as batch_op:
        batch_op.add_column(sa.Column("model_name", sa.String(length=64), nullable=True))
