"""What detectors remember between evaluations: their streams and how far they have read; it judges nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from mlplatform.store.database import insert_into
from mlplatform.store.tables.monitoring import detectors

KEYS = ("model_name", "model_version", "rule")


@dataclass(frozen=True)
class Held:
    """The detectors of one rule for one version: states by stream, all of them read up to `cursor`."""

    definition: str
    cursor: int
    streams: Mapping[str, Any]


def held(connection: Connection, model_name: str, version: int, rule: str) -> Held | None:
    """What the rule's detectors remember; None before the first evaluation."""
    query = select(detectors.c.definition, detectors.c.cursor, detectors.c.streams).where(
        detectors.c.model_name == model_name, detectors.c.model_version == version, detectors.c.rule == rule
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Held(**row._mapping)


def keep(connection: Connection, model_name: str, version: int, rule: str, state: Held) -> None:
    """Write what the rule's detectors remember now."""
    values = {"definition": state.definition, "cursor": state.cursor, "streams": dict(state.streams)}
    row = {"model_name": model_name, "model_version": version, "rule": rule, **values}
    statement = insert_into(connection, detectors).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=list(KEYS), set_=values))
