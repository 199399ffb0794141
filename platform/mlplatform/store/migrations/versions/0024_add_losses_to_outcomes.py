"""How wrong each labelled answer is, from 0 to 1: so far an answer was right or wrong.

Versions without costs keep it that way. Costs are of a version's contract, and no version had any before.
"""

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"


def upgrade() -> None:
    op.add_column("outcomes", sa.Column("loss", sa.Float(), nullable=False, server_default="0"))
    op.execute("UPDATE outcomes SET loss = 1 WHERE label <> truth")
