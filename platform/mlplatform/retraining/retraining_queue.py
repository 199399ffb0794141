"""Retrainings as a state machine with a heartbeat; it knows no model and starts no process.

queued → running → succeeded | failed | cancelled, and running → abandoned when the heartbeat stops.
A pipeline has at most one queued and one running; requests for a queued one join it as further causes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, func, select, true, update

from mlplatform.clock import uuid7
from mlplatform.errors import ConflictError, FencedError, NotFoundError
from mlplatform.promotion.promotion_history import find_by_retraining
from mlplatform.promotion.retraining_fence import require_running
from mlplatform.retraining.retraining_limits import RetrainingLimits, hold_reason
from mlplatform.store.database import insert_new
from mlplatform.store.tables.core import alerts, promotions, retrainings

RetrainingState = Literal["queued", "running", "succeeded", "failed", "cancelled", "abandoned"]
RetrainingTrigger = Literal["manual", "alert", "api"]
OPEN_STATES: tuple[RetrainingState, ...] = ("queued", "running")


@dataclass(frozen=True)
class Retraining:
    """One retraining; `owner` is the token of the process that may write to it while it runs."""

    id: str
    pipeline: str
    state: RetrainingState
    reason: str
    trigger: RetrainingTrigger
    causes: list[dict[str, Any]]
    rerun_of: str | None
    alert_id: str | None
    requested_by: str
    requested_at: datetime
    started_at: datetime | None
    heartbeat_at: datetime | None
    finished_at: datetime | None
    owner: str | None
    progress: dict[str, Any] | None
    run_id: str | None
    candidate_version: int | None
    verdict: dict[str, Any] | None
    promoted: bool
    error: str | None
    dry_run: bool = False
    after_promotion: int | None = None
    """The number of the model's newest promotion when it ended, 0 for none."""
    ending: int | None = None
    """The how manieth of its pipeline to end."""


def request(
    connection: Connection,
    *,
    pipeline: str,
    reason: str,
    trigger: RetrainingTrigger,
    requested_by: str,
    now: datetime,
    alert_id: str | None = None,
    dry_run: bool = False,
) -> tuple[str, bool]:
    """Queue a retraining, or join the one that is queued: (id, whether it is new).

    A dry run promotes nothing; joined by a request that is none, it becomes a real one.
    """
    cause = {"reason": reason, "trigger": trigger, "by": requested_by, "at": now.isoformat(), "alert": alert_id}
    fresh = uuid7()
    row = _new_row(fresh, pipeline, reason, trigger, requested_by, now) | {
        "causes": [cause],
        "alert_id": alert_id,
        "dry_run": dry_run,
    }
    queued = None
    while queued is None:  # the queued one may be claimed between the two statements
        if insert_new(connection, retrainings, [row]):
            return fresh, True
        queued = connection.execute(
            select(retrainings.c.id, retrainings.c.causes, retrainings.c.trigger)
            .where(retrainings.c.pipeline == pipeline, retrainings.c.state == "queued")
            .with_for_update()
        ).one_or_none()
    joined: dict[str, Any] = {"causes": [*queued.causes, cause]}
    if not dry_run:
        joined["dry_run"] = False
    if trigger != "alert" and queued.trigger == "alert":
        joined["trigger"] = trigger  # a person's request does not wait for the cooldown
    connection.execute(update(retrainings).where(retrainings.c.id == queued.id).values(joined))
    return queued.id, False


def claim(
    connection: Connection, pipeline: str, owner: str, limits: RetrainingLimits, now: datetime
) -> Retraining | None:
    """Start the queued retraining if there is one, none runs, and its limits allow it."""
    queued = connection.execute(
        select(retrainings).where(retrainings.c.pipeline == pipeline, retrainings.c.state == "queued")
    ).one_or_none()
    if queued is None or hold_reason(connection, pipeline, queued.trigger, limits, now) is not None:
        return None
    running = select(retrainings.c.id).where(retrainings.c.pipeline == pipeline, retrainings.c.state == "running")
    started = connection.execute(
        update(retrainings)
        .where(retrainings.c.id == queued.id, retrainings.c.state == "queued", ~running.exists())
        .values(state="running", owner=owner, started_at=now, heartbeat_at=now)
    )
    return find(connection, queued.id) if started.rowcount else None


def record_heartbeat(
    connection: Connection, retraining_id: str, owner: str, now: datetime, progress: Mapping[str, Any] | None
) -> None:
    """A sign of life of the running training; raises FencedError when it was closed meanwhile."""
    values: dict[str, Any] = {"heartbeat_at": now}
    if progress is not None:
        values["progress"] = dict(progress)
    _update_owned(connection, retraining_id, owner, values)


def record_run(connection: Connection, retraining_id: str, owner: str, run_id: str) -> None:
    """Remember the MLflow run of a running retraining."""
    _update_owned(connection, retraining_id, owner, {"run_id": run_id})


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


