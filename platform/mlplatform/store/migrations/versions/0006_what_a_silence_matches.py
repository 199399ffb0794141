"""What a silence matches besides the rule: the alert's key and its severity."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    with op.batch_alter_table("silences", schema=None) as batch_op:
        batch_op.add_column(sa.Column("key", sa.Text(), server_default="*", nullable=False))
        batch_op.add_column(sa.Column("severity", sa.Text(), server_default="*", nullable=False))
