"""A stretch of minutes laid out in whole days, hours and minutes, so that long windows read few rows.

A table of counts by minute has one of sums beside it: the same columns, and the `span` whose first minute it names.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from sqlalchemy import Subquery, Table, false, select, union_all

HOUR_MINUTES: Final = 60
DAY_MINUTES: Final = 1_440
ROLLUP_SPANS: Final = (DAY_MINUTES, HOUR_MINUTES)
"""The spans, in minutes, that are counted besides the minutes themselves; they begin at multiples of it since 1970."""


def span_start(minute: int, span: int) -> int:
    """The minute in which the span begins that holds this minute."""
    return minute // span * span


def cover(first: int, end: int, spans: Sequence[int] = (*ROLLUP_SPANS, 1)) -> Iterator[tuple[int, int, int]]:
    """[first, end) as (span, from, to), each minute once: at most two stretches of each span but the longest."""
    span, *shorter = spans
    begins, ends = span_start(first + span - 1, span), span_start(end, span)
    if begins >= ends:
        if shorter and first < end:
            yield from cover(first, end, shorter)
        return
    if first < begins:
        yield from cover(first, begins, shorter)
    yield span, begins, ends
    if ends < end:
        yield from cover(ends, end, shorter)


def rollup_query(
    minute_table: Table,
    rollup_table: Table,
    model_name: str,
    version: int,
    limits: tuple[int, int],
    names: Sequence[str],
) -> Subquery:
    """These columns of the rows that make up a version's minutes from the first limit up to the other; it may be none.

    A limit may lie in the future: the clock may have been set back since it was noted.
    """
    parts = []
    for span, first, end in cover(*limits):
        table = minute_table if span == 1 else rollup_table
        inside = (table.c.minute >= first, table.c.minute < end, *(() if span == 1 else (rollup_table.c.span == span,)))
        mine = (table.c.model_name == model_name, table.c.model_version == version)
        parts.append(select(*(table.c[name] for name in names)).where(*mine, *inside))
    return union_all(*(parts or [select(*(minute_table.c[name] for name in names)).where(false())])).subquery()
