"""Counts the values of a table's columns by hour and server as predictions are recorded.

What is counted is a row of counts for each version, hour and server: one number for each cell of each column, as the
version's contract lays them out (`pipelines.inputs.column_counter`). It is written in the transaction that writes the
predictions, of new ones only, so a prediction is counted exactly once. Counts name nobody, and stay when predictions
are removed: a category that no version knows is counted and not named, for a name could be anybody's.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, and_, delete, select

from mlplatform.store.database import insert_into
from mlplatform.store.tables.predictions import column_counts
from mlplatform.store.version_contracts import pinned_contract
from pipelines.input_row import InputRow
from pipelines.inputs.column_counter import ColumnCounter
from pipelines.inputs.table_codec import TableCodec
from registry.errors import RegistryError
from registry.model_contract import TableInputs

if TYPE_CHECKING:
    from mlplatform.store.prediction import PredictionRecord

log = logging.getLogger(__name__)
HOUR_SECONDS: Final = 3600
COUNT_TYPE: Final = np.dtype("<u4")
"""How a count is kept."""
Counts = NDArray[np.int64]


@dataclass(frozen=True)
class RowCounter:
    """Counts rows of one form."""

    form: str
    counter: ColumnCounter

    @classmethod
    def of(cls, inputs: TableInputs) -> "RowCounter":
        """The counter of a version's rows."""
        return cls(TableCodec(inputs.columns).form, ColumnCounter(inputs.columns))


@dataclass
class ColumnCounters:
    """The counters of versions that were asked for; a contract never changes, so each is read once."""

    _known: dict[tuple[str, int], RowCounter | None] = field(default_factory=dict)

    def of(self, connection: Connection, model_name: str, version: int) -> RowCounter | None:
        """The counter of a version; None where nothing says which columns its rows have."""
        key = model_name, version
        if key not in self._known:
            try:
                contract = pinned_contract(connection, model_name, version)
            except RegistryError as error:  # that of a newer program, say: predictions are recorded all the same
                log.warning("columns of %s version %d are not counted: %s", model_name, version, error)
                self._known[key] = None
                return None
            if contract is None:
                return None  # it may be pinned later
            inputs = contract.inputs
            self._known[key] = RowCounter.of(inputs) if isinstance(inputs, TableInputs) else None
        return self._known[key]


def hour_index(moment: datetime) -> int:
    """The hour since 1970 a moment lies in."""
    return int(moment.timestamp() // HOUR_SECONDS)


def hour_start(hour: int) -> datetime:
    """The moment an hour begins."""
    return datetime.fromtimestamp(HOUR_SECONDS * hour, UTC)


def count_columns(
    connection: Connection,
    instance: str,
    rows: Iterable[tuple["PredictionRecord", InputRow]],
    counters: ColumnCounters,
) -> None:
    """Count the values of new predictions' rows for the server that made them; `instance` must be its own.

    Rows of a version whose columns are not known, and rows that were kept with other columns, are not counted.
    """
    contents: dict[tuple[str, int, int], list[InputRow]] = defaultdict(list)
    for row, input_row in rows:
        contents[row.model_name, row.model_version, hour_index(row.at)].append(input_row)
    for (model_name, version, hour), inputs in sorted(contents.items()):
        counter = counters.of(connection, model_name, version)
        if counter is None or not (own := [row.content for row in inputs if row.form == counter.form]):
            continue
        try:
            counts = counter.counter.count(own)
        except (ValueError, TypeError):
            log.exception("%d rows of %s version %d are recorded, but not counted", len(own), model_name, version)
            continue
        _add(connection, (model_name, version, hour, instance), len(own), counts)


def _add(connection: Connection, key: tuple[str, int, int, str], answers: int, counts: Counts) -> None:
    """Add to the row of that key."""
    columns = list(column_counts.primary_key)
    has_key = and_(*(column == value for column, value in zip(columns, key, strict=True)))
    row = connection.execute(select(column_counts).where(has_key).with_for_update()).one_or_none()
    if row is not None:
        answers, counts = answers + row.answers, counts + unpack_counts(row.counts)
    key_values = dict(zip((column.name for column in columns), key, strict=True))
    values = {"answers": answers, "counts": counts.astype(COUNT_TYPE).tobytes()}
    statement = insert_into(connection, column_counts).values(key_values | values)
    connection.execute(statement.on_conflict_do_update(index_elements=columns, set_=values))


def delete_before(
    connection: Connection, model_name: str, before: datetime, kept_version: int | None, kept_until: datetime
) -> int:
    """Remove a model's counts of hours that ended before a moment; returns how many rows.

    Of `kept_version` those of hours that began before `kept_until` stay: its later hours are compared with them.
    """
    hour = column_counts.c.hour
    old = (column_counts.c.model_name == model_name) & (hour < hour_index(before))
    if kept_version is not None:
        old &= (column_counts.c.model_version != kept_version) | (hour > hour_index(kept_until))
    return connection.execute(delete(column_counts).where(old)).rowcount


def unpack_counts(content: bytes) -> Counts:
    """The counts that a row keeps."""
    return np.frombuffer(content, dtype=COUNT_TYPE).astype(np.int64)


def hourly_counts(
    connection: Connection, model_name: str, version: int, spans: Sequence[tuple[int, int]]
) -> dict[int, Counts]:
    """A version's counts of each hour in these stretches of hours [first, end), all servers together."""
    hours: dict[int, Counts] = {}
    for first, end in spans:
        query = select(column_counts.c.hour, column_counts.c.counts).where(
            column_counts.c.model_name == model_name,
            column_counts.c.model_version == version,
            column_counts.c.hour >= first,
            column_counts.c.hour < end,
        )
        for row in connection.execute(query):
            counts = unpack_counts(row.counts)
            hours[row.hour] = hours[row.hour] + counts if row.hour in hours else counts
    return hours
