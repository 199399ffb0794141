"""Answers counted by minute and server as they are recorded, so that no evaluation reads them one by one.

A row belongs to one server and minute: `latency` holds counts by bin, `labels` counts by answer and confidence in
steps of 2 %. Times are those of the answers. Prediction requests are counted by HTTP status in `failures`, in rows
without a host class.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Row, and_, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from mlplatform.store.schema_watch import tallies
from monitors.tally import latency_bin

if TYPE_CHECKING:
    from mlplatform.store.predictions import Prediction

CONFIDENCE_STEPS: Final = 50
KEYS: Final = ("model_name", "model_version", "minute", "host_class", "instance")
Counts = dict[str, int]
NO_MODEL: Final = 0
OF_REQUESTS: Final = ""
"""The host class of the rows that count requests, not answers."""


def minute_of(moment: datetime) -> int:
    """The minute since 1970 a moment lies in."""
    return int(moment.timestamp() // 60)


def start_of(minute: int) -> datetime:
    """The moment a minute begins."""
    return datetime.fromtimestamp(60 * minute, UTC)


def add(connection: Connection, instance: str, rows: Sequence[tuple["Prediction", str]]) -> None:
    """Count new predictions, each with its host class, for the server that gave them.

    One server writes one row after the other: `instance` must be its own. The images of one request share its
    latency, which is counted once.
    """
    minutes: dict[tuple[Any, ...], list[Prediction]] = defaultdict(list)
    for row, host_class in rows:
        key = (row.model_name, row.model_version, minute_of(row.at), host_class, instance)
        minutes[key].append(row)
    upsert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    for key, given in sorted(minutes.items()):
        held = connection.execute(select(tallies).where(_is(key)).with_for_update()).one_or_none()
        values = _added(held, given)
        statement = upsert(tallies).values(dict(zip(KEYS, key, strict=True)) | values)
        connection.execute(statement.on_conflict_do_update(index_elements=list(KEYS), set_=values))


def _is(key: tuple[Any, ...]) -> Any:  # noqa: ANN401 - a condition of SQLAlchemy
    return and_(*(tallies.c[name] == value for name, value in zip(KEYS, key, strict=True)))


def _added(held: Row[Any] | None, given: Sequence["Prediction"]) -> dict[str, Any]:
    latency: Counter[str] = Counter({} if held is None else held.latency)
    labels: Counter[str] = Counter({} if held is None else held.labels)
    requests = {(row.at, row.request_id): row.latency_ms for row in reversed(given)}
    latency.update(str(latency_bin(spent)) for spent in requests.values())
    labels.update(f"{confidence_step(row.confidence)} {row.label}" for row in given)
    answers = len(given) + (0 if held is None else held.answers)
    return {"answers": answers, "latency": dict(latency), "labels": dict(labels)}


def confidence_step(confidence: float) -> int:
    """Which of the CONFIDENCE_STEPS equal parts of 0 to 1 a confidence lies in."""
    return min(CONFIDENCE_STEPS - 1, int(confidence * CONFIDENCE_STEPS))


def _inside(model_name: str, version: int, start: datetime, end: datetime) -> Any:  # noqa: ANN401
    return and_(
        tallies.c.model_name == model_name,
        tallies.c.model_version == version,
        tallies.c.minute >= minute_of(start),
        tallies.c.minute <= minute_of(end),
    )


def answers(connection: Connection, model_name: str, version: int, start: datetime, end: datetime) -> int:
    """How many answers a version gave in [start, end], both ends in whole minutes."""
    query = select(func.sum(tallies.c.answers)).where(_inside(model_name, version, start, end))
    return connection.scalar(query) or 0


def newest(connection: Connection, model_name: str, version: int) -> datetime | None:
    """The minute of a version's last answer; None before the first."""
    query = select(func.max(tallies.c.minute)).where(
        tallies.c.model_name == model_name, tallies.c.model_version == version, tallies.c.answers > 0
    )
    found: int | None = connection.scalar(query)
    return None if found is None else start_of(found)


def latency(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> Mapping[str, Mapping[int, int]]:
    """How many requests took how long, by host class and latency bin."""
    query = select(tallies.c.host_class, tallies.c.latency).where(_inside(model_name, version, start, end))
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for row in connection.execute(query):
        found[row.host_class].update({int(place): n for place, n in row.latency.items()})
    return found


def note_requests(
    connection: Connection, instance: str, model_name: str, requests: Mapping[tuple[int, int], Counts]
) -> None:
    """Keep how many prediction requests ended how, by version and minute; the newer count of a minute replaces it.

    Only the server `instance` writes these rows, so the same count written twice is counted once. `version` is
    NO_MODEL for requests that found no model loaded.
    """
    upsert = sqlite_insert if connection.dialect.name == "sqlite" else postgresql_insert
    for (version, minute), statuses in sorted(requests.items()):
        row = dict(zip(KEYS, (model_name, version, minute, OF_REQUESTS, instance), strict=True))
        statement = upsert(tallies).values(row | {"answers": 0, "latency": {}, "labels": {}, "failures": statuses})
        update = {"failures": statement.excluded.failures}
        connection.execute(statement.on_conflict_do_update(index_elements=list(KEYS), set_=update))


def requests(connection: Connection, model_name: str, version: int, start: datetime, end: datetime) -> dict[int, int]:
    """How many prediction requests to a version, or to servers without a model, ended with which HTTP status."""
    found: Counter[int] = Counter()
    for each in (version, NO_MODEL):
        inside = _inside(model_name, each, start, end) & (tallies.c.host_class == OF_REQUESTS)
        for statuses in connection.scalars(select(tallies.c.failures).where(inside)):
            found.update({int(status): n for status, n in (statuses or {}).items()})
    return dict(found)


def labels(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> Mapping[str, Mapping[int, int]]:
    """How many answers named which class with which confidence step."""
    query = select(tallies.c.labels).where(_inside(model_name, version, start, end))
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for row in connection.scalars(query):
        for written, n in row.items():
            step, _, label = written.partition(" ")
            found[label][int(step)] += n
    return found
