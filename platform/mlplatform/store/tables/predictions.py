"""The tables of predictions: inputs, answers, their counts, samples for review, shadows and compute settings."""

from typing import Final

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table, text

from mlplatform.store.tables.base import id_column, json_column, metadata, text_column, time_column

inputs: Final = Table(
    "inputs",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
    time_column("at"),
    Column("form", String(64), nullable=False, server_default=""),
)

predictions: Final = Table(
    "predictions",
    metadata,
    id_column(),
    time_column("at"),
    text_column("model_name"),
    Column("model_version", Integer, nullable=False),
    Column("image_hash", String(64), ForeignKey("inputs.hash"), nullable=False, index=True),
    text_column("label"),
    json_column("probabilities"),
    Column("confidence", Float, nullable=False),
    Column("latency_ms", Float, nullable=False),
    text_column("request_id"),
    text_column("client_id", default=""),
    json_column("tags", null=True),
    Column("role", String(16), nullable=False, server_default="champion"),
    Column("reference", String(200), nullable=False, server_default=""),
    Column("subject", String(200), nullable=False, server_default=""),
    Column("label_class", String(64), nullable=False, server_default=""),
    Index("ix_predictions_window", "model_name", "model_version", "at"),
    Index(
        "ix_predictions_reference",
        "model_name",
        "reference",
        "at",
        sqlite_where=text("reference <> ''"),
        postgresql_where=text("reference <> ''"),
    ),
    Index(
        "ix_predictions_subject",
        "subject",
        sqlite_where=text("subject <> ''"),
        postgresql_where=text("subject <> ''"),
    ),
)

shadow_prediction_rows: Final = Table(
    "shadow_predictions",
    metadata,
    Column("prediction_id", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("trial_id", String(64), nullable=False, index=True),
    time_column("at", index=True),
    text_column("label"),
    json_column("probabilities"),
    Column("confidence", Float, nullable=False),
    Column("latency_ms", Float, nullable=False),
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

column_counts: Final = Table(
    "column_counts",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("hour", Integer, primary_key=True),
    Column("instance", String(200), primary_key=True),
    Column("answers", Integer, nullable=False),
    Column("counts", LargeBinary, nullable=False),
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

erased_predictions: Final = Table(
    "erased_predictions",
    metadata,
    Column("digest", BigInteger, primary_key=True, autoincrement=False),
    time_column("at", index=True),
)
