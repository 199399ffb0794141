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


def _id() -> Column[str]:
    return Column("id", String(64), primary_key=True)


def named_time(name: str, *, null: bool = False, index: bool = False) -> Column[datetime]:
    return Column(name, UtcDateTime, nullable=null, index=index)


def named_json(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, JSON, nullable=null)


def named_text(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, server_default=default)


images = Table(
    "images",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("png", LargeBinary, nullable=False),
    named_time("at"),
)

predictions = Table(
    "predictions",
    metadata,
    _id(),
    named_time("at"),
    named_text("model_name"),
    Column("model_version", Integer, nullable=False),
    Column("image_hash", String(64), ForeignKey("images.hash"), nullable=False, index=True),
    named_text("label"),
    named_json("probabilities"),
    Column("confidence", Float, nullable=False),
    Column("latency_ms", Float, nullable=False),
    named_text("request_id"),
    named_text("client_id", default=""),
    named_json("tags", null=True),
    Column("role", String(16), nullable=False, server_default="champion"),
    Index("ix_predictions_window", "model_name", "model_version", "at"),
)

feedback = Table(
    "feedback",
    metadata,
    _id(),
    Column("prediction_id", String(64), ForeignKey("predictions.id"), nullable=False, index=True),
    named_text("label"),
    Column("source", String(16), nullable=False),
    named_text("reviewer", default=""),
    named_time("at"),
    named_time("received_at", index=True),
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
    named_json("numbers"),
    named_time("at"),
)

evaluations = Table(
    "evaluations",
    metadata,
    _id(),
    named_text("rule"),
    named_time("slot"),
    named_time("at", index=True),
    named_text("model_name"),
    Column("model_version", Integer, nullable=False),
    named_time("window_start"),
    named_time("window_end"),
    Column("state", String(16), nullable=False),
    named_json("findings"),
    named_json("measured", null=True),
    named_text("report", null=True),
    named_text("evaluated_by"),
    UniqueConstraint("model_name", "rule", "slot"),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    named_text("rule"),
    named_text("key", default=""),
    named_text("model_name"),
    Column("model_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    named_time("opened_at", index=True),
    named_time("since"),
    named_time("fired_at", null=True),
    named_time("last_notified_at", null=True),
    named_json("numbers"),
    named_text("sentence"),
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

alert_changes = Table(
    "alert_changes",
    metadata,
    _id(),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=False, index=True),
    named_time("at"),
    Column("from_state", String(16), nullable=True),
    Column("to_state", String(16), nullable=False),
    named_text("reason"),
    named_text("actor"),
)

silences = Table(
    "silences",
    metadata,
    _id(),
    named_text("rule"),
    named_text("key", default="*"),
    named_text("severity", default="*"),
    named_time("at"),
    named_time("until"),
    named_text("actor"),
    named_text("comment", default=""),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("idempotency_key", String(200), nullable=False, unique=True),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True, index=True),
    named_text("channel"),
    named_json("payload"),
    Column("state", String(16), nullable=False, index=True),
    named_time("created_at"),
    named_time("next_attempt_at"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    named_text("last_error", null=True),
    named_time("delivered_at", null=True),
    Column("model_name", String(64), nullable=True),
)

retrainings = Table(
    "retrainings",
    metadata,
    _id(),
    named_text("pipeline"),
    Column("state", String(16), nullable=False),
    named_text("reason"),
    Column("trigger", String(16), nullable=False),
    named_json("causes"),
    Column("rerun_of", String(64), ForeignKey("retrainings.id"), nullable=True),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True),
    named_text("requested_by"),
    named_time("requested_at"),
    named_time("started_at", null=True),
    named_time("heartbeat_at", null=True),
    named_time("finished_at", null=True),
    named_text("owner", null=True),
    named_json("progress", null=True),
    named_text("run_id", null=True),
    Column("candidate_version", Integer, nullable=True),
    named_json("verdict", null=True),
    Column("promoted", Boolean, nullable=False, server_default=text("false")),
    Column("dry_run", Boolean, nullable=False, server_default=text("false")),
    named_text("error", null=True),
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
    named_text("model_name"),
    Column("from_version", Integer, nullable=True),
    Column("to_version", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    named_time("at"),
    named_text("actor"),
    named_text("reason"),
    Column("retraining_id", String(64), ForeignKey("retrainings.id"), nullable=True, unique=True),
    named_json("verdict", null=True),
    Column("fence", Integer, nullable=False),
    Index("ix_promotions_model", "model_name", "seq"),
)

tasks = Table(
    "tasks",
    metadata,
    _id(),
    Column("kind", String(32), nullable=False),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True, unique=True),
    Column("key", String(200), nullable=True, unique=True),
    named_text("model_name"),
    Column("state", String(16), nullable=False, index=True),
    named_json("details"),
    named_json("result", null=True),
    named_time("at"),
    named_time("finished_at", null=True),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(100), primary_key=True),
    named_text("holder"),
    Column("fence", Integer, nullable=False),
    named_time("expires_at"),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("component", String(32), primary_key=True),
    Column("instance", String(200), primary_key=True),
    named_time("at"),
    named_json("details"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    named_time("at", index=True),
    named_text("actor"),
    named_text("action"),
    named_text("subject"),
    named_json("details"),
    Column("number", BigInteger, nullable=True, unique=True),
    Column("hash", String(64), nullable=True),
    Index("ix_audit_log_subject", "subject", "seq"),
)
