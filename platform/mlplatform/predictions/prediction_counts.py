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
from mlplatform.store.tables.monitoring import prediction_count_rollups, prediction_counts
from monitors.windows.latency_bins import latency_bin
from registry.confidence_bins import bin_of

if TYPE_CHECKING:
    from mlplatform.store.prediction import PredictionRecord

KEY_COLUMNS: Final = ("model_name", "model_version", "minute", "host_class", "instance")
PredictionCountKey = tuple[Any, ...]
StatusCounts = dict[str, int]
NO_MODEL_VERSION: Final = 0
REQUESTS_HOST_CLASS: Final = ""
"""The host class of the rows that count requests, not answers."""


def minute_index(moment: datetime) -> int:
    """The minute since 1970 a moment lies in."""
    return int(moment.timestamp() // 60)


def minute_start(minute: int) -> datetime:
    """The moment a minute begins."""
    return datetime.fromtimestamp(60 * minute, UTC)


def count_predictions(connection: Connection, instance: str, rows: Sequence[tuple["PredictionRecord", str]]) -> None:
    """Count new predictions, each with its host class, for the server that gave them.

    One server writes one row after the other: `instance` must be its own. The images of one request share its
    latency, which is counted once.
    """
    minutes: dict[PredictionCountKey, list[PredictionRecord]] = defaultdict(list)
    for row, host_class in rows:
        minutes[row.model_name, row.model_version, minute_index(row.at), host_class].append(row)
    sums: dict[PredictionCountKey, _CountedPredictions] = defaultdict(_CountedPredictions)
    for (model, version, minute, host_class), given in sorted(minutes.items()):
        counted = _aggregate(given)
        _add_to_row(connection, prediction_counts, (model, version, minute, host_class, instance), counted)
        for span in rollups.ROLLUP_SPANS:
            sums[model, version, span, rollups.span_start(minute, span), host_class, instance].merge(counted)
    for key, counted in sorted(sums.items()):
        _add_to_row(connection, prediction_count_rollups, key, counted)


@dataclass
class _CountedPredictions:
    """Answers with their latencies and labels, counted."""

    predictions: int = 0
    latency: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "_CountedPredictions") -> None:
        """Count these as well."""
        self.predictions += other.predictions
        self.latency.update(other.latency)
        self.labels.update(other.labels)


def _aggregate(given: Sequence["PredictionRecord"]) -> _CountedPredictions:
    requests = {(row.at, row.request_id): row.latency_ms for row in reversed(given)}
    latency = Counter(str(latency_bin(spent)) for spent in requests.values())
    return _CountedPredictions(len(given), latency, Counter(f"{bin_of(row.confidence)} {row.label}" for row in given))


def _add_to_row(connection: Connection, table: Table, key: PredictionCountKey, counted: _CountedPredictions) -> None:
    """Add to the row of that key."""
    keys = list(table.primary_key)
    named = dict(zip((column.name for column in keys), key, strict=True))
    same = and_(*(column == value for column, value in zip(keys, key, strict=True)))
    held = connection.execute(select(table).where(same).with_for_update()).one_or_none()
    whole = (
        _CountedPredictions()
        if held is None
        else _CountedPredictions(held.answers, Counter(held.latency), Counter(held.labels))
    )
    whole.merge(counted)
    values = {"answers": whole.predictions, "latency": dict(whole.latency), "labels": dict(whole.labels)}
    statement = insert_into(connection, table).values(named | values)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def _window_rows(model_name: str, version: int, start: datetime, end: datetime, *names: str) -> Subquery:
    limits = (minute_index(start), minute_index(end) + 1)
    return rollups.rollup_query(prediction_counts, prediction_count_rollups, model_name, version, limits, names)


def prediction_total(connection: Connection, model_name: str, version: int, start: datetime, end: datetime) -> int:
    """How many answers a version gave in [start, end], both ends in whole minutes."""
    counted = _window_rows(model_name, version, start, end, "answers")
    return connection.scalar(select(func.sum(counted.c.answers))) or 0


