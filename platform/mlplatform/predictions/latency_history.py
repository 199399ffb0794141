"""How long prediction requests took at any earlier moment: latency histograms by minute, and of minutes cut short.

A backtest replays latency rules from these.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Final

from sqlalchemy import CTE, Connection, column, select, values

from mlplatform.predictions.prediction_counts import minute_index, minute_start
from mlplatform.store.tables.base import UtcDateTime
from mlplatform.store.tables.predictions import prediction_counts, predictions
from monitors.windows.latency_bins import latency_bin

LatencyByHost = Mapping[str, Mapping[int, int]]
"""Number of requests by host class and latency bin."""
BATCH_SIZE: Final = 400
"""Moments looked up in one query."""


def latency_by_minute(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> dict[int, LatencyByHost]:
    """How many requests took how long: minute to host class to bin."""
    query = select(prediction_counts.c.minute, prediction_counts.c.host_class, prediction_counts.c.latency).where(
        prediction_counts.c.model_name == model_name,
        prediction_counts.c.model_version == version,
        prediction_counts.c.minute >= minute_index(start),
        prediction_counts.c.minute <= minute_index(end),
    )
    histograms: dict[int, dict[str, Counter[int]]] = defaultdict(lambda: defaultdict(Counter))
    for row in connection.execute(query):
        histograms[row.minute][row.host_class].update({int(bin_index): n for bin_index, n in row.latency.items()})
    return {minute: dict(hosts) for minute, hosts in histograms.items()}


def partial_minute_latencies(
    connection: Connection, model_name: str, version: int, ends: Iterable[datetime]
) -> dict[datetime, Mapping[int, int]]:
    """The latencies of the requests from the start of a moment's minute up to it, for the moments that have any."""
    moments = sorted(set(ends))
    latencies: dict[int, list[tuple[datetime, str, float]]] = defaultdict(list)
    for first in range(0, len(moments), BATCH_SIZE):
        spans = _partial_minutes(moments[first : first + BATCH_SIZE])
        query = select(predictions.c.at, predictions.c.request_id, predictions.c.latency_ms).where(
            predictions.c.model_name == model_name,
            predictions.c.model_version == version,
            predictions.c.at >= spans.c.start,
            predictions.c.at <= spans.c.end,
        )
        for row in connection.execute(query):
            latencies[minute_index(row.at)].append((row.at, row.request_id, row.latency_ms))
    histograms: dict[datetime, Mapping[int, int]] = {}
    for end in moments:
        requests = {
            (at, request_id): latency_ms
            for at, request_id, latency_ms in latencies.get(minute_index(end), ())
            if at <= end
        }
        if requests:
            histograms[end] = Counter(latency_bin(latency_ms) for latency_ms in requests.values())
    return histograms


def _partial_minutes(ends: Iterable[datetime]) -> CTE:
    """The start of each moment's minute and the moment, as a table to join: each is then looked up by the index."""
    rows = [(minute_start(minute_index(end)), end) for end in ends]
    return values(column("start", UtcDateTime), column("end", UtcDateTime)).data(rows).cte("spans")
