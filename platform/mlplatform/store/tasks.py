"""Work for people and servers: label audits, a look at useless retrainings, tuning; it does none of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, func, select, update

from mlplatform.clock import new_id
from mlplatform.store.database import insert_new
from mlplatform.store.schema import alerts, feedback, tasks

Kind = Literal["label-audit", "tune-serving", "review-retraining"]


@dataclass(frozen=True)
class Task:
    """One piece of work; open until somebody writes its result."""

    id: str
    kind: Kind
    alert_id: str | None
    model_name: str
    state: str
    details: dict[str, Any]
    result: dict[str, Any] | None
    at: datetime
    finished_at: datetime | None
    key: str | None = None


def open_task(
    connection: Connection,
    kind: Kind,
    model_name: str,
    details: Mapping[str, Any],
    now: datetime,
    alert_id: str | None = None,
    key: str | None = None,
) -> str | None:
    """Open a task; an alert, and a key, open one at most. Returns its id, or None when there was one."""
    fresh = new_id()
    row = {
        "id": fresh,
        "kind": kind,
        "alert_id": alert_id,
        "key": key,
        "model_name": model_name,
        "state": "open",
        "details": dict(details),
        "at": now,
    }
    return fresh if insert_new(connection, tasks, [row]) else None


def open_tasks(connection: Connection, model_name: str, kind: Kind | None = None) -> list[Task]:
    """Open tasks of a model, oldest first."""
    query = select(tasks).where(tasks.c.state == "open", tasks.c.model_name == model_name)
    if kind is not None:
        query = query.where(tasks.c.kind == kind)
    return [Task(**row._mapping) for row in connection.execute(query.order_by(tasks.c.id))]


def close_settled_audits(connection: Connection, model_name: str, now: datetime) -> int:
    """Close label audits whose answers are all labelled or whose alert has ended; returns how many."""
    closed = 0
    for task in open_tasks(connection, model_name, "label-audit"):
        ids = [item["id"] for item in task.details["predictions"]]
        query = select(func.count(func.distinct(feedback.c.prediction_id))).where(feedback.c.prediction_id.in_(ids))
        labelled = connection.scalar(query) or 0
        state = connection.scalar(select(alerts.c.state).where(alerts.c.id == task.alert_id))
        if labelled == len(ids) or state in ("resolved", "superseded"):
            result = {"labelled": labelled, "of": len(ids), "alert": state}
            closed += close_task(connection, task.id, result, now)
    return closed


def close_task(connection: Connection, task_id: str, result: Mapping[str, Any], now: datetime) -> bool:
    """Write the result of an open task; False when another closed it first."""
    closed = connection.execute(
        update(tasks)
        .where(tasks.c.id == task_id, tasks.c.state == "open")
        .values(state="done", result=dict(result), finished_at=now)
    )
    return closed.rowcount == 1
