"""The tables of promotions, approvals, probations, quarantines and rollouts."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table, text

from mlplatform.store.tables.base import json_column, metadata, text_column, time_column

promotions: Final = Table(
    "promotions",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    text_column("model_name"),
    Column("from_version", Integer, nullable=True),
    Column("to_version", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    time_column("at"),
    text_column("actor"),
    text_column("reason"),
    Column("retraining_id", String(64), ForeignKey("retrainings.id"), nullable=True, unique=True),
    json_column("verdict", null=True),
    Column("fence", Integer, nullable=False),
    Index("ix_promotions_model", "model_name", "seq"),
)

approvals: Final = Table(
    "approvals",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model_name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("champion", Integer, nullable=True),
    Column("state", String(16), nullable=False),
    text_column("reason"),
    text_column("requested_by"),
    time_column("requested_at"),
    time_column("expires_at"),
    Column("retraining_id", String(64), ForeignKey("retrainings.id"), nullable=True),
    json_column("verdict", null=True),
    time_column("decided_at", null=True),
    text_column("decided_by", default=""),
    text_column("comment", default=""),
    Index("ix_approvals_model", "model_name", "id"),
    Index(
        "uq_approvals_waiting",
        "model_name",
        unique=True,
        sqlite_where=text("state = 'waiting'"),
        postgresql_where=text("state = 'waiting'"),
    ),
)

probations: Final = Table(
    "probations",
    metadata,
    Column("promotion_seq", Integer, ForeignKey("promotions.seq"), primary_key=True, autoincrement=False),
    Column("model_name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("before", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    time_column("at"),
    time_column("until"),
    Column("label_level", Float, nullable=False),
    Column("latency_level", Float, nullable=False),
    Column("cursor", BigInteger, nullable=False, server_default="0"),
    json_column("duel"),
    time_column("latency_until"),
    text_column("reason", default=""),
    time_column("decided_at", null=True),
    time_column("ended_at", null=True),
    Index("ix_probations_model", "model_name", "promotion_seq"),
)

quarantines: Final = Table(
    "quarantines",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("model_name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("lifted", Boolean, nullable=False),
    time_column("at"),
    text_column("actor"),
    text_column("reason"),
    time_column("projected_at", null=True),
    Index("ix_quarantines_version", "model_name", "version", "seq"),
)

rollouts: Final = Table(
    "rollouts",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model_name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("beside", Integer, nullable=False),
    Column("role", String(16), nullable=False),
    Column("share", Float, nullable=False),
    Column("state", String(16), nullable=False),
    time_column("at"),
    text_column("actor"),
    text_column("reason"),
    Column("cursor", BigInteger, nullable=False, server_default="0"),
    json_column("duel"),
    time_column("ended_at", null=True),
    text_column("ended_by", default=""),
    text_column("ended_reason", default=""),
    Index(
        "uq_rollouts_running",
        "model_name",
        unique=True,
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
)
