"""What monitoring decided at the time: baselines as they were measured, evaluated slots, and alerts that fired.

A backtest compares its replay with these.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, and_, select

from mlplatform.store.tables.alerting import alert_transitions, alerts, baselines, evaluations


@dataclass(frozen=True)
class BaselineEvent:
    """A baseline as it was measured; it holds from `at` on."""

    at: datetime
    kind: str
    host_class: str
    numbers: Mapping[str, Any]


@dataclass(frozen=True)
class FiredAlert:
    """An alert that fired; `ended` says how it ended, None while it is open."""

    rule: str
    key: str
    version: int
    fired_at: datetime
    ended_at: datetime | None
    ended: str | None
    value: float | None


def baseline_events(connection: Connection, model_name: str, version: int) -> list[BaselineEvent]:
    """A version's baselines in the order they were measured."""
    query = select(baselines.c.at, baselines.c.kind, baselines.c.host_class, baselines.c.numbers).where(
        baselines.c.model_name == model_name, baselines.c.model_version == version
    )
    return [
        BaselineEvent(**row._mapping) for row in connection.execute(query.order_by(baselines.c.at, baselines.c.kind))
    ]


def evaluation_times(connection: Connection, model_name: str, rule: str, start: datetime) -> dict[datetime, datetime]:
    """When a rule's slots were evaluated: slot to moment."""
    query = select(evaluations.c.slot, evaluations.c.at).where(
        evaluations.c.model_name == model_name, evaluations.c.rule == rule, evaluations.c.at >= start
    )
    return {row.slot: row.at for row in connection.execute(query)}


def fired_alerts(connection: Connection, model_name: str, start: datetime, end: datetime) -> list[FiredAlert]:
    """The alerts that fired between two moments, in that order."""
    query = (
        select(alerts, alert_transitions.c.at.label("ended_at"), alert_transitions.c.to_state)
        .outerjoin(
            alert_transitions,
            and_(
                alert_transitions.c.alert_id == alerts.c.id,
                alert_transitions.c.to_state.in_(("resolved", "superseded")),
            ),
        )
        .where(alerts.c.model_name == model_name, alerts.c.fired_at >= start, alerts.c.fired_at <= end)
        .order_by(alerts.c.fired_at, alerts.c.id)
    )
    return [
        FiredAlert(
            rule=row["rule"],
            key=row["key"],
            version=row["model_version"],
            fired_at=row["fired_at"],
            ended_at=row["ended_at"],
            ended=row["to_state"],
            value=row["numbers"]["value"],
        )
        for row in connection.execute(query).mappings()
    ]
