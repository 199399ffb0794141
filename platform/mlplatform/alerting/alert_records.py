"""Alerts, their state changes and silences in the database; `monitors/alerts.py` decides what state follows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.ids import uuid7
from mlplatform.store.database import insert_new
from mlplatform.store.tables.alerting import alert_transitions, alerts, silences
from monitors.alerts import Alert, AlertChange, Silence

NUMERIC_FIELDS = ("value", "low", "high", "baseline", "threshold", "n")
TIME_FIELDS = ("calm_since", "escalated_at", "changed_at")
OPEN_STATES = ("pending", "firing", "acknowledged")


@dataclass(frozen=True)
class AlertRow:
    """An alert as its row says it, for people; `numbers` are the JSON of NUMERIC_FIELDS and TIME_FIELDS."""

    id: str
    rule: str
    key: str
    model_name: str
    model_version: int
    state: str
    severity: str
    opened_at: datetime
    since: datetime
    fired_at: datetime | None
    last_notified_at: datetime | None
    numbers: Mapping[str, Any]
    sentence: str
    evaluation_id: str
    notices: int


@dataclass(frozen=True)
class TransitionRow:
    """A state change of an alert; `from_state` is None where it opened."""

    id: str
    alert_id: str
    at: datetime
    from_state: str | None
    to_state: str
    reason: str
    actor: str


@dataclass(frozen=True)
class SilenceRow:
    """A silence: whose notices stay away, until when, and who said so why."""

    id: str
    rule: str
    key: str
    severity: str
    at: datetime
    until: datetime
    actor: str
    comment: str
    model: str


def _parse_time(written: str | None) -> datetime | None:
    return None if written is None else datetime.fromisoformat(written)


def _alert_from_row(row: RowMapping) -> Alert:
    return Alert(
        id=row["id"],
        rule=row["rule"],
        key=row["key"],
        model=row["model_name"],
        version=row["model_version"],
        state=row["state"],
        severity=row["severity"],
        opened_at=row["opened_at"],
        since=row["since"],
        fired_at=row["fired_at"],
        last_notified_at=row["last_notified_at"],
        notices=row["notices"],
        **{name: row["numbers"][name] for name in NUMERIC_FIELDS},
        calm_since=_parse_time(row["numbers"].get("calm_since")),
        escalated_at=_parse_time(row["numbers"].get("escalated_at")),
        changed_at=_parse_time(row["numbers"].get("changed_at")),
    )


def save(connection: Connection, alert: Alert, sentence: str, evaluation_id: str) -> None:
    """Insert or update an alert row from its value; raises ConflictError when another of its kind is open."""
    values = {
        "state": alert.state,
        "severity": alert.severity,
        "since": alert.since,
        "fired_at": alert.fired_at,
        "last_notified_at": alert.last_notified_at,
        "notices": alert.notices,
        "numbers": {name: getattr(alert, name) for name in NUMERIC_FIELDS}
        | {name: None if (at := getattr(alert, name)) is None else at.isoformat() for name in TIME_FIELDS},
        "sentence": sentence,
        "evaluation_id": evaluation_id,
    }
    row = values | {
        "id": alert.id,
        "rule": alert.rule,
        "key": alert.key,
        "model_name": alert.model,
        "model_version": alert.version,
        "opened_at": alert.opened_at,
    }
    if insert_new(connection, alerts, [row]):
        return
    if connection.execute(update(alerts).where(alerts.c.id == alert.id).values(values)).rowcount == 0:
        raise ConflictError(f"rule {alert.rule!r} opened another alert for key {alert.key!r} at the same moment")


def update_state(connection: Connection, alert: Alert) -> None:
    """Write the state of an alert that exists."""
    connection.execute(update(alerts).where(alerts.c.id == alert.id).values(state=alert.state, since=alert.since))


def append_transition(
    connection: Connection, alert_id: str, transition: AlertChange, actor: str, now: datetime
) -> None:
    """Append one state change."""
    connection.execute(
        insert(alert_transitions).values(
            id=uuid7(),
            alert_id=alert_id,
            at=now,
            from_state=transition.from_state,
            to_state=transition.to_state,
            reason=transition.reason,
            actor=actor,
        )
    )


def open_alerts(connection: Connection, model_name: str, *, lock: bool = False) -> list[Alert]:
    """The open alerts of a model, oldest first; with `lock`, held until the transaction ends."""
    query = (
        select(alerts).where(alerts.c.model_name == model_name, alerts.c.state.in_(OPEN_STATES)).order_by(alerts.c.id)
    )
    if lock:
        query = query.with_for_update()
    return [_alert_from_row(row._mapping) for row in connection.execute(query)]


def find(connection: Connection, alert_id: str) -> Alert:
    """The alert of that id; raises NotFoundError."""
    row = connection.execute(select(alerts).where(alerts.c.id == alert_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"alert {alert_id!r} is not known; `platform alerts list --all` shows every one")
    return _alert_from_row(row._mapping)


def earliest_change_point(connection: Connection, alert_ids: Sequence[str]) -> datetime | None:
    """The earliest moment since when predictions have been bad by these alerts; None where none of them can say."""
    rows = connection.execute(select(alerts).where(alerts.c.id.in_(alert_ids)))
    change_points = [_alert_from_row(row._mapping).changed_at for row in rows]
    return min((moment for moment in change_points if moment is not None), default=None)


def list_alerts(
    connection: Connection, *, include_closed: bool = False, limit: int = 100, model_name: str | None = None
) -> list[AlertRow]:
    """Alerts for people, newest first: the open ones, or all of them, of one model or of every."""
    query = select(alerts).order_by(alerts.c.id.desc()).limit(limit)
    if not include_closed:
        query = query.where(alerts.c.state.in_(OPEN_STATES))
    if model_name is not None:
        query = query.where(alerts.c.model_name == model_name)
    return [AlertRow(**row._mapping) for row in connection.execute(query)]


def list_transitions(connection: Connection, alert_id: str) -> list[TransitionRow]:
    """The state changes of an alert, oldest first."""
    query = select(alert_transitions).where(alert_transitions.c.alert_id == alert_id).order_by(alert_transitions.c.id)
    return [TransitionRow(**row._mapping) for row in connection.execute(query)]


def create_silence(connection: Connection, silence: Silence, actor: str, now: datetime) -> str:
    """Keep a silence until its end; returns its id."""
    silence_id = uuid7()
    matchers = {name: getattr(silence, name) for name in ("rule", "key", "severity", "model")}
    row = {"id": silence_id, "at": now, "until": silence.until, "actor": actor, "comment": silence.reason, **matchers}
    connection.execute(insert(silences).values(row))
    return silence_id


def list_silences(connection: Connection, since: datetime | None = None, limit: int = 1000) -> list[SilenceRow]:
    """Silences for people, newest first: those that end after a moment, or all of them."""
    query = select(silences).order_by(silences.c.id.desc()).limit(limit)
    if since is not None:
        query = query.where(silences.c.until > since)
    return [SilenceRow(**row._mapping) for row in connection.execute(query)]


def end_silence(connection: Connection, silence_id: str, now: datetime) -> bool:
    """Let a silence end now; returns whether it was in force."""
    ended = update(silences).where(silences.c.id == silence_id, silences.c.until > now).values(until=now)
    return connection.execute(ended).rowcount == 1


def active_silences(connection: Connection, now: datetime) -> list[Silence]:
    """The silences in force."""
    rows = connection.execute(select(silences).where(silences.c.until > now).order_by(silences.c.id))
    return [Silence(row.rule, row.until, row.key, row.severity, row.comment, row.model) for row in rows]
