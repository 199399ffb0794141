"""The tables of probations and quarantines; it knows no query."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table

from mlplatform.store.tables.core import json_column, metadata, text_column, time_column

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
