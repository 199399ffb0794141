"""The table of retrainings."""

from typing import Final

from sqlalchemy import Boolean, Column, ForeignKey, Index, Integer, String, Table, text

from mlplatform.store.tables.base import id_column, json_column, metadata, text_column, time_column

retrainings: Final = Table(
    "retrainings",
    metadata,
    id_column(),
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
