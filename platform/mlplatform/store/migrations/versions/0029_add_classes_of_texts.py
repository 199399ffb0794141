"""Answers that are texts: what they and their truths are counted as is kept beside them, and labels may be long.

Nothing is kept for rows of before, whose answers are classes: they are counted as themselves.
"""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"


def upgrade() -> None:
    for table, columns in (("predictions", ("label_class",)), ("outcomes", ("truth_class", "label_class"))):
        for name in columns:
            op.add_column(table, sa.Column(name, sa.String(64), nullable=False, server_default=""))
    with op.batch_alter_table("pending_labels") as batch:
        batch.alter_column("label", existing_type=sa.String(64), type_=sa.Text(), existing_nullable=False)
