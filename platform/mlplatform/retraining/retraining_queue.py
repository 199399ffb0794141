"""The queue of retrainings: requested, claimed by one process, kept alive by its heartbeat.

queued → running → succeeded | failed | cancelled, and running → abandoned when the heartbeat stops
(`retraining_endings`). A pipeline has at most one queued and one running; requests for a queued one join it as further
causes. Whoever writes for a running retraining proves that it still owns it (`require_running`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

from sqlalchemy import Connection, select, update

from mlplatform.clock import uuid7
from mlplatform.errors import FencedError, NotFoundError
from mlplatform.retraining.retraining_limits import RetrainingLimits, hold_reason
from mlplatform.store.database import insert_new
from mlplatform.store.tables.retraining import retrainings

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
    """The place among the retrainings of its pipeline that ended, from 1."""


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
    new_id = uuid7()
    row = new_row(new_id, pipeline, reason, trigger, requested_by, now) | {
        "causes": [cause],
        "alert_id": alert_id,
        "dry_run": dry_run,
    }
    queued = None
    while queued is None:  # the queued one may be claimed between the two statements
        if insert_new(connection, retrainings, [row]):
            return new_id, True
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
    """Start the queued retraining where one is queued, none runs, and its limits allow it; returns it, or None."""
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


def require_running(connection: Connection, retraining_id: str, owner: str) -> None:
    """Raise FencedError unless the retraining is still running under this owner; locks it until commit."""
    row = connection.execute(
        select(retrainings.c.id)
        .where(
            retrainings.c.id == retraining_id,
            retrainings.c.owner == owner,
            retrainings.c.state == "running",
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise FencedError(f"retraining {retraining_id} is no longer run by {owner}; it must not write")


def ownership_check(retraining_id: str, owner: str) -> Callable[[Connection], None]:
    """`require_running` for a transaction of somebody else, such as the one that promotes the candidate."""
    return partial(require_running, retraining_id=retraining_id, owner=owner)


def record_heartbeat(
    connection: Connection, retraining_id: str, owner: str, now: datetime, progress: Mapping[str, Any] | None
) -> None:
    """Record a sign of life of the running training; raises FencedError when it was closed meanwhile."""
    values: dict[str, Any] = {"heartbeat_at": now}
    if progress is not None:
        values["progress"] = dict(progress)
    _update_owned(connection, retraining_id, owner, values)


def record_run(connection: Connection, retraining_id: str, owner: str, run_id: str) -> None:
    """Record the MLflow run of a running retraining."""
    _update_owned(connection, retraining_id, owner, {"run_id": run_id})


def find_queued(connection: Connection, pipeline: str) -> Retraining | None:
    """The queued retraining of a pipeline."""
    query = select(retrainings).where(retrainings.c.pipeline == pipeline, retrainings.c.state == "queued")
    row = connection.execute(query).one_or_none()
    return None if row is None else Retraining(**row._mapping)


def alerts_of(retraining: Retraining) -> list[str]:
    """The alerts among its causes."""
    return [cause["alert"] for cause in retraining.causes if cause["alert"]]


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


def new_row(
    retraining_id: str, pipeline: str, reason: str, trigger: RetrainingTrigger, requested_by: str, now: datetime
) -> dict[str, Any]:
    """The columns of a retraining that is queued."""
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
