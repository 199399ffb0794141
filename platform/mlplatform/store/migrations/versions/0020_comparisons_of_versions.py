"""Probations and rollouts hold the counts of answers that both versions gave, no longer the purses of a test by label.

What is over keeps its counts. What still runs begins to count anew: the version before was asked about labelled answers
only, which cannot be compared with what comes.
"""

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
KEYS = {"probations": "promotion_seq", "rollouts": "id"}


def upgrade() -> None:
    connection = op.get_bind()
    for name, key in KEYS.items():
        table = sa.table(name, sa.column(key), sa.column("state", sa.String), sa.column("duel", sa.JSON))
        for row in connection.execute(sa.select(table)).mappings().all():
            duel = _comparison(row["duel"] or {}, is_running=row["state"] == "running")
            connection.execute(sa.update(table).where(table.c[key] == row[key]).values(duel=duel))


def _comparison(duel: Mapping[str, Any], *, is_running: bool) -> dict[str, Any]:
    lost, won = (0, 0) if is_running else (int(duel.get("lost", 0)), int(duel.get("won", 0)))
    return {
        "compared": 0 if is_running else int(duel.get("n", 0)),
        "differing": lost + won,
        "labelled": lost + won,
        "lost": lost,
        "won": won,
        "unlabelled": 0,
        "evidence": 0.0,
        "proved_worse": False,
    }