def close_abandoned(
    connection: Connection, now: datetime, age: timedelta, pipeline: str | None = None
) -> list[tuple[Retraining, str | None]]:
    """Close runs whose heartbeat is older than `age`; each is queued again once: (closed, id of the rerun).

    Of all pipelines where none is named. One that had already promoted its candidate is closed as succeeded and not run
    again. A heartbeat of the future, by a clock that is ahead or was set back, counts as one of now.
    """
    mine = true() if pipeline is None else retrainings.c.pipeline == pipeline
    ahead = mine & (retrainings.c.state == "running") & (retrainings.c.heartbeat_at > now)
    connection.execute(update(retrainings).where(ahead).values(heartbeat_at=now))
    query = (
        select(retrainings)
        .where(mine, retrainings.c.state == "running", retrainings.c.heartbeat_at < now - age)
        .with_for_update()
    )
    closed = []
    for row in [Retraining(**item._mapping) for item in connection.execute(query)]:
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
    row = find(connection, retraining_id)
    values = {"state": "abandoned", "finished_at": now, "error": "its watcher stopped"}
    return (
        None if _close_unsuccessful(connection, retraining_id, values) else _requeue(connection, row, row.rerun_of, now)
    )


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
    still = select(alerts.c.id).where(alerts.c.id.in_(causes), alerts.c.state.not_in(("resolved", "superseded")))
    if connection.execute(still.limit(1)).first() is not None:
        return False
    values = {"state": "cancelled", "finished_at": now, "error": "the alerts that asked for it have ended"}
    connection.execute(update(retrainings).where(retrainings.c.id == queued.id).values(values))
    return True


def find_queued(connection: Connection, pipeline: str) -> Retraining | None:
    """The queued retraining of a pipeline."""
    query = select(retrainings).where(retrainings.c.pipeline == pipeline, retrainings.c.state == "queued")
    row = connection.execute(query).one_or_none()
    return None if row is None else Retraining(**row._mapping)


def alerts_of(retraining: Retraining) -> list[str]:
    """The alerts among its causes."""
    return [cause["alert"] for cause in retraining.causes if cause["alert"]]


def _close_unsuccessful(connection: Connection, retraining_id: str, values: Mapping[str, Any]) -> bool:
    """Close a run that did not end well, as succeeded where its promotion stands; returns whether it does."""
    promotion = find_by_retraining(connection, retraining_id)
    written = dict(values)
    if promotion is not None:
        written |= {
            "state": "succeeded",
            "promoted": True,
            "candidate_version": promotion.to_version,
            "verdict": promotion.verdict,
        }
    _write_end(connection, retraining_id, written)
    return promotion is not None


def _write_end(connection: Connection, retraining_id: str, values: Mapping[str, Any]) -> None:
    """Close a run, with the numbers that tell what came before what, whatever the clocks say."""
    others = retrainings.alias()
    newest = select(func.coalesce(func.max(promotions.c.seq), 0)).where(
        promotions.c.model_name == retrainings.c.pipeline
    )
    ending = select(func.coalesce(func.max(others.c.ending), 0) + 1).where(others.c.pipeline == retrainings.c.pipeline)
    numbers = {"after_promotion": newest, "ending": ending}
    numbered = {name: each.correlate(retrainings).scalar_subquery() for name, each in numbers.items()}
    connection.execute(update(retrainings).where(retrainings.c.id == retraining_id).values({**values, **numbered}))


def _requeue(connection: Connection, row: Retraining, rerun_of: str | None, now: datetime) -> str:
    """Queue the work of a closed run, or add its causes to the one that is queued; returns the queued one's id."""
    fresh = uuid7()
    values = _new_row(fresh, row.pipeline, row.reason, row.trigger, row.requested_by, now)
    values |= {"causes": row.causes, "alert_id": row.alert_id, "rerun_of": rerun_of, "dry_run": row.dry_run}
    if insert_new(connection, retrainings, [values]):
        return fresh
    queued, _ = request(
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


def cancel(connection: Connection, retraining_id: str, actor: str, now: datetime) -> None:
    """Close a queued or running retraining; a running one notices at its next heartbeat.

    Raises NotFoundError for an unknown id, ConflictError for one that ended or has promoted its candidate.
    """
    connection.execute(select(retrainings.c.id).where(retrainings.c.id == retraining_id).with_for_update())
    row = find(connection, retraining_id)
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


def find(connection: Connection, retraining_id: str) -> Retraining:
    """The retraining of that id; raises NotFoundError."""
    row = connection.execute(select(retrainings).where(retrainings.c.id == retraining_id)).one_or_none()
    if row is None:
        raise NotFoundError(f"retraining {retraining_id!r} is not known; `platform status` lists them")
    return Retraining(**row._mapping)


def recent(connection: Connection, limit: int = 20, pipeline: str | None = None) -> list[Retraining]:
    """Retrainings of one pipeline or of all, newest first."""
    query = select(retrainings).order_by(retrainings.c.id.desc()).limit(limit)
    if pipeline is not None:
        query = query.where(retrainings.c.pipeline == pipeline)
    return [Retraining(**row._mapping) for row in connection.execute(query)]


def _update_owned(connection: Connection, retraining_id: str, owner: str, values: Mapping[str, Any]) -> None:
    require_running(connection, retraining_id, owner)
    connection.execute(update(retrainings).where(retrainings.c.id == retraining_id).values(values))


def _new_row(
    retraining_id: str, pipeline: str, reason: str, trigger: RetrainingTrigger, requested_by: str, now: datetime
) -> dict[str, Any]:
    return {
        "id": retraining_id,
        "pipeline": pipeline,
        "state": "queued",
        "reason": reason,
        "trigger": trigger,
        "requested_by": requested_by,
        "requested_at": now,
        "promoted": False,
    }
