"""Reads how the values of a table's columns are spread in a window, and in what they are compared with.

Columns are counted by whole hours. Shares of missing, unknown and outlying values, and skew, are of the hours that the
window touches, the running one included, against the rows that the version was made with. Drift is of hours that are
over, against the same hours of the version's first days: hours that are over have their match there.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection

from mlplatform.monitoring.reference_inputs import HOUR, reference_period
from mlplatform.monitoring.unlabelled_monitoring import SETTLE_DELAY, reference_text
from mlplatform.predictions.column_counts import RowCounter, hour_index, hour_start, hourly_counts
from mlplatform.promotion import promotion_history
from mlplatform.store.version_contracts import VersionContracts
from monitors.rules.alerts_config import Rule
from monitors.windows.column_window import CellLayout, ColumnCounts, ColumnWindow
from monitors.windows.reference_period import ReferencePeriod
from pipelines.inputs.column_counter import CategoryCells, ColumnCounter
from registry.model_contract import TableInputs

Counts = NDArray[np.int64]
ReadHours = Callable[[Sequence[tuple[int, int]]], Mapping[int, Counts]]
"""Reads the counts of each hour in stretches [first, end)."""
OWN_ROWS_TEXT: Final = "rows that version {version} was made with"


@dataclass(frozen=True)
class ColumnHistory:
    """How the columns of one version are counted, and its counts by hour."""

    version: int
    inputs: TableInputs
    period: ReferencePeriod
    read: ReadHours

    def window(self, rule: Rule, now: datetime) -> ColumnWindow:
        """What a rule about columns decides from at a moment."""
        counter = RowCounter.of(self.inputs).counter
        if "reference" in rule.metric_spec.options:
            return self._against_first_days(counter, rule, now)
        newest = _total(self.read([(hour_index(now - rule.window), hour_index(now) + 1)]), counter.size)
        profiles = {column.name: column.profile for column in self.inputs.columns}
        reference = [
            profile.counts if (profile := profiles[name]) is not None else (0,) * len(cells.names)
            for name, cells in counter.cells.items()
        ]
        flat = np.array([n for counts in reference for n in counts], dtype=np.int64)
        return self._column_window(counter, flat, newest, OWN_ROWS_TEXT.format(version=self.version))

    def _against_first_days(self, counter: ColumnCounter, rule: Rule, now: datetime) -> ColumnWindow:
        over = hour_start(hour_index(now - SETTLE_DELAY))
        window = self.period.comparable_window(over - rule.window, over)
        if window is None:
            newest = _total(self.read([(hour_index(over - rule.window), hour_index(over))]), counter.size)
            return self._column_window(counter, np.zeros_like(newest), newest, "", is_complete=False)
        spans = [(hour_index(start), hour_index(end)) for start, end in self.period.matching_spans(window)]
        newest = _total(self.read([(hour_index(window[0]), hour_index(window[1]))]), counter.size)
        reference = _total(self.read(spans), counter.size)
        return self._column_window(counter, reference, newest, f"rows in {reference_text(self.period, window)}")

    def _column_window(
        self, counter: ColumnCounter, reference: Counts, newest: Counts, text: str, *, is_complete: bool = True
    ) -> ColumnWindow:
        ranged = {column.name for column in self.inputs.columns if (column.low, column.high) != (None, None)}
        sides = counter.split(reference), counter.split(newest)
        columns = tuple(
            ColumnCounts(
                name,
                CellLayout(cells.names, isinstance(cells, CategoryCells), name in ranged),
                tuple(sides[0][name].tolist()),
                tuple(sides[1][name].tolist()),
            )
            for name, cells in counter.cells.items()
        )
        rows = max((sum(column.newest) for column in columns), default=0)
        return ColumnWindow(columns, rows, text, is_complete)


def load_columns(
    connection: Connection,
    contracts: VersionContracts,
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
) -> ColumnWindow | None:
    """The columns of the champion in the rule's window; None where it takes no table."""
    name, version = champion.model_name, champion.to_version
    inputs = contracts.of(connection, name, version).inputs
    if not isinstance(inputs, TableInputs):
        return None
    period = whole_hours(reference_period(connection, name, version, rule.reference))
    return ColumnHistory(version, inputs, period, partial(hourly_counts, connection, name, version)).window(rule, now)


def whole_hours(period: ReferencePeriod) -> ReferencePeriod:
    """The reference from the beginning of its first hour on, in whole hours."""
    start = hour_start(hour_index(period.start))
    return ReferencePeriod(start, start + max(HOUR, (period.end - period.start) // HOUR * HOUR))


def _total(hours: Mapping[int, Counts], size: int) -> Counts:
    total = np.zeros(size, dtype=np.int64)
    for counts in hours.values():
        total += counts
    return total
