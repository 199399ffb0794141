"""Sampling plans as published: with which chance each of a version's predictions is drawn for review."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, select

from mlplatform.ids import uuid7
from mlplatform.store.tables.predictions import sampling_plans


@dataclass(frozen=True)
class PublishedPlan:
    """A plan in force from `at` on; `salt` keeps anybody from foreseeing what is drawn."""

    at: datetime
    plan: dict[str, Any]
    salt: str


def publish(connection: Connection, model_name: str, version: int, plan: Mapping[str, Any], now: datetime) -> None:
    """Put a plan in force for the predictions recorded from now on."""
    row = {"id": uuid7(), "model_name": model_name, "model_version": version, "at": now, "plan": dict(plan)}
    connection.execute(insert(sampling_plans).values(**row, salt=secrets.token_hex(16)))


def current_plan(connection: Connection, model_name: str, version: int) -> PublishedPlan | None:
    """The plan in force; None while nothing is drawn."""
    return _newest(connection, model_name, version)


def plan_at(connection: Connection, model_name: str, version: int, moment: datetime) -> PublishedPlan | None:
    """The plan that was in force at a moment; None where nothing was drawn."""
    return _newest(connection, model_name, version, sampling_plans.c.at <= moment)


def plans_since(connection: Connection, model_name: str, version: int, since: datetime) -> list[PublishedPlan]:
    """The plan in force at a moment and those published later, oldest first."""
    query = (
        select(sampling_plans.c.at, sampling_plans.c.plan, sampling_plans.c.salt)
        .where(sampling_plans.c.model_name == model_name, sampling_plans.c.model_version == version)
        .where(sampling_plans.c.at > since)
        .order_by(sampling_plans.c.at, sampling_plans.c.id)
    )
    before = plan_at(connection, model_name, version, since)
    later = [PublishedPlan(**row._mapping) for row in connection.execute(query)]
    return later if before is None else [before, *later]


def _newest(
    connection: Connection, model_name: str, version: int, *conditions: ColumnElement[bool]
) -> PublishedPlan | None:
    query = (
        select(sampling_plans.c.at, sampling_plans.c.plan, sampling_plans.c.salt)
        .where(sampling_plans.c.model_name == model_name, sampling_plans.c.model_version == version, *conditions)
        .order_by(sampling_plans.c.at.desc(), sampling_plans.c.id.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else PublishedPlan(**row._mapping)


def first_published_at(connection: Connection, model_name: str, version: int) -> datetime | None:
    """From when on predictions of a version have been drawn; None where none are."""
    query = select(func.min(sampling_plans.c.at)).where(
        sampling_plans.c.model_name == model_name, sampling_plans.c.model_version == version
    )
    first: datetime | None = connection.scalar(query)
    return first
