"""Says which of a version's predictions are its reference, and from which of them inputs are drawn."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from mlplatform.predictions.input_samples import sampled_ids
from mlplatform.promotion import promotion_history
from monitors.windows.reference_period import ReferencePeriod, Span

MAX_PROMOTIONS: Final = 1_000
HOUR: Final = timedelta(hours=1)
MAX_SAMPLED_PREDICTIONS: Final = 5_000
"""So many predictions of a window, spread over it, are what its pictures are drawn from."""
MAX_REFERENCE_PREDICTIONS: Final = 6_720
"""So many predictions of a reference, the first of every hour, are what its pictures are drawn from: 40 in a week's."""
MIN_PREDICTIONS_PER_HOUR: Final = 10
WINDOW_PIECES: Final = 24


def reference_period(connection: Connection, model_name: str, version: int, length: timedelta) -> ReferencePeriod:
    """The first stretch of that length in which the version served without a break, from its promotion on.

    Where there was none yet, the stretch that begins with its latest promotion and will have that length.
    """
    history = promotion_history.promotion_history(connection, model_name, limit=MAX_PROMOTIONS)[::-1]
    ends = [*(promotion.at for promotion in history[1:]), None]
    starts = [
        promotion.at
        for promotion, end in zip(history, ends, strict=True)
        if promotion.to_version == version and (end is None or end - promotion.at >= length)
    ]
    start = starts[0] if starts else max(row.at for row in history if row.to_version == version)
    return ReferencePeriod(start, start + length)


def reference_hours(period: ReferencePeriod) -> tuple[Span, ...]:
    """The hours of a reference; its last one ends with it."""
    count = -(-(period.end - period.start) // HOUR)
    starts = [period.start + place * HOUR for place in range(count)]
    return tuple((start, min(start + HOUR, period.end)) for start in starts)


def reference_prediction_ids(
    connection: Connection, champion: promotion_history.Promotion, length: timedelta
) -> set[str]:
    """The predictions that the pictures of a version's reference are drawn from; they must not be forgotten."""
    name, version = champion.model_name, champion.to_version
    period = reference_period(connection, name, version, length)
    return sampled_ids(connection, name, version, reference_hours(period), per_hour(period))


def matching_hours(period: ReferencePeriod, window: Span) -> tuple[Span, ...]:
    """The hours of a reference whose middle lies in the stretches that match a window."""
    spans = period.matching_spans(window)
    hours = reference_hours(period)
    return tuple(hour for hour in hours if any(start <= _middle(hour) < end for start, end in spans))


def per_hour(period: ReferencePeriod) -> int:
    """How many first predictions of each hour of a reference its pictures are drawn from."""
    return max(MIN_PREDICTIONS_PER_HOUR, MAX_REFERENCE_PREDICTIONS // len(reference_hours(period)))


def equal_pieces(start: datetime, end: datetime) -> tuple[Span, ...]:
    """A window in pieces of equal length, so that what is drawn from each of them spreads over all of it."""
    step = (end - start) / WINDOW_PIECES
    return tuple((start + place * step, start + (place + 1) * step) for place in range(WINDOW_PIECES))


def _middle(span: Span) -> datetime:
    return span[0] + (span[1] - span[0]) / 2
