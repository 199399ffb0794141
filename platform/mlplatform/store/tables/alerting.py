"""The tables of evaluations, alerts, silences and notices, and of what detectors remember."""

from typing import Final

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, String, Table, Text, UniqueConstraint, text

from mlplatform.store.tables.base import id_column, json_column, metadata, text_column, time_column

baselines: Final = Table(
    "baselines",
    metadata,
    Column("model_name", Text, primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("host_class", Text, primary_key=True),
    json_column("numbers"),
    time_column("at"),
)

evaluations: Final = Table(
    "evaluations",
    metadata,
    id_column(),
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

alerts: Final = Table(
    "alerts",
    metadata,
    id_column(),
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

alert_transitions: Final = Table(
    "alert_transitions",
    metadata,
    id_column(),
    Column("alert_id", String(64), ForeignKey("alerts.id"), nullable=False, index=True),
    time_column("at"),
    Column("from_state", String(16), nullable=True),
    Column("to_state", String(16), nullable=False),
    text_column("reason"),
    text_column("actor"),
)

silences: Final = Table(
    "silences",
    metadata,
    id_column(),
    text_column("rule"),
    text_column("key", default="*"),
    text_column("severity", default="*"),
    time_column("at"),
    time_column("until"),
    text_column("actor"),
    text_column("comment", default=""),
    text_column("model", default=""),
)

outbox: Final = Table(
    "outbox",
    metadata,
    id_column(),
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

detector_states: Final = Table(
    "detector_states",
    metadata,
    Column("model_name", String(64), primary_key=True),
    Column("model_version", Integer, primary_key=True),
    Column("rule", String(64), primary_key=True),
    Column("definition", String(64), nullable=False),
    Column("cursor", BigInteger, nullable=False),
    json_column("streams"),
    json_column("reading", null=True),
)
