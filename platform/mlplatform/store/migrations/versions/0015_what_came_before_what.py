"""The order in which retrainings and promotions came, in numbers, so that no clock tells it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    with op.batch_alter_table("retrainings", schema=None) as batch_op:
        batch_op.add_column(sa.Column("after_promotion", sa.Integer(), nullable=True))
        batch_op.add_column(sa.Column("ending", sa.Integer(), nullable=True))
    op.execute(
        "UPDATE retrainings SET after_promotion = coalesce((SELECT max(promotions.seq) FROM promotions "
        "WHERE promotions.model_name = retrainings.pipeline AND promotions.at <= retrainings.finished_at), 0), "
        "ending = (SELECT count(*) FROM retrainings AS others WHERE others.pipeline = retrainings.pipeline "
        "AND (others.finished_at < retrainings.finished_at "
        "OR (others.finished_at = retrainings.finished_at AND others.id <= retrainings.id))) "
        "WHERE finished_at IS NOT NULL"
    )
