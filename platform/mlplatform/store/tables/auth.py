"""The tables of API keys, of what all servers sign with, and of signed tokens that are good no more."""

from typing import Final

from sqlalchemy import Column, String, Table

from mlplatform.store.tables.base import json_column, metadata, text_column, time_column

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

server_secrets: Final = Table(
    "server_secrets",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", String(64), nullable=False),
    time_column("at"),
)

spent_tokens: Final = Table(
    "spent_tokens",
    metadata,
    Column("id", String(64), primary_key=True),
    time_column("expires_at"),
)
"""Sign-ins that were completed and sessions that were ended, by id, until they would have expired by themselves."""
