"""Stores probations, one per promotion: how the new version compares with the one before so far.

running → passed | ended | failed → rolled-back | ended. `failed` is the decision, written before it is carried out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from sqlalchemy import Connection, select, update

from mlplatform.errors import ConflictError
from mlplatform.store.database import insert_new
from mlplatform.store.tables.promotion import probations

ProbationState = Literal["running", "passed", "failed", "rolled-back", "ended"]
OPEN_STATES: Final = ("running", "failed")


@dataclass(frozen=True)
class Probation:
    """One version compared with the one before. `reason` says why it ended, or what stands in the way meanwhile."""

    promotion_seq: int
    model_name: str
    version: int
    before: int
    state: ProbationState
    at: datetime
    until: datetime
    label_level: float
    latency_level: float
    cursor: int
    duel: Mapping[str, Any]
    latency_until: datetime
    reason: str = ""
    decided_at: datetime | None = None
    ended_at: datetime | None = None


def start(connection: Connection, probation: Probation) -> bool:
    """Write a new probation; returns whether its promotion had none."""
    return insert_new(connection, probations, [dict(vars(probation))]) == 1


def find_by_promotion(connection: Connection, promotion_seq: int) -> Probation | None:
    """The probation that a promotion began; None where it began none."""
    row = connection.execute(select(probations).where(probations.c.promotion_seq == promotion_seq)).one_or_none()
    return None if row is None else Probation(**row._mapping)


def list_open(connection: Connection, model_name: str) -> list[Probation]:
    """Those of a model that are not over, oldest first."""
    query = select(probations).where(probations.c.model_name == model_name, probations.c.state.in_(OPEN_STATES))
    return [Probation(**row._mapping) for row in connection.execute(query.order_by(probations.c.promotion_seq))]


def list_probations(connection: Connection, model_name: str, limit: int = 100) -> list[Probation]:
    """The probations of a model, newest first."""
    query = select(probations).where(probations.c.model_name == model_name)
    rows = connection.execute(query.order_by(probations.c.promotion_seq.desc()).limit(limit))
    return [Probation(**row._mapping) for row in rows]


def advance(connection: Connection, expected: Probation, updated: Probation) -> None:
    """Write a step of a probation; raises ConflictError when somebody else has written one since it was read."""
    values = {name: value for name, value in vars(updated).items() if name != "promotion_seq"}
    written = connection.execute(
        update(probations)
        .where(
            probations.c.promotion_seq == expected.promotion_seq,
            probations.c.state == expected.state,
            probations.c.cursor == expected.cursor,
            probations.c.latency_until == expected.latency_until,
        )
        .values(values)
    )
    if written.rowcount != 1:
        raise ConflictError(
            f"the probation of {expected.model_name} version {expected.version} moved on meanwhile; it "
            "is looked at again"
        )
