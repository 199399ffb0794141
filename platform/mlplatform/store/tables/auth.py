"""The tables of API keys and of the audit log's chains and anchors; it knows no query."""

from typing import Final

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table

from mlplatform.store.tables.core import metadata, named_json, named_text, named_time

api_keys: Final = Table(
    "api_keys",
    metadata,
    Column("id", String(16), primary_key=True),
    named_text("name"),
    Column("digest", String(64), nullable=False),
    named_json("scopes"),
    named_time("created_at"),
    named_text("created_by"),
    named_time("expires_at", null=True),
    named_time("revoked_at", null=True),
    named_time("last_used_at", null=True),
)

audit_chains: Final = Table(
    "audit_chains",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("number", BigInteger, nullable=False),
    Column("hash", String(64), nullable=False),
    named_time("at"),
)

audit_batches: Final = Table(
    "audit_batches",
    metadata,
    Column("chain", String(200), primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    named_time("at", index=True),
    named_time("oldest"),
    Column("answers", Integer, nullable=False),
    Column("leaves", LargeBinary, nullable=False),
    Column("hash", String(64), nullable=False),
)

audit_anchor_files: Final = Table(
    "audit_anchor_files",
    metadata,
    Column("id", String(64), primary_key=True),
    named_text("path"),
    named_text("host"),
    Column("lines", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    named_time("at"),
)
