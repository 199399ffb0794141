"""The outbox: notices written in the transaction that caused them, delivered at least once; it sends nothing.

A notice's idempotency key is derived from its cause, so a receiver recognises a repeated delivery as the same.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, or_, select, update

from mlplatform.clock import new_id
from mlplatform.store.database import insert_new
from mlplatform.store.schema import alerts, outbox

FIRST_DELAY = timedelta(seconds=2)
LONGEST_DELAY = timedelta(minutes=15)
DOUBLINGS = 20  # beyond them the delay is the longest anyway, and further ones would overflow


@dataclass(frozen=True)
class Message:
    """One notice for one channel."""

    id: str
    idempotency_key: str
    alert_id: str | None
    channel: str
    payload: dict[str, Any]
    state: str
    created_at: datetime
    next_attempt_at: datetime
    attempts: int
    last_error: str | None
    delivered_at: datetime | None
    model_name: str | None = None


def post(
    connection: Connection,
    *,
    key: str,
    channel: str,
    payload: Mapping[str, Any],
    alert_id: str | None,
    now: datetime,
    model_name: str | None = None,
) -> bool:
    """Put a notice in the outbox; the same key again changes nothing. Returns whether it was new.

    One about no alert names its model, so that the watcher with that model's channels sends it.
    """
    row = {
        "id": new_id(),
        "idempotency_key": key,
        "alert_id": alert_id,
        "channel": channel,
        "payload": dict(payload),
        "state": "waiting",
        "created_at": now,
        "next_attempt_at": now,
        "attempts": 0,
        "model_name": model_name,
    }
    return insert_new(connection, outbox, [row]) == 1


def due(connection: Connection, now: datetime, model_name: str, limit: int = 20) -> list[Message]:
    """Messages about a model to send now, oldest first; those about neither are anybody's."""
    about = func.coalesce(alerts.c.model_name, outbox.c.model_name)
    query = (
        select(outbox)
        .outerjoin(alerts, alerts.c.id == outbox.c.alert_id)
        .where(outbox.c.state == "waiting", outbox.c.next_attempt_at <= now)
        .where(or_(about.is_(None), about == model_name))
        .order_by(outbox.c.id)
        .limit(limit)
    )
    return [Message(**row._mapping) for row in connection.execute(query)]


def delivered(connection: Connection, message_id: str, now: datetime) -> None:
    """Mark a message as taken by its receiver."""
    connection.execute(
        update(outbox)
        .where(outbox.c.id == message_id)
        .values(state="delivered", delivered_at=now, attempts=outbox.c.attempts + 1, last_error=None)
    )


def failed(connection: Connection, message: Message, error: str, attempts_allowed: int, now: datetime) -> str:
    """Plan the next try with exponential backoff, or give up visibly; returns the new state.

    A message that another courier delivered meanwhile stays delivered.
    """
    attempts = message.attempts + 1
    state = "failed" if attempts >= attempts_allowed else "waiting"
    delay = min(FIRST_DELAY * 2 ** min(attempts - 1, DOUBLINGS), LONGEST_DELAY)
    shown = error.replace("\0", "")[:500]  # a receiver's answer may hold what PostgreSQL refuses as text
    planned = connection.execute(
        update(outbox)
        .where(outbox.c.id == message.id, outbox.c.state != "delivered")
        .values(state=state, attempts=attempts, last_error=shown, next_attempt_at=now + delay)
    )
    return state if planned.rowcount else "delivered"


def move_plans(connection: Connection, by: timedelta, now: datetime) -> int:
    """Move the next tries that are planned for later with a clock that was set back; returns how many."""
    query = select(outbox.c.id, outbox.c.next_attempt_at).where(
        outbox.c.state == "waiting", outbox.c.next_attempt_at > now
    )
    rows = connection.execute(query).all()
    for row in rows:
        moved = update(outbox).where(outbox.c.id == row.id, outbox.c.next_attempt_at == row.next_attempt_at)
        connection.execute(moved.values(next_attempt_at=row.next_attempt_at + by))
    return len(rows)


def undelivered(connection: Connection) -> list[Message]:
    """Messages still waiting or given up, oldest first."""
    query = select(outbox).where(outbox.c.state != "delivered").order_by(outbox.c.id)
    return [Message(**row._mapping) for row in connection.execute(query)]


def recent(connection: Connection, limit: int = 50) -> list[Message]:
    """Messages, newest first."""
    query = select(outbox).order_by(outbox.c.id.desc()).limit(limit)
    return [Message(**row._mapping) for row in connection.execute(query)]
