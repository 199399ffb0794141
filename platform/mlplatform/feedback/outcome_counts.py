"""Counts labelled predictions of a time by source, truth, answer and weight, from the rollups that are kept of them."""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from sqlalchemy import Connection, case, func, select

from mlplatform.feedback.label_precedence import ESTIMATION_SOURCES
from mlplatform.predictions.prediction_counts import minute_index
from mlplatform.predictions.review_samples import UNIT_WEIGHT
from mlplatform.store import rollups
from mlplatform.store.tables.feedback import label_count_rollups, label_counts
from monitors.rules.alerts_config import Source
from monitors.windows.window_counts import LabelCount

BOTH_SOURCES: Final = "audit+delayed"
"""What a prediction with a label of both is counted under; its weight is that of its audit label."""
CountedLabels = tuple[str, str, str, float, int]


def window_label_counts(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> list[LabelCount]:
    """The labelled predictions made in [start, end), counted, each once: under the source that gives its truth.

    Both ends count in whole minutes.
    """
    counts: Counter[tuple[Source, str, str, float]] = Counter()
    for counted, truth, label, weight, n in _window_cells(connection, model_name, version, start, end):
        source: Source = "audit" if counted == BOTH_SOURCES else cast("Source", counted)
        counts[source, truth, label, weight] += n
    return [LabelCount(*cell, n) for cell, n in sorted(counts.items()) if n]


def source_label_counts(
    connection: Connection,
    model_name: str,
    version: int,
    start: datetime,
    end: datetime,
    source: Source,
) -> list[LabelCount]:
    """The predictions made in [start, end) with a label of this source that may estimate, as that source weighs them.

    One that has labels of two sources is counted by each. Both ends count in whole minutes.
    """
    return source_cells(_window_cells(connection, model_name, version, start, end), source)


def source_cells(cells: Iterable[CountedLabels], source: Source) -> list[LabelCount]:
    """Of counts by source, truth, label and weight those of one source, as that source weighs them."""
    counts: Counter[tuple[Source, str, str, float]] = Counter()
    for counted, truth, label, weight, n in cells:
        if source in counted.split("+") and (source != "audit" or weight > 0):
            counts[source, truth, label, weight if source == "audit" else UNIT_WEIGHT.weight] += n
    return [LabelCount(*cell, n) for cell, n in sorted(counts.items()) if n]


def _window_cells(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime
) -> list[CountedLabels]:
    """Counts of labelled predictions as they are stored: source, truth, label, weight and how many."""
    names, limits = ("source", "truth", "label", "weight"), (minute_index(start), minute_index(end) + 1)
    cells = rollups.rollup_query(label_counts, label_count_rollups, model_name, version, limits, (*names, "n")).c
    keys = [cells[name] for name in names]
    rows = connection.execute(select(*keys, func.sum(cells.n).label("n")).group_by(*keys))
    return [(row.source, row.truth, row.label, row.weight, row.n) for row in rows]


@dataclass(frozen=True)
class TimedOutcomes:
    """Labelled predictions of a stretch of time from one source: how many, how many wrong, and the sums of weights."""

    minute: int
    source: str
    truth: str
    n: int
    wrong: int
    weight: float
    wrong_weight: float
    squared_weight: float


def outcomes_over_time(
    connection: Connection, model_name: str, versions: Collection[int], minutes: tuple[int, int], span: int, bucket: int
) -> list[TimedOutcomes]:
    """The labelled predictions made in [first, end) minutes, by stretches of `bucket` minutes, source and truth.

    `span` is one minute or that of a rollup, and divides `bucket` and `first`.
    """
    table = label_counts if span == 1 else label_count_rollups
    cells, (first, end) = table.c, minutes
    begins = (cells.minute - cells.minute % bucket).label("begins")
    is_wrong = case((cells.label != cells.truth, 1), else_=0)
    query = (
        select(
            begins,
            cells.source,
            cells.truth,
            func.sum(cells.n).label("n"),
            func.sum(cells.n * is_wrong).label("wrong"),
            func.sum(cells.n * cells.weight).label("weight"),
            func.sum(cells.n * cells.weight * is_wrong).label("wrong_weight"),
            func.sum(cells.n * cells.weight * cells.weight).label("squared_weight"),
        )
        .where(
            cells.model_name == model_name,
            cells.model_version.in_(versions),
            *(() if span == 1 else (label_count_rollups.c.span == span,)),
            cells.minute >= first,
            cells.minute < end,
        )
        .group_by(begins, cells.source, cells.truth)
        .order_by(begins)
    )
    return [TimedOutcomes(*row) for row in connection.execute(query)]


def confusion_counts(
    connection: Connection, model_name: str, versions: Collection[int], minutes: tuple[int, int], span: int
) -> dict[tuple[str, str], int]:
    """How many labelled predictions made in [first, end) minutes have which truth and which answer."""
    table = label_counts if span == 1 else label_count_rollups
    query = (
        select(table.c.truth, table.c.label, func.sum(table.c.n).label("n"))
        .where(
            table.c.model_name == model_name,
            table.c.model_version.in_(versions),
            *(() if span == 1 else (label_count_rollups.c.span == span,)),
            table.c.minute >= minutes[0],
            table.c.minute < minutes[1],
        )
        .group_by(table.c.truth, table.c.label)
    )
    return {(row.truth, row.label): row.n for row in connection.execute(query)}


def counted_source(sources: Collection[str], source: str) -> str:
    """What a labelled prediction is counted under: its source, or "audit+delayed" where both have spoken."""
    return BOTH_SOURCES if set(ESTIMATION_SOURCES) <= set(sources) else source
