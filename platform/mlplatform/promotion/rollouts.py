"""Trials as rows: a challenger beside the champion under real traffic, one at a time per model; it judges nothing.

running → stopped (by people, or because the champion changed) | failed (the challenger was found worse).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, select, update

from mlplatform.errors import ConflictError
from mlplatform.store.database import insert_new
from mlplatform.store.tables.rollout import trials

Role = Literal["shadow", "canary"]
State = Literal["running", "stopped", "failed"]
CHAMPION: Final = "champion"
CANARY: Final = "canary"


@dataclass(frozen=True)
class Trial:
    """A version tried beside the champion `beside`. A canary answers the `share` of clients, a shadow nobody."""

    id: str
    model_name: str
    version: int
    beside: int
    role: Role
    share: float
    state: State
    at: datetime
    actor: str
    reason: str
    cursor: int
    duel: Mapping[str, Any]
    ended_at: datetime | None = None
    ended_by: str = ""
    ended_reason: str = ""


def begin(connection: Connection, trial: Trial) -> None:
    """Write a new trial; raises ConflictError where the model has one that runs."""
    running = current(connection, trial.model_name)
    if running is not None:
        raise ConflictError(
            f"version {running.version} is tried already ({running.role}, since {running.at:%Y-%m-%d %H:%M} UTC); stop "
            f"that first: `platform models {running.role} {running.version} --stop`"
        )
    if insert_new(connection, trials, [dict(vars(trial))]) != 1:
        raise ConflictError("another trial was begun at the same moment; `platform models list` shows it")


def current(connection: Connection, model_name: str) -> Trial | None:
    """The trial of a model that runs, if any."""
    query = select(trials).where(trials.c.model_name == model_name, trials.c.state == "running")
    row = connection.execute(query).one_or_none()
    return None if row is None else Trial(**row._mapping)


def newest(connection: Connection, model_name: str) -> Trial | None:
    """The newest trial of a model, running or over."""
    query = select(trials).where(trials.c.model_name == model_name).order_by(trials.c.at.desc(), trials.c.id.desc())
    row = connection.execute(query.limit(1)).one_or_none()
    return None if row is None else Trial(**row._mapping)


def end(connection: Connection, trial: Trial, state: State, actor: str, reason: str, now: datetime) -> bool:
    """End a trial; returns whether it ran still."""
    over = replace(trial, state=state, ended_at=now, ended_by=actor, ended_reason=reason)
    names = ("state", "ended_at", "ended_by", "ended_reason")
    values = {name: getattr(over, name) for name in names}
    mine = (trials.c.id == trial.id) & (trials.c.state == "running")
    return connection.execute(update(trials).where(mine).values(values)).rowcount == 1


def advance(connection: Connection, trial: Trial, cursor: int, duel: Mapping[str, Any]) -> bool:
    """Keep how far labels were read and what they showed; returns whether the trial ran still and nobody was first."""
    mine = (trials.c.id == trial.id) & (trials.c.state == "running") & (trials.c.cursor == trial.cursor)
    moved = connection.execute(update(trials).where(mine).values(cursor=cursor, duel=dict(duel)))
    return moved.rowcount == 1
