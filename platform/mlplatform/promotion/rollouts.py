"""Stores rollouts: a challenger beside the champion under real traffic, one at a time per model.

running → stopped (by people, or because the champion changed) | failed (the challenger was found worse).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, select, update

from mlplatform.errors import ConflictError
from mlplatform.store.database import insert_new
from mlplatform.store.tables.promotion import rollouts

RolloutRole = Literal["shadow", "canary"]
RolloutState = Literal["running", "stopped", "failed"]
CHAMPION_ROLE: Final = "champion"
CANARY_ROLE: Final = "canary"


@dataclass(frozen=True)
class Rollout:
    """A version tried beside the champion `beside`. A canary answers the `share` of clients, a shadow nobody."""

    id: str
    model_name: str
    version: int
    beside: int
    role: RolloutRole
    share: float
    state: RolloutState
    at: datetime
    actor: str
    reason: str
    cursor: int
    duel: Mapping[str, Any]
    ended_at: datetime | None = None
    ended_by: str = ""
    ended_reason: str = ""


def start(connection: Connection, rollout: Rollout) -> None:
    """Write a new rollout; raises ConflictError where the model has one that runs."""
    running = running_rollout(connection, rollout.model_name)
    if running is not None:
        raise ConflictError(
            f"version {running.version} is tried already ({running.role}, since {running.at:%Y-%m-%d %H:%M} UTC); stop "
            f"that first: `platform models {running.role} {running.version} --stop`"
        )
    if insert_new(connection, rollouts, [dict(vars(rollout))]) != 1:
        raise ConflictError("another trial was begun at the same moment; `platform models list` shows it")


def running_rollout(connection: Connection, model_name: str) -> Rollout | None:
    """The running rollout of a model; None where nothing is tried."""
    query = select(rollouts).where(rollouts.c.model_name == model_name, rollouts.c.state == "running")
    row = connection.execute(query).one_or_none()
    return None if row is None else Rollout(**row._mapping)


def latest_rollout(connection: Connection, model_name: str) -> Rollout | None:
    """The newest rollout of a model, running or over."""
    query = (
        select(rollouts).where(rollouts.c.model_name == model_name).order_by(rollouts.c.at.desc(), rollouts.c.id.desc())
    )
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else Rollout(**row._mapping)


def end_rollout(
    connection: Connection, rollout: Rollout, state: RolloutState, actor: str, reason: str, now: datetime
) -> bool:
    """End a rollout; returns whether it still ran."""
    is_running = (rollouts.c.id == rollout.id) & (rollouts.c.state == "running")
    ending = {"state": state, "ended_at": now, "ended_by": actor, "ended_reason": reason}
    return connection.execute(update(rollouts).where(is_running).values(ending)).rowcount == 1


def save_progress(connection: Connection, rollout: Rollout, cursor: int, paired_test: Mapping[str, Any]) -> bool:
    """Save how far labels were read and what they showed; returns whether it still ran and nobody else was first."""
    unchanged = (rollouts.c.id == rollout.id) & (rollouts.c.state == "running") & (rollouts.c.cursor == rollout.cursor)
    values = {"cursor": cursor, "duel": dict(paired_test)}
    return connection.execute(update(rollouts).where(unchanged).values(values)).rowcount == 1
