"""Labels in order and counted, detectors, answers drawn for review, tags, and what Evidently measured."""

from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

from mlplatform.store.tables.base import UtcDateTime

revision = "0002"
down_revision = "0001"

_TRUST = {"audit": 0, "delayed": 1, "correction": 2}
_CHUNK = 5_000


def upgrade() -> None:
    op.create_table(
        "tallies",
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("host_class", sa.String(length=200), nullable=False),
        sa.Column("instance", sa.String(length=200), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("latency", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("failures", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint(
            "model_name", "model_version", "minute", "host_class", "instance", name=op.f("pk_tallies")
        ),
    )
    op.create_table(
        "plans",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("plan", sa.JSON(), nullable=False),
        sa.Column("salt", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_plans")),
    )
    with op.batch_alter_table("plans", schema=None) as batch_op:
        batch_op.create_index("ix_plans_newest", ["model_name", "model_version", "at"], unique=False)
    op.create_table(
        "audits",
        sa.Column("prediction_id", sa.String(length=64), nullable=False),
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("inclusion", sa.Float(), nullable=False),
        sa.Column("heaviest", sa.Float(), nullable=False),
        sa.Column("stratum", sa.String(length=200), nullable=False),
        sa.Column("place", sa.String(length=64), nullable=False),
        sa.Column("claimed_by", sa.String(length=200), server_default="", nullable=False),
        sa.Column("claimed_until", UtcDateTime(), nullable=True),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_audits_prediction_id")),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_audits")),
    )
    with op.batch_alter_table("audits", schema=None) as batch_op:
        batch_op.create_index("ix_audits_window", ["model_name", "model_version", "at"], unique=False)
        batch_op.create_index("ix_audits_open", ["model_name", "model_version", "finished_at", "place"], unique=False)
    with op.batch_alter_table("predictions", schema=None) as batch_op:
        batch_op.add_column(sa.Column("tags", sa.JSON(), nullable=True))
    op.create_table(
        "counters",
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_counters")),
    )
    op.create_table(
        "detectors",
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("rule", sa.String(length=64), nullable=False),
        sa.Column("definition", sa.String(length=64), nullable=False),
        sa.Column("cursor", sa.BigInteger(), nullable=False),
        sa.Column("streams", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("model_name", "model_version", "rule", name=op.f("pk_detectors")),
    )
    op.create_table(
        "label_counts",
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("truth", sa.String(length=200), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint(
            "model_name", "model_version", "minute", "source", "truth", "label", "weight", name=op.f("pk_label_counts")
        ),
    )
    op.create_table(
        "judged",
        sa.Column("prediction_id", sa.String(length=64), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("model_name", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("known_at", UtcDateTime(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("truth", sa.Text(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("seen", sa.Text(), nullable=False),
        sa.Column("confidence", sa.Float(), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("share", sa.Float(), server_default="1", nullable=False),
        sa.Column("tags", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["prediction_id"], ["predictions.id"], name=op.f("fk_judged_prediction_id")),
        sa.PrimaryKeyConstraint("prediction_id", name=op.f("pk_judged")),
    )
    with op.batch_alter_table("judged", schema=None) as batch_op:
        batch_op.create_index("ix_judged_window", ["model_name", "model_version", "at"], unique=False)
        batch_op.create_index("uq_judged_order", ["model_name", "model_version", "seq"], unique=True)

    with op.batch_alter_table("evaluations", schema=None) as batch_op:
        batch_op.add_column(sa.Column("measured", sa.JSON(), nullable=True))

    _fill()


def _fill() -> None:
    """Number the labels that were taken before: one row per prediction, by the label that counts."""
    connection = op.get_bind()
    best: dict[str, Any] = {}
    for row in connection.execute(_LABELS).mappings():
        held = best.get(row["prediction_id"])
        if held is None or _rank(row) > _rank(held):
            best[row["prediction_id"]] = row
    last: Counter[str] = Counter()
    cells: Counter[tuple[Any, ...]] = Counter()
    rows: list[dict[str, Any]] = []
    for row in sorted(best.values(), key=lambda row: (row["known_at"], row["feedback_id"])):
        model = row["model_name"]
        last[model] += 1
        rows.append({name: row[name] for name in _KEPT} | {"seq": last[model], "seen": "", "weight": 1.0})
        minute = int(row["at"].timestamp() // 60)
        cells[model, row["model_version"], minute, row["source"], row["truth"], row["label"], 1.0] += 1
    for first in range(0, len(rows), _CHUNK):
        connection.execute(sa.insert(_table("judged")), rows[first : first + _CHUNK])
    if last:
        values = [{"name": f"judged:{model}", "value": value} for model, value in last.items()]
        connection.execute(sa.insert(_table("counters")), values)
        names = ("model_name", "model_version", "minute", "source", "truth", "label", "weight", "n")
        counts = [dict(zip(names, (*cell, n), strict=True)) for cell, n in cells.items()]
        for first in range(0, len(counts), _CHUNK):
            connection.execute(sa.insert(_table("label_counts")), counts[first : first + _CHUNK])


def _rank(row: Any) -> tuple[Any, ...]:  # noqa: ANN401 - a row of no declared table
    return (-_TRUST[row["source"]], row["given_at"], row["feedback_id"])


_KEPT = ("prediction_id", "model_name", "model_version", "at", "known_at", "label", "truth", "source", "confidence")
_COLUMNS = {
    "judged": (*_KEPT, "seq", "seen", "weight"),
    "counters": ("name", "value"),
    "label_counts": ("model_name", "model_version", "minute", "source", "truth", "label", "weight", "n"),
}


def _table(name: str) -> sa.TableClause:
    times = ("at", "known_at")
    return sa.table(name, *(sa.column(each, UtcDateTime() if each in times else None) for each in _COLUMNS[name]))


_GIVEN = sa.table(
    "feedback",
    *(sa.column(name) for name in ("id", "prediction_id", "label", "source", "superseded_by")),
    *(sa.column(name, UtcDateTime()) for name in ("at", "received_at")),
)
_ANSWERS = sa.table(
    "predictions",
    *(sa.column(name) for name in ("id", "model_name", "model_version", "label", "confidence")),
    sa.column("at", UtcDateTime()),
)
_LABELS = (
    sa.select(
        _GIVEN.c.prediction_id,
        _GIVEN.c.id.label("feedback_id"),
        _GIVEN.c.label.label("truth"),
        _GIVEN.c.source,
        _GIVEN.c.at.label("given_at"),
        _GIVEN.c.received_at.label("known_at"),
        _ANSWERS.c.model_name,
        _ANSWERS.c.model_version,
        _ANSWERS.c.at,
        _ANSWERS.c.label,
        _ANSWERS.c.confidence,
    )
    .join(_ANSWERS, _ANSWERS.c.id == _GIVEN.c.prediction_id)
    .where(_GIVEN.c.superseded_by.is_(None))
)
