"""The tables that make watching cheap: labels in order, their counts, detectors' memories; it knows no query."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, String, Table, text

from mlplatform.store.tables.core import json_column, metadata, text_column, time_column

sequence_counters: Final = Table(
    "sequence_counters",
    metadata,
    Column("name", String(200), primary_key=True),
    Column("value", BigInteger, nullable=False),
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
    json_column("tags", null=True),
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

prediction_counts: Final = Table(
    "prediction_counts",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("host_class", String(200), primary_key=True),
    Column("instance", String(200), primary_key=True),
    Column("answers", Integer, nullable=False),
    json_column("latency"),
    json_column("labels"),
    json_column("failures", null=True),
)

prediction_count_rollups: Final = Table(
    "prediction_count_rollups",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("span", Integer, primary_key=True),
    Column("minute", Integer, primary_key=True),
    Column("host_class", String(200), primary_key=True),
    Column("instance", String(200), primary_key=True),
    Column("answers", Integer, nullable=False),
    json_column("latency"),
    json_column("labels"),
)

sampling_plans: Final = Table(
    "sampling_plans",
    metadata,
    Column("id", String(64), primary_key=True),
    Column("model_name", String(64), nullable=False),
    Column("model_version", Integer, nullable=False),
    time_column("at"),
    json_column("plan"),
    Column("salt", String(64), nullable=False),
    Index("ix_sampling_plans_newest", "model_name", "model_version", "at"),
)

review_samples: Final = Table(
    "review_samples",
    metadata,
    Column("prediction_id", String(64), ForeignKey("predictions.id"), primary_key=True),
    Column("model_name", String(64), nullable=False),
    Column("model_version", Integer, nullable=False),
    time_column("at"),
    Column("inclusion", Float, nullable=False),
    Column("heaviest", Float, nullable=False),
    Column("stratum", String(200), nullable=False),
    Column("place", String(64), nullable=False),
    Column("claimed_by", String(200), nullable=False, server_default=""),
    time_column("claimed_until", null=True),
    time_column("finished_at", null=True),
    Index("ix_review_samples_open", "model_name", "model_version", "finished_at", "place"),
    Index("ix_review_samples_window", "model_name", "model_version", "at"),
)

detector_states: Final = Table(
    "detector_states",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("rule", String(64), primary_key=True),
    Column("definition", String(64), nullable=False),
    Column("cursor", BigInteger, nullable=False),
    json_column("streams"),
)
