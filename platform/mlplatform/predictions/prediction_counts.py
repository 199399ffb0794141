"""Answers counted by minute and server as they are recorded, so that no evaluation reads them one by one.

A row belongs to one server and minute: `latency` holds counts by bin, `labels` counts by answer and step of confidence
(`registry.confidence_bins`). Times are those of the answers. `tally_sums` holds the same of whole hours and days, for
long windows. Prediction requests are counted by HTTP status in `failures`, in rows of minutes without a host class.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Subquery, Table, and_, func, select

from mlplatform.store import rollups
from mlplatform.store.database import insert_into
from mlplatform.store.tables.monitoring import tallies, tally_sums
from monitors.windows.window_counts import latency_bin
from registry.confidence_bins import step_of

if TYPE_CHECKING:
    from mlplatform.store.prediction import Prediction

KEYS: Final = ("model_name", "model_version", "minute", "host_class", "instance")
Key = tuple[Any, ...]
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
    minutes: dict[Key, list[Prediction]] = defaultdict(list)
    for row, host_class in rows:
        minutes[row.model_name, row.model_version, minute_of(row.at), host_class].append(row)
    sums: dict[Key, _Counted] = defaultdict(_Counted)
    for (model, version, minute, host_class), given in sorted(minutes.items()):
        counted = _counted(given)
        _keep(connection, tallies, (model, version, minute, host_class, instance), counted)
        for span in rollups.ROLLED:
            sums[model, version, span, rollups.start_of(minute, span), host_class, instance].take(counted)
    for key, counted in sorted(sums.items()):
        _keep(connection, tally_sums, key, counted)


@dataclass
class _Counted:
    """Answers with their latencies and labels, counted."""

    answers: int = 0
    latency: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def take(self, other: "_Counted") -> None:
        """Count these as well."""
        self.answers += other.answers
        self.latency.update(other.latency)
        self.labels.update(other.labels)


def _counted(given: Sequence["Prediction"]) -> _Counted:
    requests = {(row.at, row.request_id): row.latency_ms for row in reversed(given)}
    latency = Counter(str(latency_bin(spent)) for spent in requests.values())
    return _Counted(len(given), latency, Counter(f"{step_of(row.confidence)} {row.label}" for row in given))


def _keep(connection: Connection, table: Table, key: Key, counted: _Counted) -> None:
    """Add to the row of that key."""
    keys = list(table.primary_key)
    named = dict(zip((column.name for column in keys), key, strict=True))
    same = and_(*(column == value for column, value in zip(keys, key, strict=True)))
    held = connection.execute(select(table).where(same).with_for_update()).one_or_none()
    whole = _Counted() if held is None else _Counted(held.answers, Counter(held.latency), Counter(held.labels))
    whole.take(counted)
    values = {"answers": whole.answers, "latency": dict(whole.latency), "labels": dict(whole.labels)}
    statement = insert_into(connection, table).values(named | values)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def _inside(model_name: str, version: int, start: datetime, end: datetime, *names: str) -> Subquery:
    limits = (minute_of(start), minute_of(end) + 1)
    return rollups.stretch(tallies, tally_sums, model_name, version, limits, names)


def answers(connection: Connection, model_name: str, version: int, start: datetime, end: datetime) -> int:
    """How many answers a version gave in [start, end], both ends in whole minutes."""
    counted = _inside(model_name, version, start, end, "answers")
    return connection.scalar(select(func.sum(counted.c.answers))) or 0


def newest(connection: Connection, model_name: str, version: int) -> datetime | None:
    """The minute of a version's last answer; None before the first."""
    query = (
        select(tallies.c.minute)
        .where(tallies.c.model_name == model_name, tallies.c.model_version == version, tallies.c.answers > 0)
        .order_by(tallies.c.minute.desc())
        .limit(1)  # the key's index ends the search at the first; a maximum would read every row
    )
    found: int | None = connection.scalar(query)
    return None if found is None else start_of(found)


def latency(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> Mapping[str, Mapping[int, int]]:
    """How many requests took how long, by host class and latency bin."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for row in connection.execute(select(_inside(model_name, version, start, end, "host_class", "latency"))):
        found[row.host_class].update({int(place): n for place, n in row.latency.items()})
    return found


def note_requests(
    connection: Connection, instance: str, model_name: str, requests: Mapping[tuple[int, int], Counts]
) -> None:
    """Keep how many prediction requests ended how, by version and minute; the newer count of a minute replaces it.

    Only the server `instance` writes these rows, so the same count written twice is counted once. `version` is
    NO_MODEL for requests that found no model loaded.
    """
    for (version, minute), statuses in sorted(requests.items()):
        row = dict(zip(KEYS, (model_name, version, minute, OF_REQUESTS, instance), strict=True))
        counts = {"answers": 0, "latency": {}, "labels": {}, "failures": statuses}
        statement = insert_into(connection, tallies).values(row | counts)
        update = {"failures": statement.excluded.failures}
        connection.execute(statement.on_conflict_do_update(index_elements=list(KEYS), set_=update))


def requests(connection: Connection, model_name: str, version: int, start: datetime, end: datetime) -> dict[int, int]:
    """How many prediction requests to a version, or to servers without a model, ended with which HTTP status."""
    found: Counter[int] = Counter()
    for each in (version, NO_MODEL):
        inside = (
            (tallies.c.model_name == model_name)
            & (tallies.c.model_version == each)
            & (tallies.c.host_class == OF_REQUESTS)
            & tallies.c.minute.between(minute_of(start), minute_of(end))
        )
        for statuses in connection.scalars(select(tallies.c.failures).where(inside)):
            found.update({int(status): n for status, n in (statuses or {}).items()})
    return dict(found)


def labels(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> Mapping[str, Mapping[int, int]]:
    """How many answers named which class with which confidence step."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for row in connection.scalars(select(_inside(model_name, version, start, end, "labels"))):
        _add_labels(found, row)
    return found


def by_minute(
    connection: Connection, model_name: str, version: int, after: int, until: int, limit: int
) -> list[tuple[int, Mapping[str, Mapping[int, int]]]]:
    """The next minutes with answers, at most `limit` rows of them: class → confidence step → how many.

    Minutes lie in (after, until]. A minute whose rows may not all be among those read is left out, but for the first.
    """
    query = (
        select(tallies.c.minute, tallies.c.labels)
        .where(
            tallies.c.model_name == model_name,
            tallies.c.model_version == version,
            tallies.c.minute > after,
            tallies.c.minute <= until,
            tallies.c.answers > 0,
        )
        .order_by(tallies.c.minute)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    minutes: dict[int, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for row in rows:
        _add_labels(minutes[row.minute], row.labels)
    found: list[tuple[int, Mapping[str, Mapping[int, int]]]] = list(minutes.items())
    return found[:-1] if len(rows) == limit and len(found) > 1 else found


def _add_labels(found: dict[str, Counter[int]], written: Mapping[str, int]) -> None:
    for key, n in written.items():
        step, _, label = key.partition(" ")
        found[label][int(step)] += n
