"""Counts predictions by minute and server as they are recorded, so that no evaluation reads them one by one.

A row belongs to one server and minute: `latency` holds counts by bin, `labels` counts by predicted class and confidence
bin (`registry.confidence_bins`). Times are those of the predictions. `prediction_count_rollups` holds the same of whole
hours and days, for long windows. Prediction requests are counted by HTTP status in `failures`, in rows of minutes
without a host class.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Connection, Subquery, Table, and_, func, select

from mlplatform.store import rollups
from mlplatform.store.database import insert_into
from mlplatform.store.tables.predictions import prediction_count_rollups, prediction_counts
from monitors.windows.latency_bins import latency_bin
from registry.confidence_bins import bin_of

if TYPE_CHECKING:
    from mlplatform.store.prediction import PredictionRecord

KEY_COLUMNS: Final = ("model_name", "model_version", "minute", "host_class", "instance")
PredictionCountKey = tuple[Any, ...]
"""The primary key of a row of counts."""
StatusCounts = dict[str, int]
NO_MODEL_VERSION: Final = 0
REQUESTS_HOST_CLASS: Final = ""
"""The host class of the rows that count requests, not predictions."""


def minute_index(moment: datetime) -> int:
    """The minute since 1970 a moment lies in."""
    return int(moment.timestamp() // 60)


def minute_start(minute: int) -> datetime:
    """The moment a minute begins."""
    return datetime.fromtimestamp(60 * minute, UTC)


def count_predictions(connection: Connection, instance: str, rows: Sequence[tuple["PredictionRecord", str]]) -> None:
    """Count new predictions, each with its host class, for the server that made them.

    One server writes one row after the other: `instance` must be its own. The images of one request share its
    latency, which is counted once.
    """
    minutes: dict[PredictionCountKey, list[PredictionRecord]] = defaultdict(list)
    for row, host_class in rows:
        minutes[row.model_name, row.model_version, minute_index(row.at), host_class].append(row)
    sums: dict[PredictionCountKey, _CountedPredictions] = defaultdict(_CountedPredictions)
    for (model, version, minute, host_class), predictions in sorted(minutes.items()):
        counted = _aggregate(predictions)
        _add_to_row(connection, prediction_counts, (model, version, minute, host_class, instance), counted)
        for span in rollups.ROLLUP_SPANS:
            sums[model, version, span, rollups.span_start(minute, span), host_class, instance].merge(counted)
    for key, counted in sorted(sums.items()):
        _add_to_row(connection, prediction_count_rollups, key, counted)


@dataclass
class _CountedPredictions:
    """Predictions, counted by latency bin and by confidence bin and class."""

    predictions: int = 0
    latency: Counter[str] = field(default_factory=Counter)
    labels: Counter[str] = field(default_factory=Counter)

    def merge(self, other: "_CountedPredictions") -> None:
        """Add other counts."""
        self.predictions += other.predictions
        self.latency.update(other.latency)
        self.labels.update(other.labels)


def _aggregate(rows: Sequence["PredictionRecord"]) -> _CountedPredictions:
    requests = {(row.at, row.request_id): row.latency_ms for row in reversed(rows)}
    latency = Counter(str(latency_bin(latency_ms)) for latency_ms in requests.values())
    return _CountedPredictions(
        len(rows), latency, Counter(f"{bin_of(row.confidence)} {row.counted_as}" for row in rows)
    )


def _add_to_row(connection: Connection, table: Table, key: PredictionCountKey, counted: _CountedPredictions) -> None:
    """Add to the row of that key."""
    columns = list(table.primary_key)
    key_values = dict(zip((column.name for column in columns), key, strict=True))
    has_key = and_(*(column == value for column, value in zip(columns, key, strict=True)))
    row = connection.execute(select(table).where(has_key).with_for_update()).one_or_none()
    total = (
        _CountedPredictions()
        if row is None
        else _CountedPredictions(row.answers, Counter(row.latency), Counter(row.labels))
    )
    total.merge(counted)
    values = {"answers": total.predictions, "latency": dict(total.latency), "labels": dict(total.labels)}
    statement = insert_into(connection, table).values(key_values | values)
    connection.execute(statement.on_conflict_do_update(index_elements=columns, set_=values))


def _window_rows(model_name: str, version: int, start: datetime, end: datetime, *names: str) -> Subquery:
    limits = (minute_index(start), minute_index(end) + 1)
    return rollups.rollup_query(prediction_counts, prediction_count_rollups, model_name, version, limits, names)


def prediction_total(connection: Connection, model_name: str, version: int, start: datetime, end: datetime) -> int:
    """How many predictions a version made in [start, end], both ends in whole minutes."""
    rows = _window_rows(model_name, version, start, end, "answers")
    return connection.scalar(select(func.sum(rows.c.answers))) or 0


def last_prediction_minute(connection: Connection, model_name: str, version: int) -> datetime | None:
    """The minute of a version's last prediction; None before the first."""
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
    minute: int | None = connection.scalar(query)
    return None if minute is None else minute_start(minute)


