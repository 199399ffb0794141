"""The tables of labels: as they came, those that wait for a prediction, and what became of predictions."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, text

from mlplatform.store.tables.base import id_column, json_column, metadata, text_column, time_column

feedback: Final = Table(
    "feedback",
    metadata,
    id_column(),
    Column("prediction_id", String(64), ForeignKey("predictions.id"), nullable=False, index=True),
    text_column("label"),
    Column("source", String(16), nullable=False),
    text_column("reviewer", default=""),
    time_column("at"),
    time_column("received_at", index=True),
    Column("superseded_by", String(64), nullable=True),
    Column("feed", String(200), nullable=True),
    Index(
        "uq_feedback_current",
        "prediction_id",
        "source",
        "reviewer",
        unique=True,
        sqlite_where=text("superseded_by IS NULL"),
        postgresql_where=text("superseded_by IS NULL"),
    ),
)

pending_label_rows: Final = Table(
    "pending_labels",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("prediction_id", String(64), nullable=False),
    text_column("label"),
    Column("source", String(16), nullable=False),
    Column("reviewer", String(200), nullable=False, server_default=""),
    time_column("at"),
    time_column("received_at", index=True),
    text_column("key", default=""),
    Column("feed", String(200), nullable=False, server_default=""),
    text_column("model_name", default=""),
    Index("uq_pending_labels_once", "prediction_id", "source", "reviewer", "label", "at", "model_name", unique=True),
)

feedback_idempotency_keys: Final = Table(
    "feedback_idempotency_keys",
    metadata,
    Column("key", String(200), primary_key=True),
    Column("digest", String(64), nullable=False),
    Column("feedback_id", String(64), nullable=False),
    time_column("at", index=True),
)

outcomes: Final = Table(
    "outcomes",
    metadata,
    Column("prediction_id", String(64), ForeignKey("predictions.id"), primary_key=True),
    Column("seq", BigInteger, nullable=False),
    text_column("model_name"),
    Column("model_version", Integer, nullable=False),
    time_column("at"),
    time_column("known_at"),
    text_column("label"),
    text_column("truth"),
    Column("source", String(16), nullable=False),
    text_column("seen"),
    Column("confidence", Float, nullable=False),
    Column("weight", Float, nullable=False),
    Column("share", Float, nullable=False, server_default="1"),
    Column("loss", Float, nullable=False, server_default="0"),
    Column("truth_class", String(64), nullable=False, server_default=""),
    Column("label_class", String(64), nullable=False, server_default=""),
    json_column("tags", null=True),
    text_column("request_id", default=""),
    Index("uq_outcomes_order", "model_name", "model_version", "seq", unique=True),
    Index("ix_outcomes_window", "model_name", "model_version", "at"),
    Index(
        "ix_outcomes_newest",
        "model_name",
        "model_version",
        "source",
        "seq",
        sqlite_where=text("weight > 0"),
        postgresql_where=text("weight > 0"),
    ),
)

label_counts: Final = Table(
    "label_counts",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("source", String(16), primary_key=True),
    Column("truth", String(200), primary_key=True),
    Column("label", String(200), primary_key=True),
    Column("weight", Float, primary_key=True),
    Column("n", Integer, nullable=False),
)

label_count_rollups: Final = Table(
    "label_count_rollups",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("span", Integer, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("source", String(16), primary_key=True),
    Column("truth", String(200), primary_key=True),
    Column("label", String(200), primary_key=True),
    Column("weight", Float, primary_key=True),
    Column("n", Integer, nullable=False),
)

review_claims: Final = Table(
    "review_claims",
    metadata,
    Column("prediction_id", String(64), ForeignKey("predictions.id"), primary_key=True),
    Column("queue", String(64), nullable=False),
    Column("reviewer", String(200), nullable=False),
    time_column("until"),
    Index("ix_review_claims_reviewer", "reviewer", "queue"),
)

review_verdicts: Final = Table(
    "review_verdicts",
    metadata,
    Column("prediction_id", String(64), ForeignKey("predictions.id"), primary_key=True),
    Column("reviewer", String(200), primary_key=True),
    Column("model_name", String(64), nullable=False),
    Column("queue", String(64), nullable=False),
    Column("verdict", String(16), nullable=False),
    text_column("label", default=""),
    time_column("at"),
    Index("ix_review_verdicts_newest", "model_name", "reviewer", "at"),
)

sequence_counters: Final = Table(
    "sequence_counters",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
