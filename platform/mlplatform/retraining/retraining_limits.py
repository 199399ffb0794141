"""Decides when a retraining that an alert asked for may start, by cooldown, daily cap and breaker."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection, func, select, update

from mlplatform.promotion.approvals import find_waiting, retrainings_without_decision
from mlplatform.promotion.promotion_history import promotion_history, rolled_back_promotions
from mlplatform.store.tables.promotion import promotions
from mlplatform.store.tables.retraining import retrainings

_MAX_RETRAININGS_READ: Final = 100
_MAX_PROMOTIONS_READ: Final = 200
_MAX_CLOCK_SKEW: Final = timedelta(days=1)
"""Hosts' clocks differ by less. What lies further ahead was written by a clock that was set back since, and holds
nothing back: else nothing would start until the old time returns."""


@dataclass(frozen=True)
class RetrainingLimits:
    """The cooldown between retrainings, how many a day, after how many in vain a person is asked (0: never)."""

    cooldown: timedelta
    daily_cap: int
    breaker_threshold: int = 0


@dataclass(frozen=True)
class HoldReason:
    """Why a request waits, and until when; None where only a person or a promotion ends it."""

    reason: str
    until: datetime | None

    @property
    def text(self) -> str:
        """The reason, and until when."""
        return self.reason if self.until is None else f"{self.reason}, until {self.until:%Y-%m-%d %H:%M} UTC"


def hold_reason(
    connection: Connection, pipeline: str, trigger: str, limits: RetrainingLimits, now: datetime
) -> HoldReason | None:
    """Why a request must wait now; None where it may start.

    A cap of 0 never lets one start. An abandoned run does not count: its rerun does.
    """
    latest = now + _MAX_CLOCK_SKEW
    if trigger != "alert":
        return None
    waiting = find_waiting(connection, pipeline)
    if waiting is not None and waiting.requested_at <= latest:
        return HoldReason(f"version {waiting.version} passed the gate and waits for approval", waiting.expires_at)
    if limits.breaker_threshold and len(unsuccessful_streak(connection, pipeline)) >= limits.breaker_threshold:
        return HoldReason(
            f"the last {limits.breaker_threshold} retrainings brought nothing; look at them, then "
            "`platform retrain` or promote",
            None,
        )
    if limits.daily_cap == 0:
        return HoldReason("alerts may start no retraining (daily_cap: 0)", now + timedelta(days=1))
    ended = (retrainings.c.pipeline == pipeline) & retrainings.c.state.in_(("succeeded", "failed"))
    ended &= retrainings.c.finished_at <= latest
    last: datetime | None = connection.scalar(select(func.max(retrainings.c.finished_at)).where(ended))
    if last is not None and last + limits.cooldown > now:
        return HoldReason("the cooldown after the last retraining", last + limits.cooldown)
    rollbacks = (promotions.c.model_name == pipeline) & (promotions.c.kind == "rollback") & (promotions.c.at <= latest)
    last_rollback: datetime | None = connection.scalar(select(func.max(promotions.c.at)).where(rollbacks))
    if last_rollback is not None and last_rollback + limits.cooldown > now:
        return HoldReason("the cooldown after a rollback", last_rollback + limits.cooldown)
    day = select(retrainings.c.started_at).where(
        retrainings.c.pipeline == pipeline,
        retrainings.c.started_at > now - timedelta(days=1),
        retrainings.c.started_at <= latest,
        retrainings.c.state != "abandoned",
    )
    start_times: list[datetime] = sorted(moment for moment in connection.scalars(day) if moment is not None)
    if len(start_times) >= limits.daily_cap:
        return HoldReason("the daily cap", start_times[-limits.daily_cap] + timedelta(days=1))
    return None


def record_hold(connection: Connection, retraining_id: str, progress: Mapping[str, Any]) -> None:
    """Record what a queued retraining waits for; without effect once it has been claimed."""
    is_queued = (retrainings.c.id == retraining_id) & (retrainings.c.state == "queued")
    connection.execute(update(retrainings).where(is_queued).values(progress=dict(progress)))


def last_attempt_start(connection: Connection, pipeline: str, since: datetime, now: datetime) -> datetime | None:
    """When the last retraining began that ended since a moment, whatever it brought."""
    query = select(func.max(retrainings.c.started_at)).where(
        retrainings.c.pipeline == pipeline,
        retrainings.c.started_at > since,
        retrainings.c.started_at <= now + _MAX_CLOCK_SKEW,
        retrainings.c.state.in_(("succeeded", "failed")),
    )
    started_at: datetime | None = connection.scalar(query)
    return started_at


def unsuccessful_streak(connection: Connection, pipeline: str) -> list[str]:
    """The newest retrainings that alerts started and that brought nothing, newest first.

    One whose promotion was rolled back brought nothing either. The streak ends at one that a person asked for, and
    at any promotion of the model that still stands; dry runs do not count, nor one whose candidate waits
    for approval or was superseded by another before anybody decided.
    Numbers, not clocks, order the events.
    """
    recent = promotion_history(connection, pipeline, limit=_MAX_PROMOTIONS_READ)
    undone = rolled_back_promotions(recent)
    standing = [promotion for promotion in recent if promotion.kind != "rollback" and promotion.seq not in undone]
    undone_retrainings = {promotion.retraining_id for promotion in recent if promotion.seq in undone}
    query = (
        select(retrainings.c.id, retrainings.c.trigger, retrainings.c.promoted)
        .where(
            retrainings.c.pipeline == pipeline,
            retrainings.c.state.in_(("succeeded", "failed")),
            retrainings.c.dry_run.is_(False),
            retrainings.c.after_promotion >= (standing[0].seq if standing else 0),
        )
        .order_by(retrainings.c.ending.desc())
        .limit(_MAX_RETRAININGS_READ)
    )
    undecided = retrainings_without_decision(connection, pipeline)
    streak = []
    for row in connection.execute(query):
        if row.trigger != "alert" or (row.promoted and row.id not in undone_retrainings):
            break
        if row.id not in undecided:
            streak.append(row.id)
    return streak
