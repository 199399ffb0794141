"""The table of how servers compute, as tuning found it; it knows no query."""

from typing import Final

from sqlalchemy import Column, String, Table

from mlplatform.store.tables.core import metadata, named_json, named_text, named_time

tunings: Final = Table(
    "tunings",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("host_class", String(200), primary_key=True),
    named_time("at"),
    named_json("plan"),
    named_json("measured"),
    named_text("instance"),
    named_text("run_id", default=""),
)
