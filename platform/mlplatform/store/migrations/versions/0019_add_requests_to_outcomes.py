"""The request of each labelled answer, how far detectors have read each source, and counts of answers with two labels.

An answer with a label of both estimating sources was counted under the more trusted one; it is counted under both now,
as "audit+delayed", because each source is a sample of its own.
"""

from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0019"
down_revision = "0018"

_SPANS = (60, 1_440)
_BOTH = "audit+delayed"
_CELL = ("model_name", "model_version", "minute", "source", "truth", "label", "weight")
_OUTCOMES = sa.table(
    "outcomes",
    *(sa.column(name) for name in ("model_name", "model_version", "source", "seen", "truth", "label", "weight")),
    sa.column("at", UtcDateTime),
)
_COUNTS = sa.table("label_counts", *(sa.column(name) for name in (*_CELL, "n")))
_ROLLUPS = sa.table("label_count_rollups", *(sa.column(name) for name in (*_CELL, "span", "n")))


def upgrade() -> None:
    with op.batch_alter_table("outcomes") as batch_op:
        batch_op.add_column(sa.Column("request_id", sa.Text(), server_default="", nullable=False))
    with op.batch_alter_table("detector_states") as batch_op:
        batch_op.add_column(sa.Column("reading", sa.JSON(), nullable=True))
    op.execute(
        "UPDATE outcomes SET request_id = "
        "COALESCE((SELECT request_id FROM predictions WHERE predictions.id = outcomes.prediction_id), '')"
    )
    _count_under_both()


def _count_under_both() -> None:
    connection, table = op.get_bind(), _OUTCOMES.c
    both = sa.select(_OUTCOMES).where(table.source == "audit", table.seen.like("%delayed:%"))
    moved: Counter[tuple[Any, ...]] = Counter()
    for row in connection.execute(both).mappings():
        minute = int(row["at"].timestamp() // 60)
        moved[row["model_name"], row["model_version"], minute, row["truth"], row["label"], row["weight"]] += 1
    for (model, version, minute, truth, label, weight), n in moved.items():
        cell = {"model_name": model, "model_version": version, "truth": truth, "label": label, "weight": weight}
        _move(connection, _COUNTS, {**cell, "minute": minute}, n)
        for span in _SPANS:
            _move(connection, _ROLLUPS, {**cell, "minute": minute // span * span, "span": span}, n)


def _move(connection: sa.Connection, table: sa.TableClause, cell: dict[str, Any], n: int) -> None:
    def where(source: str) -> sa.ColumnElement[bool]:
        return sa.and_(*(table.c[name] == value for name, value in {**cell, "source": source}.items()))

    connection.execute(sa.update(table).where(where("audit")).values(n=table.c.n - n))
    changed = connection.execute(sa.update(table).where(where(_BOTH)).values(n=table.c.n + n)).rowcount
    if not changed:
        connection.execute(sa.insert(table).values(**cell, source=_BOTH, n=n))
