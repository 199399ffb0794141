"""The tables of probations and quarantines; it knows no query."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, Column, Float, ForeignKey, Index, Integer, String, Table

from mlplatform.store.tables.core import metadata, named_json, named_text, named_time

probations: Final = Table(
    "probations",
    metadata,
    Column("promotion_seq", Integer, ForeignKey("promotions.seq"), primary_key=True, autoincrement=False),
    Column("model_name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("before", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    named_time("at"),
    named_time("until"),
    Column("label_level", Float, nullable=False),
    Column("latency_level", Float, nullable=False),
    Column("cursor", BigInteger, nullable=False, server_default="0"),
    named_json("duel"),
    named_time("latency_until"),
    named_text("reason", default=""),
    named_time("decided_at", null=True),
    named_time("ended_at", null=True),
    Index("ix_probations_model", "model_name", "promotion_seq"),
)

quarantines: Final = Table(
    "quarantines",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("model_name", String(64), nullable=False),
    Column("version", Integer, nullable=False),
    Column("lifted", Boolean, nullable=False),
    named_time("at"),
    named_text("actor"),
    named_text("reason"),
    named_time("projected_at", null=True),
    Index("ix_quarantines_version", "model_name", "version", "seq"),
)
