"""Sampling plans as published: which share of a version's answers is drawn for review; it draws nothing itself."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select

from mlplatform.clock import uuid7
from mlplatform.store.tables.predictions import sampling_plans


@dataclass(frozen=True)
class PublishedPlan:
    """A plan in force from `at` on; `salt` keeps what is drawn from being foreseen."""

    at: datetime
    plan: dict[str, Any]
    salt: str


def publish(connection: Connection, model_name: str, version: int, plan: Mapping[str, Any], now: datetime) -> None:
    """Put a plan in force for the answers recorded from now on."""
    row = {"id": uuid7(), "model_name": model_name, "model_version": version, "at": now, "plan": dict(plan)}
    connection.execute(insert(sampling_plans).values(**row, salt=secrets.token_hex(16)))


def current_plan(connection: Connection, model_name: str, version: int) -> PublishedPlan | None:
    """The plan in force; None while nothing is drawn."""
    query = (
        select(sampling_plans.c.at, sampling_plans.c.plan, sampling_plans.c.salt)
        .where(sampling_plans.c.model_name == model_name, sampling_plans.c.model_version == version)
        .order_by(sampling_plans.c.at.desc(), sampling_plans.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else PublishedPlan(**row._mapping)


def first_published_at(connection: Connection, model_name: str, version: int) -> datetime | None:
    """From when on answers of a version have been drawn."""
    query = select(func.min(sampling_plans.c.at)).where(
        sampling_plans.c.model_name == model_name, sampling_plans.c.model_version == version
    )
    found: datetime | None = connection.scalar(query)
    return found
