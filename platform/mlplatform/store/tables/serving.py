"""The table of how servers compute, as tuning found it; it knows no query."""

from typing import Final

from sqlalchemy import Column, String, Table

from mlplatform.store.tables.core import json_column, metadata, text_column, time_column

compute_configs: Final = Table(
    "compute_configs",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("host_class", String(200), primary_key=True),
    time_column("at"),
    json_column("plan"),
    json_column("measured"),
    text_column("instance"),
    text_column("run_id", default=""),
)
