"""A chart of the columns of a table: how far each lies, over time, from the rows that the version was made with."""

from collections import defaultdict
from datetime import datetime
from functools import partial
from typing import Final

import numpy as np
from markupsafe import Markup
from sqlalchemy import Connection

from mlplatform.monitoring.columns.column_inputs import Counts
from mlplatform.predictions.column_counts import RowCounter, hour_index, hour_start, hourly_counts
from mlplatform.store.version_contracts import VersionContracts
from mlplatform.web.charts.heat_map import heat_map
from mlplatform.web.charts.scales import TimeScale
from mlplatform.web.time_ranges import TimeRange
from monitors.rules.quantities import count_text, percent_text
from monitors.statistics.cell_counts import distance_beyond_luck
from registry.errors import RegistryError
from registry.model_contract import TableInputs

MAX_COLUMNS: Final = 30
"""The columns that lie furthest away are shown."""
MIN_ROWS: Final = 30
"""A stretch of time with fewer rows shows nothing but luck."""


def column_chart(
    connection: Connection, contracts: VersionContracts, model: str, version: int, period: TimeRange, now: datetime
) -> Markup | None:
    """The distances of a version's columns; None where it takes no table or did not note how its rows were spread."""
    try:
        inputs = contracts.of(connection, model, version).inputs
    except RegistryError:  # away: the rest of the page can be shown
        return None
    if not isinstance(inputs, TableInputs):
        return None
    profiles = {column.name: column.profile.counts for column in inputs.columns if column.profile is not None}
    if not any(any(counts) for counts in profiles.values()):
        return None
    counter = RowCounter.of(inputs).counter
    hours = hourly_counts(connection, model, version, [(hour_index(period.start(now)), hour_index(now) + 1)])
    cells: dict[tuple[str, datetime], tuple[float, str]] = {}
    for start, counts in _by_stretch(hours, period).items():
        for name, newest in counter.split(counts).items():
            rows = int(newest.sum())
            if rows >= MIN_ROWS and any(profiles.get(name, ())):
                distance = distance_beyond_luck(profiles[name], newest.tolist())
                cells[name, max(start, period.start(now))] = (
                    distance,
                    f"{percent_text(distance)} of {count_text(rows, 'row')}",
                )
    furthest = {name: max(share for (own, _), (share, _) in cells.items() if own == name) for name, _ in cells}
    shown = sorted(furthest, key=lambda name: (-furthest[name], name))[:MAX_COLUMNS]
    return heat_map(
        "Columns",
        TimeScale(period.start(now), now),
        shown,
        {place: cell for place, cell in cells.items() if place[0] in shown},
        partial(_end, now=now, period=period),
        note="the darker, the more rows would need another value to be like those the version was made with",
        noun="Column",
    )


def _by_stretch(hours: dict[int, Counts], period: TimeRange) -> dict[datetime, Counts]:
    """The counts of the page's stretches of time, none shorter than an hour."""
    length = max(1, int(period.stretch.total_seconds() // 3600))
    totals: dict[datetime, Counts] = defaultdict(lambda: np.zeros(0, dtype=np.int64))
    for hour, counts in sorted(hours.items()):
        start = hour_start(hour - hour % length)
        totals[start] = totals[start] + counts if start in totals else counts
    return dict(totals)


def _end(start: datetime, *, now: datetime, period: TimeRange) -> datetime:
    return min(now, hour_start(hour_index(start) + max(1, int(period.stretch.total_seconds() // 3600))))
