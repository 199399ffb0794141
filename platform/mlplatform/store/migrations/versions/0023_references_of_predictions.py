"""The caller's own key of each prediction, by which its label may come."""

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_GIVEN = sa.text("reference <> ''")


def upgrade() -> None:
    op.add_column("predictions", sa.Column("reference", sa.String(200), server_default="", nullable=False))
    op.create_index(
        "ix_predictions_reference",
        "predictions",
        ["model_name", "reference", "at"],
        sqlite_where=_GIVEN,
        postgresql_where=_GIVEN,
    )