def latency_histograms(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> Mapping[str, Mapping[int, int]]:
    """How many requests took how long, by host class and latency bin."""
    histograms: dict[str, Counter[int]] = defaultdict(Counter)
    for row in connection.execute(select(_window_rows(model_name, version, start, end, "host_class", "latency"))):
        histograms[row.host_class].update({int(bin_index): n for bin_index, n in row.latency.items()})
    return histograms


def record_request_counts(
    connection: Connection, instance: str, model_name: str, requests: Mapping[tuple[int, int], StatusCounts]
) -> None:
    """Write how many prediction requests ended with which status, by version and minute, in place of earlier counts.

    Only the server `instance` writes these rows, so the same count written twice is counted once. The version is
    NO_MODEL_VERSION for requests that found no model loaded.
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
    totals: Counter[int] = Counter()
    for row_version in (version, NO_MODEL_VERSION):
        in_window = (
            (prediction_counts.c.model_name == model_name)
            & (prediction_counts.c.model_version == row_version)
            & (prediction_counts.c.host_class == REQUESTS_HOST_CLASS)
            & prediction_counts.c.minute.between(minute_index(start), minute_index(end))
        )
        for statuses in connection.scalars(select(prediction_counts.c.failures).where(in_window)):
            totals.update({int(status): n for status, n in (statuses or {}).items()})
    return dict(totals)


def class_counts(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> Mapping[str, Mapping[int, int]]:
    """How many predictions named which class with which confidence bin."""
    counts: dict[str, Counter[int]] = defaultdict(Counter)
    for labels in connection.scalars(select(_window_rows(model_name, version, start, end, "labels"))):
        _add_class_counts(counts, labels)
    return counts


def class_counts_by_minute(
    connection: Connection, model_name: str, version: int, after: int, until: int, limit: int
) -> list[tuple[int, Mapping[str, Mapping[int, int]]]]:
    """The next minutes with predictions, at most `limit` rows of them: class → confidence bin → how many.

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
    in_order: list[tuple[int, Mapping[str, Mapping[int, int]]]] = list(minutes.items())
    return in_order[:-1] if len(rows) == limit and len(in_order) > 1 else in_order


@dataclass(frozen=True)
class TimedCounts:
    """Predictions of one version in a stretch of time: how many, latencies by bin, and answers by class."""

    minute: int
    version: int
    answers: int
    latency: Counter[int]
    classes: Counter[str]


def counts_over_time(
    connection: Connection, model_name: str, versions: Collection[int], minutes: tuple[int, int], span: int, bucket: int
) -> list[TimedCounts]:
    """The predictions made in [first, end) minutes, by stretches of `bucket` minutes and version, in order of time.

    `span` is one minute or that of a rollup, and divides `bucket` and `first`.
    """
    table = prediction_counts if span == 1 else prediction_count_rollups
    query = select(table.c.minute, table.c.model_version, table.c.answers, table.c.latency, table.c.labels).where(
        table.c.model_name == model_name,
        table.c.model_version.in_(versions),
        *(() if span == 1 else (prediction_count_rollups.c.span == span,)),
        table.c.minute >= minutes[0],
        table.c.minute < minutes[1],
    )
    stretches: dict[tuple[int, int], _CountedPredictions] = defaultdict(_CountedPredictions)
    for row in connection.execute(query):
        begins = row.minute - row.minute % bucket
        stretches[begins, row.model_version].merge(
            _CountedPredictions(row.answers, Counter(row.latency), Counter(row.labels))
        )
    return [
        TimedCounts(
            minute,
            version,
            counted.predictions,
            Counter({int(bin_index): n for bin_index, n in counted.latency.items()}),
            _by_class(counted.labels),
        )
        for (minute, version), counted in sorted(stretches.items())
    ]


def _by_class(labels: Mapping[str, int]) -> Counter[str]:
    classes = Counter[str]()
    for key, n in labels.items():
        classes[key.partition(" ")[2]] += n
    return classes


def _add_class_counts(counts: dict[str, Counter[int]], labels: Mapping[str, int]) -> None:
    """Add what the column `labels` of a row holds."""
    for key, n in labels.items():
        confidence_bin, _, label = key.partition(" ")
        counts[label][int(confidence_bin)] += n
