"""The number under which an answer's truth first came from each source: `seen` becomes "delayed:10 audit:11".

Of sources noted without a number none is known; 0 says that everybody has read them.
"""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0007"

_JUDGED = sa.table("judged", *(sa.column(name) for name in ("prediction_id", "seq", "source", "seen")))


def upgrade() -> None:
    connection, table = op.get_bind(), _JUDGED.c
    several = sa.select(_JUDGED).where(table.seen != "")
    for row in connection.execute(several).mappings().all():
        earlier = " ".join(f"{source}:0" for source in row["seen"].split())
        told = f"{earlier} {row['source']}:{row['seq']}"
        connection.execute(sa.update(_JUDGED).where(table.prediction_id == row["prediction_id"]).values(seen=told))
    once = table.source + ":" + sa.cast(table.seq, sa.String)
    connection.execute(sa.update(_JUDGED).where(table.seen == "").values(seen=once))
