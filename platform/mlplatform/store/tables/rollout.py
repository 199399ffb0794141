"""The tables of trials and of the answers given beside those that were served; it knows no query."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, text

from mlplatform.store.tables.core import json_column, metadata, text_column, time_column

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

shadow_prediction_rows: Final = Table(
    "shadow_predictions",
    metadata,
    Column("prediction_id", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("trial_id", String(64), nullable=False, index=True),
    time_column("at", index=True),
    text_column("label"),
    json_column("probabilities"),
    Column("confidence", Float, nullable=False),
    Column("latency_ms", Float, nullable=False),
)
