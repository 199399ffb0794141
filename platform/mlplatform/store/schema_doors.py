"""The table of API keys; it knows no query."""

from typing import Final

from sqlalchemy import Column, String, Table

from mlplatform.store.schema import metadata, named_json, named_text, named_time

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
