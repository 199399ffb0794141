"""Which promotion was the newest when a retraining ended, so that no clock tells their order."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    with op.batch_alter_table("retrainings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("after_promotion", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE retrainings SET after_promotion = coalesce((SELECT max(promotions.seq) FROM promotions "
        "WHERE promotions.model_name = retrainings.pipeline AND promotions.at <= retrainings.finished_at), 0) "
        "WHERE finished_at IS NOT NULL"
    )
