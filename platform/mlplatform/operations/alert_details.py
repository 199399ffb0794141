"""Reads everything the store holds about one alert, at once."""

from dataclasses import dataclass

from sqlalchemy import Connection, select

from mlplatform.alerting import alert_records, evaluations, outbox
from mlplatform.alerting.evaluations import Evaluation
from mlplatform.alerting.notice_builder import training_run_of
from mlplatform.retraining import retraining_queue
from mlplatform.store import tasks
from mlplatform.store.tables.alerting import alerts as alert_rows
from mlplatform.store.tables.alerting import outbox as outbox_rows
from mlplatform.store.tables.coordination import tasks as task_rows
from monitors.alerts import Alert

MAX_ROWS = 200  # newest rows of a kind


@dataclass(frozen=True)
class AlertDetails:
    """An alert with its history and what followed; `cause` is the evaluation that made it fire, or opened it."""

    alert: Alert
    sentence: str
    latest: Evaluation
    cause: Evaluation | None
    changes: list[alert_records.TransitionRow]
    notices: list[outbox.OutboxMessage]
    retrainings: list[retraining_queue.Retraining]
    tasks: list[tasks.Task]
    run_id: str | None


def load_alert_details(connection: Connection, alert_id: str) -> AlertDetails:
    """Read that alert and what belongs to it; raises NotFoundError."""
    alert = alert_records.find(connection, alert_id)
    row = connection.execute(
        select(alert_rows.c.sentence, alert_rows.c.evaluation_id).where(alert_rows.c.id == alert_id)
    ).one()
    return AlertDetails(
        alert=alert,
        sentence=row.sentence,
        latest=evaluations.find(connection, row.evaluation_id),
        cause=evaluations.triggering_evaluation(connection, alert),
        changes=alert_records.list_transitions(connection, alert_id),
        notices=_notices(connection, alert),
        retrainings=_retrainings(connection, alert),
        tasks=[
            tasks.Task(**task._mapping)
            for task in connection.execute(select(task_rows).where(task_rows.c.alert_id == alert_id))
        ],
        run_id=training_run_of(connection, alert.model, alert.version),
    )


def _notices(connection: Connection, alert: Alert) -> list[outbox.OutboxMessage]:
    """Its own notices, and those it shares with alerts that moved in the same evaluation, oldest first."""
    query = (
        select(outbox_rows)
        .join(alert_rows, alert_rows.c.id == outbox_rows.c.alert_id)
        .where(
            alert_rows.c.rule == alert.rule,
            alert_rows.c.model_name == alert.model,
            alert_rows.c.model_version == alert.version,
            outbox_rows.c.created_at >= alert.opened_at,
        )
        .order_by(outbox_rows.c.id.desc())
        .limit(MAX_ROWS)
    )
    messages = [outbox.OutboxMessage(**row._mapping) for row in connection.execute(query)]
    return [message for message in reversed(messages) if alert.id in message.payload.get("alerts", [message.alert_id])]


def _retrainings(connection: Connection, alert: Alert) -> list[retraining_queue.Retraining]:
    """Those it asked for, also where it joined one that waited already, oldest first."""
    newest = retraining_queue.recent(connection, limit=MAX_ROWS)
    return [row for row in reversed(newest) if alert.id in {cause.get("alert") for cause in row.causes}]
