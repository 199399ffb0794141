"""Sampling plans as published: which share of a version's answers is drawn for review; it draws nothing itself."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from mlplatform.clock import new_id
from mlplatform.store.tables.monitoring import plans


@dataclass(frozen=True)
class Published:
    """A plan in force from `at` on; `salt` keeps what is drawn from being foreseen."""

    at: datetime
    plan: dict[str, Any]
    salt: str


def publish(connection: Connection, model_name: str, version: int, plan: Mapping[str, Any], now: datetime) -> None:
    """Put a plan in force for the answers recorded from now on."""
    row = {"id": new_id(), "model_name": model_name, "model_version": version, "at": now, "plan": dict(plan)}
    connection.execute(insert(plans).values(**row, salt=secrets.token_hex(16)))


def newest(connection: Connection, model_name: str, version: int) -> Published | None:
    """The plan in force; None while nothing is drawn."""
    query = (
        select(plans.c.at, plans.c.plan, plans.c.salt)
        .where(plans.c.model_name == model_name, plans.c.model_version == version)
        .order_by(plans.c.at.desc(), plans.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Published(**row._mapping)


def since(connection: Connection, model_name: str, version: int) -> datetime | None:
    """From when on answers of a version have been drawn."""
    query = select(func.min(plans.c.at)).where(plans.c.model_name == model_name, plans.c.model_version == version)
    found: datetime | None = connection.scalar(query)
    return found
