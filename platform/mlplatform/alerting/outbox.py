"""The outbox table: notices written in the transaction that caused them, kept until delivered or given up.

`dispatcher.py` sends what is due, `schedule_retry` plans the next attempt after a failure.

What a notice says, values of customers among it, is kept until it is delivered, given up or overtaken; then only which
alerts it was about, and of an incident what closes it.

A notice's idempotency key is derived from its cause, so a receiver recognises a repeated delivery as the same.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select, true, update

from mlplatform.alerting.retry_policy import MAX_RETRY_AFTER, RetryPolicy, decide_retry
from mlplatform.ids import uuid7
from mlplatform.store.database import insert_new
from mlplatform.store.tables.alerting import alerts, outbox
from monitors.alerts import Alert

OPEN_STATES: Final = ("waiting", "failed")
CONTENTS: Final = ("body", "message")
"""Where payloads hold what is sent."""
KEEPS_INCIDENTS: Final = "alertmanager"
"""The type of channel whose incidents are closed by the labels that opened them; its bodies show no input."""
FIRING_KINDS: Final = ("firing", "repeat", "escalated")
CRITICAL: Final = "critical"


@dataclass(frozen=True)
class OutboxMessage:
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

    @property
    def severity(self) -> str:
        """The severity of its cause; one from before severities were written counts as critical."""
        return str(self.payload.get("severity", CRITICAL))


def enqueue(
    connection: Connection,
    *,
    key: str,
    channel: str,
    payload: Mapping[str, Any],
    alert_id: str | None,
    now: datetime,
    model_name: str | None = None,
    send_after: datetime | None = None,
) -> bool:
    """Put a notice in the outbox; the same key again changes nothing. Returns whether it was new.

    It is sent at once, or from `send_after` on. One about no alert names its model, so that the watcher with that
    model's channels sends it.
    """
    row = {
        "id": uuid7(),
        "idempotency_key": key,
        "alert_id": alert_id,
        "channel": channel,
        "payload": dict(payload),
        "state": "waiting",
        "created_at": now,
        "next_attempt_at": send_after or now,
        "attempts": 0,
        "model_name": model_name,
    }
    return insert_new(connection, outbox, [row]) == 1


def due_messages(
    connection: Connection, now: datetime, model_name: str, limit: int = 20, channel: str | None = None
) -> list[OutboxMessage]:
    """Messages about a model to send now, critical ones first, then by age; those about neither are anybody's."""
    gravest = case((outbox.c.payload["severity"].as_string() == CRITICAL, 0), else_=1)
    of_channel = true() if channel is None else outbox.c.channel == channel
    query = (
        select(outbox)
        .outerjoin(alerts, alerts.c.id == outbox.c.alert_id)
        .where(_is_due(now), _concerns_model(model_name), of_channel)
        .order_by(gravest, outbox.c.id)
        .limit(limit)
    )
    return [OutboxMessage(**row._mapping) for row in connection.execute(query)]


def channels_due(connection: Connection, now: datetime, model_name: str) -> list[str]:
    """The channels that have messages about a model to send now."""
    query = (
        select(outbox.c.channel)
        .outerjoin(alerts, alerts.c.id == outbox.c.alert_id)
        .where(_is_due(now), _concerns_model(model_name))
        .distinct()
    )
    return sorted(connection.scalars(query))


def _concerns_model(model_name: str) -> ColumnElement[bool]:
    about = func.coalesce(alerts.c.model_name, outbox.c.model_name)
    return or_(about.is_(None), about == model_name)


def _is_due(now: datetime) -> ColumnElement[bool]:
    """The next attempt's time has come, or lies where only a clock that was set back since can have put it."""
    planned_ahead = and_(outbox.c.attempts > 0, outbox.c.next_attempt_at > now + MAX_RETRY_AFTER)
    written_ahead = and_(outbox.c.attempts == 0, outbox.c.created_at > now)
    return and_(outbox.c.state == "waiting", or_(outbox.c.next_attempt_at <= now, planned_ahead, written_ahead))


def reschedule_after_clock_step(connection: Connection, model_name: str, step: timedelta, now: datetime) -> int:
    """Move the next attempts forward after the clock went back by a step, so that nobody waits; returns how many."""
    query = (
        select(outbox.c.id, outbox.c.next_attempt_at)
        .outerjoin(alerts, alerts.c.id == outbox.c.alert_id)
        .where(outbox.c.state == "waiting", outbox.c.next_attempt_at > now, _concerns_model(model_name))
    )
    rows = connection.execute(query).all()
    for row in rows:
        moment = max(now, row.next_attempt_at - step)
        connection.execute(update(outbox).where(outbox.c.id == row.id).values(next_attempt_at=moment))
    return len(rows)


