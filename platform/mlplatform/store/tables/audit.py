"""The tables of the audit log, of its hash chains and of the checkpoints written about them."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, String, Table

from mlplatform.store.tables.base import json_column, metadata, text_column, time_column

audit_log: Final = Table(
    "audit_log",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    time_column("at", index=True),
    text_column("actor"),
    text_column("action"),
    text_column("subject"),
    json_column("details"),
    Column("number", BigInteger, nullable=True, unique=True),
    Column("hash", String(64), nullable=True),
    Index("ix_audit_log_subject", "subject", "seq"),
)

hash_chain_heads: Final = Table(
    "hash_chain_heads",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    time_column("at"),
)

prediction_attestations: Final = Table(
    "prediction_attestations",
    metadata,
    Column("chain", String(200), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    time_column("at", index=True),
    time_column("oldest"),
    Column("answers", Integer, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Column("hash", String(64), nullable=False),
)

audit_checkpoint_files: Final = Table(
    "audit_checkpoint_files",
    metadata,
    Column("id", String(64), primary_key=True),
    text_column("path"),
    text_column("host"),
    Column("lines", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    time_column("at"),
)
