"""States of sequential detectors kept between evaluations: by stream, with how far they have read the labels."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from mlplatform.store.database import insert_into
from mlplatform.store.tables.alerting import detector_states

KEY_COLUMNS = ("model_name", "model_version", "rule")


@dataclass(frozen=True)
class DetectorState:
    """The detectors of one rule for one version: states by stream, all of them read up to `cursor`.

    `reading`: how far each source of labels has been read; empty for detectors that read no labels. `begins_anew`: a
    state was stored before that rested on something else; it is not stored.
    """

    definition: str
    cursor: int
    streams: Mapping[str, Any]
    reading: Mapping[str, Any] = field(default_factory=dict)
    begins_anew: bool = False


def load_state(connection: Connection, model_name: str, version: int, rule: str) -> DetectorState | None:
    """What the rule's detectors remember; None before the first evaluation."""
    columns = [detector_states.c[name] for name in ("definition", "cursor", "streams", "reading")]
    query = select(*columns).where(
        detector_states.c.model_name == model_name,
        detector_states.c.model_version == version,
        detector_states.c.rule == rule,
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else DetectorState(row.definition, row.cursor, row.streams, row.reading or {})


def save_state(connection: Connection, model_name: str, version: int, rule: str, state: DetectorState) -> None:
    """Write what the rule's detectors remember now."""
    values = {
        "definition": state.definition,
        "cursor": state.cursor,
        "streams": dict(state.streams),
        "reading": dict(state.reading),
    }
    row = {"model_name": model_name, "model_version": version, "rule": rule, **values}
    statement = insert_into(connection, detector_states).values(row)
    connection.execute(statement.on_conflict_do_update(index_elements=list(KEY_COLUMNS), set_=values))
