"""The tables around labels: those that wait, keys under which some came, predictions that were erased; no query."""

from typing import Final

from sqlalchemy import BigInteger, Column, Index, String, Table

from mlplatform.store.tables.core import metadata, text_column, time_column

pending_label_rows: Final = Table(
    "pending_labels",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("prediction_id", String(64), nullable=False),
    Column("label", String(64), nullable=False),
    Column("source", String(16), nullable=False),
    Column("reviewer", String(200), nullable=False, server_default=""),
    time_column("at"),
    time_column("received_at", index=True),
    text_column("key", default=""),
    Column("feed", String(200), nullable=False, server_default=""),
    Index("uq_pending_labels_once", "prediction_id", "source", "reviewer", "label", "at", unique=True),
)

feedback_idempotency_keys: Final = Table(
    "feedback_idempotency_keys",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("feedback_id", String(64), nullable=False),
    time_column("at", index=True),
)

erased_predictions: Final = Table(
    "erased_predictions",
    metadata,
    Column("digest", BigInteger, primary_key=True, autoincrement=False),
    time_column("at", index=True),
)
