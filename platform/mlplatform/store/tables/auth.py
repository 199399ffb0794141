"""The tables of API keys and of the audit log's chains and anchors; it knows no query."""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table

from mlplatform.store.tables.core import json_column, metadata, text_column, time_column

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    text_column("name"),
    Column("digest", String(64), nullable=False),
    json_column("scopes"),
    time_column("created_at"),
    text_column("created_by"),
    time_column("expires_at", null=True),
    time_column("revoked_at", null=True),
    time_column("last_used_at", null=True),
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
