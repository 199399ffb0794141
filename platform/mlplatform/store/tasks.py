"""Work for people and servers: label audits and reviews, a look at useless retrainings, tuning."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, select, update

from mlplatform.errors import NotFoundError
from mlplatform.ids import uuid7
from mlplatform.store.database import insert_new
from mlplatform.store.tables.alerting import alerts
from mlplatform.store.tables.coordination import tasks
from mlplatform.store.tables.feedback import feedback

TaskKind = Literal["label-audit", "label-review", "tune-serving", "review-retraining"]
LABELLING_KINDS: tuple[TaskKind, ...] = ("label-audit", "label-review")
"""The kinds whose work is to say what pictures show; their `predictions` list what to look at, worst first."""


@dataclass(frozen=True)
class Task:
    """One piece of work; open until somebody writes its result."""

    id: str
    kind: TaskKind
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
    kind: TaskKind,
    model_name: str,
    details: Mapping[str, Any],
    now: datetime,
    alert_id: str | None = None,
    key: str | None = None,
) -> str | None:
    """Open a task; an alert, and a key, open one at most. Returns its id, or None when there was one."""
    fresh = uuid7()
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


def open_tasks(connection: Connection, model_name: str, kind: TaskKind | None = None) -> list[Task]:
    """Open tasks of a model, oldest first."""
    query = select(tasks).where(tasks.c.state == "open", tasks.c.model_name == model_name)
    if kind is not None:
        query = query.where(tasks.c.kind == kind)
    return [Task(**row._mapping) for row in connection.execute(query.order_by(tasks.c.id))]


def find(connection: Connection, task_id: str) -> Task:
    """The task of that id, open or not; raises NotFoundError."""
    row = None
    if "\0" not in task_id:  # which PostgreSQL refuses as text
        row = connection.execute(select(tasks).where(tasks.c.id == task_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"task {task_id!r} is not known; `platform status` lists the open ones")
    return Task(**row._mapping)


def unlabelled_items(connection: Connection, task: Task) -> list[str]:
    """The predictions of a labelling task that still wait, in its order.

    One that had no label when the task was opened waits for any; one whose label is in doubt waits for a review.
    """
    items = task.details["predictions"]
    ids = {item["id"] for item in items}
    query = select(feedback.c.prediction_id, feedback.c.source).where(feedback.c.prediction_id.in_(ids))
    rows = connection.execute(query).all()
    labelled = {row.prediction_id for row in rows}
    reviewed = {row.prediction_id for row in rows if row.source == "review"}
    return [item["id"] for item in items if item["id"] not in (reviewed if "feedback" in item else labelled)]


def close_finished_labelling(connection: Connection, model_name: str, now: datetime) -> int:
    """Close labelling tasks whose answers have all their verdicts or whose alert has ended; returns how many."""
    closed = 0
    for task in open_tasks(connection, model_name):
        if task.kind in LABELLING_KINDS:
            left = len(unlabelled_items(connection, task))
            state = connection.scalar(select(alerts.c.state).where(alerts.c.id == task.alert_id))
            if not left or state in ("resolved", "superseded"):
                closed += close_task(connection, task.id, labelling_progress(task, left) | {"alert": state}, now)
    return closed


def open_review_task(
    connection: Connection, model_name: str, key: str, details: Mapping[str, Any], now: datetime
) -> str | None:
    """Open the review of what a retraining set aside; it takes the place of earlier ones, whose rest it lists anew."""
    earlier = open_tasks(connection, model_name, "label-review")
    fresh = open_task(connection, "label-review", model_name, details, now, key=key)
    if fresh is not None:
        for task in earlier:
            result = labelling_progress(task, len(unlabelled_items(connection, task))) | {"replaced_by": fresh}
            close_task(connection, task.id, result, now)
    return fresh


def labelling_progress(task: Task, left: int) -> dict[str, Any]:
    """How far a labelling task is."""
    of = len(task.details["predictions"])
    return {"labelled": of - left, "of": of}


def close_task(connection: Connection, task_id: str, result: Mapping[str, Any], now: datetime) -> bool:
    """Write the result of an open task; False when another closed it first."""
    closed = connection.execute(
        update(tasks)
        .where(tasks.c.id == task_id, tasks.c.state == "open")
        .values(state="done", result=dict(result), finished_at=now)
    )
    return closed.rowcount == 1
