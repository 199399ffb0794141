"""The tables by which processes agree: leases, signs of life, and tasks for people and servers."""

from typing import Final

from sqlalchemy import Column, ForeignKey, Integer, String, Table

from mlplatform.store.tables.base import id_column, json_column, metadata, text_column, time_column

leases: Final = Table(
    "leases",
    metadata,
    Column("name", String(100), primary_key=True),
    text_column("holder"),
    Column("fence", Integer, nullable=False),
    time_column("expires_at"),
)

heartbeats: Final = Table(
    "heartbeats",
    metadata,
    Column("component", String(32), primary_key=True),
    Column("instance", String(200), primary_key=True),
    time_column("at"),
    json_column("details"),
)

tasks: Final = Table(
    "tasks",
    metadata,
    id_column(),
    Column("kind", String(32), nullable=False),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True, unique=True),
    Column("key", String(200), nullable=True, unique=True),
    text_column("model_name"),
    Column("state", String(16), nullable=False, index=True),
    json_column("details"),
    json_column("result", null=True),
    time_column("at"),
    time_column("finished_at", null=True),
)