def last_prediction_minute(connection: Connection, model_name: str, version: int) -> datetime | None:
    """The minute of a version's last answer; None before the first."""
    query = (
        select(prediction_counts.c.minute)
        .where(
            prediction_counts.c.model_name == model_name,
            prediction_counts.c.model_version == version,
            prediction_counts.c.answers > 0,
        )
        .order_by(prediction_counts.c.minute.desc())
        .limit(1)  # the key's index ends the search at the first; a maximum would read every row
    )
    found: int | None = connection.scalar(query)
    return None if found is None else minute_start(found)


def latency_histograms(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> Mapping[str, Mapping[int, int]]:
    """How many requests took how long, by host class and latency bin."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for row in connection.execute(select(_window_rows(model_name, version, start, end, "host_class", "latency"))):
        found[row.host_class].update({int(place): n for place, n in row.latency.items()})
    return found


def record_request_counts(
    connection: Connection, instance: str, model_name: str, requests: Mapping[tuple[int, int], StatusCounts]
) -> None:
    """Keep how many prediction requests ended how, by version and minute; the newer count of a minute replaces it.

    Only the server `instance` writes these rows, so the same count written twice is counted once. `version` is
    NO_MODEL for requests that found no model loaded.
    """
    for (version, minute), statuses in sorted(requests.items()):
        row = dict(zip(KEY_COLUMNS, (model_name, version, minute, REQUESTS_HOST_CLASS, instance), strict=True))
        counts = {"answers": 0, "latency": {}, "labels": {}, "failures": statuses}
        statement = insert_into(connection, prediction_counts).values(row | counts)
        update = {"failures": statement.excluded.failures}
        connection.execute(statement.on_conflict_do_update(index_elements=list(KEY_COLUMNS), set_=update))


def request_status_counts(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> dict[int, int]:
    """How many prediction requests to a version, or to servers without a model, ended with which HTTP status."""
    found: Counter[int] = Counter()
    for each in (version, NO_MODEL_VERSION):
        inside = (
            (prediction_counts.c.model_name == model_name)
            & (prediction_counts.c.model_version == each)
            & (prediction_counts.c.host_class == REQUESTS_HOST_CLASS)
            & prediction_counts.c.minute.between(minute_index(start), minute_index(end))
        )
        for statuses in connection.scalars(select(prediction_counts.c.failures).where(inside)):
            found.update({int(status): n for status, n in (statuses or {}).items()})
    return dict(found)


def class_counts(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> Mapping[str, Mapping[int, int]]:
    """How many answers named which class with which confidence step."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    for row in connection.scalars(select(_window_rows(model_name, version, start, end, "labels"))):
        _add_class_counts(found, row)
    return found


def class_counts_by_minute(
    connection: Connection, model_name: str, version: int, after: int, until: int, limit: int
) -> list[tuple[int, Mapping[str, Mapping[int, int]]]]:
    """The next minutes with answers, at most `limit` rows of them: class → confidence step → how many.

    Minutes lie in (after, until]. A minute whose rows may not all be among those read is left out, but for the first.
    """
    query = (
        select(prediction_counts.c.minute, prediction_counts.c.labels)
        .where(
            prediction_counts.c.model_name == model_name,
            prediction_counts.c.model_version == version,
            prediction_counts.c.minute > after,
            prediction_counts.c.minute <= until,
            prediction_counts.c.answers > 0,
        )
        .order_by(prediction_counts.c.minute)
        .limit(limit)
    )
    rows = connection.execute(query).all()
    minutes: dict[int, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for row in rows:
        _add_class_counts(minutes[row.minute], row.labels)
    found: list[tuple[int, Mapping[str, Mapping[int, int]]]] = list(minutes.items())
    return found[:-1] if len(rows) == limit and len(found) > 1 else found


def _add_class_counts(found: dict[str, Counter[int]], written: Mapping[str, int]) -> None:
    for key, n in written.items():
        step, _, label = key.partition(" ")
        found[label][int(step)] += n