def firing_notice_ids(connection: Connection, alert: Alert) -> dict[str, list[str]]:
    """Who was to hear that an alert fires: the ids of those notices by channel, newest first."""
    query = (
        select(outbox.c.id, outbox.c.channel, outbox.c.payload["alerts"].label("about"), outbox.c.alert_id)
        .join(alerts, alerts.c.id == outbox.c.alert_id)
        .where(
            alerts.c.rule == alert.rule,
            alerts.c.model_name == alert.model,
            alerts.c.model_version == alert.version,
            outbox.c.payload["kind"].as_string().in_(FIRING_KINDS),
        )
        .order_by(outbox.c.id.desc())
    )
    ids: dict[str, list[str]] = {}
    for row in connection.execute(query):
        if alert.id in (row.about or [row.alert_id]):
            ids.setdefault(row.channel, []).append(row.id)
    return ids


def load_payloads(connection: Connection, ids: Sequence[str]) -> list[dict[str, Any]]:
    """What these notices say, newest first."""
    query = select(outbox.c.payload).where(outbox.c.id.in_(ids)).order_by(outbox.c.id.desc())
    return list(connection.scalars(query))


def supersede(connection: Connection, ids: Sequence[str]) -> int:
    """Let notices that still wait go unsent, because what follows them says more; returns how many."""
    waiting = outbox.c.id.in_(ids) & (outbox.c.state == "waiting")
    count = connection.execute(update(outbox).where(waiting).values(state="overtaken")).rowcount
    _drop_contents(connection, ids)
    return count


def mark_delivered(connection: Connection, message_id: str, now: datetime) -> None:
    """Mark a message as taken by its receiver."""
    connection.execute(
        update(outbox)
        .where(outbox.c.id == message_id)
        .values(state="delivered", delivered_at=now, attempts=outbox.c.attempts + 1, last_error=None)
    )
    _drop_contents(connection, [message_id])


def drop_sent_contents(connection: Connection, after: str = "", limit: int = 500) -> str | None:
    """Drop what closed notices say, from before that went with them; returns the last id looked at, None at the end."""
    closed = select(outbox.c.id).where(outbox.c.id > after, outbox.c.state != "waiting")
    ids = list(connection.scalars(closed.order_by(outbox.c.id).limit(limit)))
    _drop_contents(connection, ids)
    return ids[-1] if ids else None


def _drop_contents(connection: Connection, ids: Sequence[str]) -> None:
    """Drop what those of these notices say that wait no more."""
    query = select(outbox.c.id, outbox.c.payload).where(outbox.c.id.in_(ids), outbox.c.state != "waiting")
    for row in connection.execute(query).all():
        payload = row.payload
        if payload.get("type") != KEEPS_INCIDENTS and any(name in payload for name in CONTENTS):
            left = {name: value for name, value in payload.items() if name not in CONTENTS}
            connection.execute(update(outbox).where(outbox.c.id == row.id).values(payload=left))


def schedule_retry(
    connection: Connection,
    message: OutboxMessage,
    error: str,
    policy: RetryPolicy,
    now: datetime,
    retry_after: timedelta | None = None,
) -> str:
    """Schedule the next attempt after a failed one, with backoff, or give up visibly; returns the new state.

    What is left to send may have changed: the message's payload is written too. One that another dispatcher delivered
    meanwhile stays delivered.
    """
    retry = decide_retry(policy, message.severity, message.attempts, message.created_at, now, retry_after)
    state = "failed" if retry.gives_up else "waiting"
    scheduled = connection.execute(
        update(outbox)
        .where(outbox.c.id == message.id, outbox.c.state.in_(OPEN_STATES))
        .values(
            state=state,
            attempts=retry.attempts,
            last_error=error.replace("\0", "")[:500],  # an answer may hold what PostgreSQL refuses as text
            next_attempt_at=retry.next_attempt_at,
            payload=dict(message.payload),
        )
    )
    _drop_contents(connection, [message.id])
    return state if scheduled.rowcount else "delivered"


def list_undelivered(connection: Connection, model_name: str | None = None) -> list[OutboxMessage]:
    """Messages still waiting or given up, oldest first; about one model, and about none, or all of them."""
    query = select(outbox).where(outbox.c.state.in_(OPEN_STATES)).order_by(outbox.c.id)
    if model_name is not None:
        about = func.coalesce(alerts.c.model_name, outbox.c.model_name, model_name)
        query = query.outerjoin(alerts, alerts.c.id == outbox.c.alert_id).where(about == model_name)
    return [OutboxMessage(**row._mapping) for row in connection.execute(query)]


def recent_messages(connection: Connection, limit: int = 50) -> list[OutboxMessage]:
    """Messages, newest first."""
    query = select(outbox).order_by(outbox.c.id.desc()).limit(limit)
    return [OutboxMessage(**row._mapping) for row in connection.execute(query)]
