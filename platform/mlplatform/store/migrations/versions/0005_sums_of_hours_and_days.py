"""Counts of whole hours and days beside those of minutes, and an index for the newest label of a source."""

from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SPANS = (60, 1_440)
_CHUNK = 1_000
_SERVER = ("model_name", "model_version", "host_class", "instance")
_CELL = ("source", "truth", "label", "weight")


def upgrade() -> None:
    op.create_table(
        "tally_sums",
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("host_class", sa.String(length=200), nullable=False),
        sa.Column("instance", sa.String(length=200), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=False),
        sa.Column("latency", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint(
            "model_name", "model_version", "span", "minute", "host_class", "instance", name=op.f("pk_tally_sums")
        ),
    )
    op.create_table(
        "label_sums",
        sa.Column("model_name", sa.String(length=64), nullable=False),
        sa.Column("model_version", sa.Integer(), nullable=False),
        sa.Column("span", sa.Integer(), nullable=False),
        sa.Column("minute", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(length=16), nullable=False),
        sa.Column("truth", sa.String(length=200), nullable=False),
        sa.Column("label", sa.String(length=200), nullable=False),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("n", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("model_name", "model_version", "span", "minute", *_CELL, name=op.f("pk_label_sums")),
    )
    op.create_index(
        "ix_judged_newest",
        "judged",
        ["model_name", "model_version", "source", "seq"],
        sqlite_where=sa.text("weight > 0"),
        postgresql_where=sa.text("weight > 0"),
    )
    for span in _SPANS:
        _sum_labels(span)
        _sum_tallies(span)


def _sum_labels(span: int) -> None:
    names = ", ".join(_CELL)
    op.execute(
        f"INSERT INTO label_sums (model_name, model_version, span, minute, {names}, n) "  # noqa: S608
        f"SELECT model_name, model_version, {span}, minute / {span} * {span}, {names}, SUM(n) FROM label_counts "
        f"GROUP BY model_name, model_version, minute / {span} * {span}, {names}"
    )


def _sum_tallies(span: int) -> None:
    """One server's minutes after the other, so that one sum is held at a time."""
    connection = op.get_bind()
    order = [_MINUTES.c[name] for name in (*_SERVER, "minute")]
    query = sa.select(_MINUTES).order_by(*order).execution_options(yield_per=_CHUNK)
    held: dict[str, Any] | None = None
    ready: list[dict[str, Any]] = []
    for row in connection.execute(query).mappings():
        key = {name: row[name] for name in _SERVER} | {"span": span, "minute": row["minute"] // span * span}
        if held is None or any(held[name] != value for name, value in key.items()):
            if held is not None:
                ready.append(held)
            held = {**key, "answers": 0, "latency": Counter(), "labels": Counter()}
        held["answers"] += row["answers"]
        held["latency"].update(row["latency"])
        held["labels"].update(row["labels"])
        if len(ready) == _CHUNK:
            connection.execute(sa.insert(_SUMS), ready)
            ready = []
    ready += [] if held is None else [held]
    if ready:
        connection.execute(sa.insert(_SUMS), ready)


def _columns(*names: str) -> list[sa.ColumnClause[Any]]:
    types = {"latency": sa.JSON(), "labels": sa.JSON()}
    return [sa.column(name, types.get(name)) for name in (*_SERVER, *names, "answers", "latency", "labels")]


_MINUTES = sa.table("tallies", *_columns("minute"))
_SUMS = sa.table("tally_sums", *_columns("span", "minute"))
