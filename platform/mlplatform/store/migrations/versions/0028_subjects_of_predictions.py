"""Whom each prediction is about, so that what is kept of a person can be erased."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"

_GIVEN = sa.text("subject <> ''")


def upgrade() -> None:
    op.add_column("predictions", sa.Column("subject", sa.String(200), server_default="", nullable=False))
    op.create_index("ix_predictions_subject", "predictions", ["subject"], sqlite_where=_GIVEN, postgresql_where=_GIVEN)
