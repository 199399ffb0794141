"""Values of a table's columns are counted by hour and server as predictions are recorded.

Predictions of before are not counted: counts begin with the first prediction after the upgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"


def upgrade() -> None:
    op.create_table(
        "column_counts",
        sa.Column("model_name", sa.String(64), primary_key=True),
        sa.Column("model_version", sa.Integer(), primary_key=True),
        sa.Column("hour", sa.Integer(), primary_key=True),
        sa.Column("instance", sa.String(200), primary_key=True),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("counts", sa.LargeBinary(), nullable=False),
    )
