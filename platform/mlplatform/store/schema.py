"""The store's tables as SQLAlchemy metadata; it knows no query and no connection."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
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


def _time(name: str, *, null: bool = False, index: bool = False) -> Column[datetime]:
    return Column(name, UtcDateTime, nullable=null, index=index)


def _json(name: str, *, null: bool = False) -> Column[Any]:
    return Column(name, JSON, nullable=null)


def _text(name: str, *, null: bool = False, default: str | None = None) -> Column[str]:
    return Column(name, Text, nullable=null, server_default=default)


images = Table(
    "images",
    metadata,
    Column("hash", String(64), primary_key=True),
    Column("png", LargeBinary, nullable=False),
    _time("at"),
)

predictions = Table(
    "predictions",
    metadata,
    _id(),
    _time("at"),
    _text("model_name"),
    Column("model_version", Integer, nullable=False),
    Column("image_hash", String(64), ForeignKey("images.hash"), nullable=False, index=True),
    _text("label"),
    _json("probabilities"),
    Column("confidence", Float, nullable=False),
    Column("latency_ms", Float, nullable=False),
    _text("request_id"),
    _text("client_id", default=""),
    Index("ix_predictions_window", "model_name", "model_version", "at"),
)

feedback = Table(
    "feedback",
    metadata,
    _id(),
    Column("prediction_id", String(64), ForeignKey("predictions.id"), nullable=False, index=True),
    _text("label"),
    Column("source", String(16), nullable=False),
    _text("reviewer", default=""),
    _time("at"),
    _time("received_at", index=True),
    Column("superseded_by", String(64), nullable=True),
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
    _json("numbers"),
    _time("at"),
)

evaluations = Table(
    "evaluations",
    metadata,
    _id(),
    _text("rule"),
    _time("slot"),
    _time("at", index=True),
    _text("model_name"),
    Column("model_version", Integer, nullable=False),
    _time("window_start"),
    _time("window_end"),
    Column("state", String(16), nullable=False),
    _json("findings"),
    _text("report", null=True),
    _text("evaluated_by"),
    UniqueConstraint("model_name", "rule", "slot"),
)

alerts = Table(
    "alerts",
    metadata,
    _id(),
    _text("rule"),
    _text("key", default=""),
    _text("model_name"),
    Column("model_version", Integer, nullable=False),
    Column("state", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    _time("opened_at", index=True),
    _time("since"),
    _time("fired_at", null=True),
    _time("last_notified_at", null=True),
    _json("numbers"),
    _text("sentence"),
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
    _time("at"),
    Column("from_state", String(16), nullable=True),
    Column("to_state", String(16), nullable=False),
    _text("reason"),
    _text("actor"),
)

silences = Table(
    "silences",
    metadata,
    _id(),
    _text("rule"),
    _time("at"),
    _time("until"),
    _text("actor"),
    _text("comment", default=""),
)

outbox = Table(
    "outbox",
    metadata,
    _id(),
    Column("idempotency_key", String(200), nullable=False, unique=True),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True, index=True),
    _text("channel"),
    _json("payload"),
    Column("state", String(16), nullable=False, index=True),
    _time("created_at"),
    _time("next_attempt_at"),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _text("last_error", null=True),
    _time("delivered_at", null=True),
)

retrainings = Table(
    "retrainings",
    metadata,
    _id(),
    _text("pipeline"),
    Column("state", String(16), nullable=False),
    _text("reason"),
    Column("trigger", String(16), nullable=False),
    _json("causes"),
    Column("rerun_of", String(64), ForeignKey("retrainings.id"), nullable=True),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True),
    _text("requested_by"),
    _time("requested_at"),
    _time("started_at", null=True),
    _time("heartbeat_at", null=True),
    _time("finished_at", null=True),
    _text("owner", null=True),
    _json("progress", null=True),
    _text("run_id", null=True),
    Column("candidate_version", Integer, nullable=True),
    _json("verdict", null=True),
    Column("promoted", Boolean, nullable=False, server_default=text("false")),
    _text("error", null=True),
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
    _text("model_name"),
    Column("from_version", Integer, nullable=True),
    Column("to_version", Integer, nullable=False),
    Column("kind", String(16), nullable=False),
    _time("at"),
    _text("actor"),
    _text("reason"),
    Column("retraining_id", String(64), ForeignKey("retrainings.id"), nullable=True, unique=True),
    _json("verdict", null=True),
    Column("fence", Integer, nullable=False),
    Index("ix_promotions_model", "model_name", "seq"),
)

tasks = Table(
    "tasks",
    metadata,
    _id(),
    Column("kind", String(32), nullable=False),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=True, unique=True),
    _text("model_name"),
    Column("state", String(16), nullable=False, index=True),
    _json("details"),
    _json("result", null=True),
    _time("at"),
    _time("finished_at", null=True),
)

leases = Table(
    "leases",
    metadata,
    Column("name", String(100), primary_key=True),
    _text("holder"),
    Column("fence", Integer, nullable=False),
    _time("expires_at"),
)

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("component", String(32), primary_key=True),
    Column("instance", String(200), primary_key=True),
    _time("at"),
    _json("details"),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    _time("at", index=True),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _json("details"),
)
