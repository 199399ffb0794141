"""Which model silences and waiting labels are for; sign-ins that were completed and sessions that were ended.

A silence of before matches the alerts of every model, and a label that waits the predictions of every one, as they did.
"""

import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0030"
down_revision = "0029"


def upgrade() -> None:
    op.add_column("silences", sa.Column("model", sa.Text(), server_default="", nullable=False))
    op.add_column("pending_labels", sa.Column("model_name", sa.Text(), server_default="", nullable=False))
    op.drop_index("uq_pending_labels_once", "pending_labels")
    once = ["prediction_id", "source", "reviewer", "label", "at", "model_name"]
    op.create_index("uq_pending_labels_once", "pending_labels", once, unique=True)
    op.create_table(
        "spent_tokens",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("expires_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_spent_tokens")),
    )
