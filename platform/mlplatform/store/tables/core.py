"""The store's tables as SQLAlchemy metadata; it knows no query and no connection."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, always UTC; a naive one is refused on the way in."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"naive datetime {value!r}: give an aware one, e.g. datetime.now(UTC)")
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None) if dialect.name == "sqlite" else moment

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id_column() -> Column[str]:
    return Column("id", String(64), primary_key=True)


def time_column(name: str, *, null: bool = False, index: bool = False) -> Column[datetime]:
    return Column(name, UtcDateTime, nullable=null, index=index)


def json_column(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, JSON, nullable=null)


def text_column(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, server_default=default)


images = Table(
    "images",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("png", LargeBinary, nullable=False),
    time_column("at"),
)

predictions = Table(
    "predictions",
    metadata,
    _id_column(),
    time_column("at"),
    text_column("model_name"),
    Column("model_version", Integer, nullable=False),
    Column("image_hash", String(64), ForeignKey("images.hash"), nullable=False, index=True),
    text_column("label"),
    json_column("probabilities"),
    Column("confidence", Float, nullable=False),
    Column("latency_ms", Float, nullable=False),
    text_column("request_id"),
    text_column("client_id", default=""),
    json_column("tags", null=True),
    Column("role", String(16), nullable=False, server_default="champion"),
    Index("ix_predictions_window", "model_name", "model_version", "at"),
)

feedback = Table(
    "feedback",
    metadata,
    _id_column(),
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

baselines = Table(
    "baselines",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("host_class", Text, primary_key=True),
    json_column("numbers"),
    time_column("at"),
)

evaluations = Table(
    "evaluations",
    metadata,
    _id_column(),
    text_column("rule"),
    time_column("slot"),
    time_column("at", index=True),
    text_column("model_name"),
    Column("model_version", Integer, nullable=False),
    time_column("window_start"),
    time_column("window_end"),
    Column("state", String(16), nullable=False),
    json_column("findings"),
    json_column("measured", null=True),
    text_column("report", null=True),
    text_column("evaluated_by"),
    UniqueConstraint("model_name", "rule", "slot"),
)

alerts = Table(
    "alerts",
    metadata,
    _id_column(),
    text_column("rule"),
    text_column("key", default=""),
    text_column("model_name"),
    Column("model_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    time_column("opened_at", index=True),
    time_column("since"),
    time_column("fired_at", null=True),
    time_column("last_notified_at", null=True),
    json_column("numbers"),
    text_column("sentence"),
    Column("evaluation_id", String(64), ForeignKey("evaluations.id"), nullable=False),
    Column("notices", Integer, nullable=False),
    Index(
        "uq_alerts_open",
        "rule",
        "key",
        "model_name",
        "model_version",
        unique=True,
        sqlite_where=text("state IN ('pending', 'firing', 'acknowledged')"),
        postgresql_where=text("state IN ('pending', 'firing', 'acknowledged')"),
    ),
)

alert_transitions = Table(
    "alert_transitions",
    metadata,
    _id_column(),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=False, index=True),
    time_column("at"),
    Column("from_state", String(16), nullable=True),
    Column("to_state", String(16), nullable=False),
    text_column("reason"),
    text_column("actor"),
)

silences = Table(
    "silences",
    metadata,
    _id_column(),
    text_column("rule"),
    text_column("key", default="*"),
    text_column("severity", default="*"),
    time_column("at"),
    time_column("until"),
    text_column("actor"),
    text_column("comment", default=""),
)

outbox = Table(
    "outbox",
    metadata,
    _id_column(),
    Column("idempotency_key", String(200), nullable=False, unique=True),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True, index=True),
    text_column("channel"),
    json_column("payload"),
    Column("state", String(16), nullable=False, index=True),
    time_column("created_at"),
    time_column("next_attempt_at"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    text_column("last_error", null=True),
    time_column("delivered_at", null=True),
    Column("model_name", String(64), nullable=True),
)

retrainings = Table(
    "retrainings",
    metadata,
    _id_column(),
    text_column("pipeline"),
    Column("state", String(16), nullable=False),
    text_column("reason"),
    Column("trigger", String(16), nullable=False),
    json_column("causes"),
    Column("rerun_of", String(64), ForeignKey("retrainings.id"), nullable=True),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True),
    text_column("requested_by"),
    time_column("requested_at"),
    time_column("started_at", null=True),
    time_column("heartbeat_at", null=True),
    time_column("finished_at", null=True),
    text_column("owner", null=True),
    json_column("progress", null=True),
    text_column("run_id", null=True),
    Column("candidate_version", Integer, nullable=True),
    json_column("verdict", null=True),
    Column("promoted", Boolean, nullable=False, server_default=text("false")),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    text_column("error", null=True),
    Column("after_promotion", Integer, nullable=True),
    Column("ending", Integer, nullable=True),
    Index(
        "uq_retrainings_queued",
        "pipeline",
        unique=True,
        sqlite_where=text("state = 'queued'"),
        postgresql_where=text("state = 'queued'"),
    ),
    Index(
        "uq_retrainings_running",
        "pipeline",
        unique=True,
        sqlite_where=text("state = 'running'"),
        postgresql_where=text("state = 'running'"),
    ),
)

promotions = Table(
    "promotions",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    text_column("model_name"),
    Column("from_version", Integer, nullable=True),
    Column("to_version", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    time_column("at"),
    text_column("actor"),
    text_column("reason"),
    Column("retraining_id", String(64), ForeignKey("retrainings.id"), nullable=True, unique=True),
    json_column("verdict", null=True),
    Column("fence", Integer, nullable=False),
    Index("ix_promotions_model", "model_name", "seq"),
)

tasks = Table(
    "tasks",
    metadata,
    _id_column(),
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

leases = Table(
    "leases",
    metadata,
    Column("name", String(100), primary_key=True),
    text_column("holder"),
    Column("fence", Integer, nullable=False),
    time_column("expires_at"),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("component", String(32), primary_key=True),
    Column("instance", String(200), primary_key=True),
    time_column("at"),
    json_column("details"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    time_column("at", index=True),
    text_column("actor"),
    text_column("action"),
    text_column("subject"),
    json_column("details"),
    Column("number", BigInteger, nullable=True, unique=True),
    Column("hash", String(64), nullable=True),
    Index("ix_audit_log_subject", "subject", "seq"),
)
