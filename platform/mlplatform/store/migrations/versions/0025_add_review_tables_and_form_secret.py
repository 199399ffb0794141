"""Who holds which picked input for review, what each reviewer said of each input, and what signs the forms of pages."""

import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0025"
down_revision = "0024"


def upgrade() -> None:
    op.create_table(
        "review_claims",
        sa.Column("prediction_id", sa.String(length=64), nullable=False),
        sa.Column("queue", sa.String(length=64), nullable=False),
        sa.Column("reviewer", sa.String(length=200), nullable=False),
        sa.Column("until", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_review_claims_prediction_id")),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_review_claims")),
    )
    op.create_index("ix_review_claims_reviewer", "review_claims", ["reviewer", "queue"])
    op.create_table(
        "review_verdicts",
        sa.Column("prediction_id", sa.String(length=64), nullable=False),
        sa.Column("reviewer", sa.String(length=200), nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("queue", sa.String(length=64), nullable=False),
        sa.Column("verdict", sa.String(length=16), nullable=False),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_review_verdicts_prediction_id")),
        sa.PrimaryKeyConstraint("prediction_id", "reviewer", name=op.f("pk_review_verdicts")),
    )
    op.create_index("ix_review_verdicts_newest", "review_verdicts", ["model_name", "reviewer", "at"])
    op.create_table(
        "server_secrets",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("value", sa.String(length=64), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_server_secrets")),
    )
