"""The audit log: who did what to which thing, append-only; it judges nothing."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from mlplatform.store.schema import audit_log


def note(
    connection: Connection,
    actor: str,
    action: str,
    subject: str,
    now: datetime,
    details: Mapping[str, Any] | None = None,
) -> None:
    """Append one entry, inside the caller's transaction, so that act and entry stand or fall together."""
    connection.execute(
        insert(audit_log).values(at=now, actor=actor, action=action, subject=subject, details=dict(details or {}))
    )


def entries(connection: Connection, limit: int = 100) -> list[dict[str, Any]]:
    """The newest entries, newest first."""
    query = select(audit_log).order_by(audit_log.c.seq.desc()).limit(limit)
    return [dict(row._mapping) for row in connection.execute(query)]
