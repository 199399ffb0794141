"""The tables of trials and of the answers given beside those that were served; it knows no query."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, Index, Integer, String, Table, text

from mlplatform.store.tables.core import metadata, named_json, named_text, named_time

trials: Final = Table(
    "trials",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model_name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("beside", Integer, nullable=False),
    Column("role", String(16), nullable=False),
    Column("share", Float, nullable=False),
    Column("state", String(16), nullable=False),
    named_time("at"),
    named_text("actor"),
    named_text("reason"),
    Column("cursor", BigInteger, nullable=False, server_default="0"),
    named_json("duel"),
    named_time("ended_at", null=True),
    named_text("ended_by", default=""),
    named_text("ended_reason", default=""),
    Index(
        "uq_trials_running",
        "model_name",
        unique=True,
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
)

shadow_answers: Final = Table(
    "shadow_answers",
    metadata,
    Column("prediction_id", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("trial_id", String(64), nullable=False, index=True),
    named_time("at", index=True),
    named_text("label"),
    named_json("probabilities"),
    Column("confidence", Float, nullable=False),
    Column("latency_ms", Float, nullable=False),
)
