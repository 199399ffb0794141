"""When a retraining that an alert asked for may start; requests by people wait for nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from mlplatform.promotion.promotion_history import history, undone
from mlplatform.store.tables.core import promotions, retrainings

_LOOKED_AT: Final = 100
_PROMOTIONS_READ: Final = 200
_AHEAD: Final = timedelta(days=1)
"""Hosts' clocks differ by less. What lies further ahead was written by a clock that was set back since, and holds
nothing back: else nothing would start until the old time returns."""


@dataclass(frozen=True)
class Limits:
    """The rest between two retrainings, how many a day, after how many useless ones a person is asked (0: never)."""

    cooldown: timedelta
    daily_cap: int
    breaker: int = 0


@dataclass(frozen=True)
class Wait:
    """Why a request waits, and until when; None where only a person or a promotion ends it."""

    why: str
    until: datetime | None


def wait_of(connection: Connection, pipeline: str, trigger: str, limits: Limits, now: datetime) -> Wait | None:
    """What holds a request back now; None means it may start.

    A cap of 0 never lets one start. An abandoned run does not count: its rerun does.
    """
    latest = now + _AHEAD
    if trigger != "alert":
        return None
    if limits.breaker and len(useless_streak(connection, pipeline)) >= limits.breaker:
        return Wait(
            f"the last {limits.breaker} retrainings brought nothing; look at them, then `platform retrain` or promote",
            None,
        )
    if limits.daily_cap == 0:
        return Wait("alerts may start no retraining (daily_cap: 0)", now + timedelta(days=1))
    ended = (retrainings.c.pipeline == pipeline) & retrainings.c.state.in_(("succeeded", "failed"))
    ended &= retrainings.c.finished_at <= latest
    last: datetime | None = connection.scalar(select(func.max(retrainings.c.finished_at)).where(ended))
    if last is not None and last + limits.cooldown > now:
        return Wait("the cooldown after the last retraining", last + limits.cooldown)
    taken_back = (promotions.c.model_name == pipeline) & (promotions.c.kind == "rollback") & (promotions.c.at <= latest)
    back: datetime | None = connection.scalar(select(func.max(promotions.c.at)).where(taken_back))
    if back is not None and back + limits.cooldown > now:
        return Wait("the cooldown after a rollback", back + limits.cooldown)
    day = select(retrainings.c.started_at).where(
        retrainings.c.pipeline == pipeline,
        retrainings.c.started_at > now - timedelta(days=1),
        retrainings.c.started_at <= latest,
        retrainings.c.state != "abandoned",
    )
    started: list[datetime] = sorted(moment for moment in connection.scalars(day) if moment is not None)
    if len(started) >= limits.daily_cap:
        return Wait("the daily cap", started[-limits.daily_cap] + timedelta(days=1))
    return None


def note_waiting(connection: Connection, retraining_id: str, progress: Mapping[str, Any]) -> None:
    """Say what a queued retraining waits for; without effect once it has been claimed."""
    mine = (retrainings.c.id == retraining_id) & (retrainings.c.state == "queued")
    connection.execute(update(retrainings).where(mine).values(progress=dict(progress)))


def last_attempt(connection: Connection, pipeline: str, since: datetime, now: datetime) -> datetime | None:
    """When the last retraining began that ended since a moment, whatever it brought."""
    query = select(func.max(retrainings.c.started_at)).where(
        retrainings.c.pipeline == pipeline,
        retrainings.c.started_at > since,
        retrainings.c.started_at <= now + _AHEAD,
        retrainings.c.state.in_(("succeeded", "failed")),
    )
    found: datetime | None = connection.scalar(query)
    return found


def useless_streak(connection: Connection, pipeline: str) -> list[str]:
    """The newest retrainings that alerts started and that brought nothing, newest first.

    One whose promotion was rolled back brought nothing either. The streak ends at one that a person asked for, and
    at any promotion of the model that still stands; dry runs do not count. What came before what is told by numbers,
    not by a clock.
    """
    recent = history(connection, pipeline, limit=_PROMOTIONS_READ)
    taken_back = undone(recent)
    standing = [each for each in recent if each.kind != "rollback" and each.seq not in taken_back]
    undone_by = {each.retraining_id for each in recent if each.seq in taken_back}
    query = (
        select(retrainings.c.id, retrainings.c.trigger, retrainings.c.promoted)
        .where(
            retrainings.c.pipeline == pipeline,
            retrainings.c.state.in_(("succeeded", "failed")),
            retrainings.c.dry_run.is_(False),
            retrainings.c.after_promotion >= (standing[0].seq if standing else 0),
        )
        .order_by(retrainings.c.ending.desc())
        .limit(_LOOKED_AT)
    )
    streak = []
    for row in connection.execute(query):
        if row.trigger != "alert" or (row.promoted and row.id not in undone_by):
            break
        streak.append(row.id)
    return streak
