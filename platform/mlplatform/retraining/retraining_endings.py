"""How retrainings end: succeeded, failed, cancelled, or abandoned when their process or watcher has died.

Each ending is written once, by its owner or by the leading watcher. Whatever ends it, a retraining whose candidate was
promoted ends as succeeded, and what is abandoned is queued again once.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, func, select, true, update

from mlplatform.clock import uuid7
from mlplatform.errors import ConflictError, FencedError
from mlplatform.promotion.promotion_history import find_by_retraining
from mlplatform.retraining import retraining_queue
from mlplatform.retraining.retraining_queue import OPEN_STATES, Retraining, RetrainingState, require_running
from mlplatform.store.database import insert_new
from mlplatform.store.tables.alerting import alerts
from mlplatform.store.tables.promotion import promotions
from mlplatform.store.tables.retraining import retrainings


def finish(
    connection: Connection,
    retraining_id: str,
    owner: str,
    state: RetrainingState,
    now: datetime,
    *,
    candidate_version: int | None = None,
    verdict: Mapping[str, Any] | None = None,
    promoted: bool = False,
    error: str | None = None,
) -> None:
    """Close a running retraining; raises FencedError when it was closed before.

    One that promoted its candidate and failed after that is closed as succeeded, with the error.
    """
    require_running(connection, retraining_id, owner)
    values = {
        "state": state,
        "finished_at": now,
        "candidate_version": candidate_version,
        "verdict": None if verdict is None else dict(verdict),
        "promoted": promoted,
        "error": error,
    }
    if state == "succeeded":
        _write_end(connection, retraining_id, values)
    else:
        _close_unsuccessful(connection, retraining_id, values)


def cancel(connection: Connection, retraining_id: str, actor: str, now: datetime) -> None:
    """Close a queued or running retraining; a running one notices at its next heartbeat.

    Raises NotFoundError for an unknown id, ConflictError for one that ended or has promoted its candidate.
    """
    connection.execute(select(retrainings.c.id).where(retrainings.c.id == retraining_id).with_for_update())
    row = retraining_queue.find(connection, retraining_id)
    if find_by_retraining(connection, retraining_id) is not None:
        raise ConflictError(
            f"retraining {retraining_id} has promoted its candidate; undo it by `platform models rollback`"
        )
    done = connection.execute(
        update(retrainings)
        .where(retrainings.c.id == retraining_id, retrainings.c.state.in_(OPEN_STATES))
        .values(state="cancelled", finished_at=now, error=f"cancelled by {actor}")
    )
    if done.rowcount == 0:
        raise ConflictError(f"retraining {retraining_id} is {row.state} and cannot be cancelled")


def cancel_if_alerts_ended(connection: Connection, pipeline: str, now: datetime) -> bool:
    """Cancel the queued retraining when only alerts asked for it and all of them have ended meanwhile."""
    queued = connection.execute(
        select(retrainings)
        .where(retrainings.c.pipeline == pipeline, retrainings.c.state == "queued", retrainings.c.trigger == "alert")
        .with_for_update()
    ).one_or_none()
    if queued is None:
        return False
    causes = {cause["alert"] for cause in queued.causes}
    if None in causes:
        return False
    still_open = select(alerts.c.id).where(alerts.c.id.in_(causes), alerts.c.state.not_in(("resolved", "superseded")))
    if connection.execute(still_open.limit(1)).first() is not None:
        return False
    values = {"state": "cancelled", "finished_at": now, "error": "the alerts that asked for it have ended"}
    connection.execute(update(retrainings).where(retrainings.c.id == queued.id).values(values))
    return True


def close_abandoned(
    connection: Connection, now: datetime, age: timedelta, pipeline: str | None = None
) -> list[tuple[Retraining, str | None]]:
    """Close runs whose heartbeat is older than `age`; each is queued again once: (closed, id of the rerun).

    Of all pipelines where none is named. One that had already promoted its candidate is closed as succeeded and not run
    again. A heartbeat of the future, by a clock that is ahead or was set back, counts as one of now.
    """
    in_scope = true() if pipeline is None else retrainings.c.pipeline == pipeline
    ahead = in_scope & (retrainings.c.state == "running") & (retrainings.c.heartbeat_at > now)
    connection.execute(update(retrainings).where(ahead).values(heartbeat_at=now))
    query = (
        select(retrainings)
        .where(in_scope, retrainings.c.state == "running", retrainings.c.heartbeat_at < now - age)
        .with_for_update()
    )
    closed = []
    for row in [Retraining(**columns._mapping) for columns in connection.execute(query)]:
        values = {"state": "abandoned", "finished_at": now, "error": "its heartbeat stopped"}
        promoted = _close_unsuccessful(connection, row.id, values)
        rerun = None if promoted or row.rerun_of is not None else _requeue(connection, row, row.id, now)
        closed.append((row, rerun))
    return closed


def requeue_interrupted(connection: Connection, retraining_id: str, owner: str, now: datetime) -> str | None:
    """Close a run whose watcher stops in good order, and queue its work again; None when it had ended.

    One that had already promoted its candidate is closed as succeeded and not run again.
    """
    try:
        require_running(connection, retraining_id, owner)
    except FencedError:
        return None
    row = retraining_queue.find(connection, retraining_id)
    values = {"state": "abandoned", "finished_at": now, "error": "its watcher stopped"}
    return (
        None if _close_unsuccessful(connection, retraining_id, values) else _requeue(connection, row, row.rerun_of, now)
    )


def _close_unsuccessful(connection: Connection, retraining_id: str, values: Mapping[str, Any]) -> bool:
    """Close a run that did not end well, as succeeded where its promotion stands; returns whether it does."""
    promotion = find_by_retraining(connection, retraining_id)
    ending = dict(values)
    if promotion is not None:
        ending |= {
            "state": "succeeded",
            "promoted": True,
            "candidate_version": promotion.to_version,
            "verdict": promotion.verdict,
        }
    _write_end(connection, retraining_id, ending)
    return promotion is not None


def _write_end(connection: Connection, retraining_id: str, values: Mapping[str, Any]) -> None:
    """Close a run, with the numbers that tell what came before what, whatever the clocks say."""
    others = retrainings.alias()
    newest = select(func.coalesce(func.max(promotions.c.seq), 0)).where(
        promotions.c.model_name == retrainings.c.pipeline
    )
    ending = select(func.coalesce(func.max(others.c.ending), 0) + 1).where(others.c.pipeline == retrainings.c.pipeline)
    numbers = {"after_promotion": newest, "ending": ending}
    numbered = {name: query.correlate(retrainings).scalar_subquery() for name, query in numbers.items()}
    connection.execute(update(retrainings).where(retrainings.c.id == retraining_id).values({**values, **numbered}))


def _requeue(connection: Connection, row: Retraining, rerun_of: str | None, now: datetime) -> str:
    """Queue the work of a closed run, or add its causes to the one that is queued; returns the queued one's id."""
    new_id = uuid7()
    values = retraining_queue.new_row(new_id, row.pipeline, row.reason, row.trigger, row.requested_by, now)
    values |= {"causes": row.causes, "alert_id": row.alert_id, "rerun_of": rerun_of, "dry_run": row.dry_run}
    if insert_new(connection, retrainings, [values]):
        return new_id
    queued, _ = retraining_queue.request(
        connection,
        pipeline=row.pipeline,
        reason=f"{row.reason} (again)",
        trigger=row.trigger,
        requested_by=row.requested_by,
        now=now,
        alert_id=row.alert_id,
        dry_run=row.dry_run,
    )
    return queued
