"""Finds the most confident errors in a window, and what lies in one cell of its confusion matrix, for people to see."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection, Subquery, select

from mlplatform.feedback.outcomes import NO_TAGS, counted_classes, tag_conditions
from mlplatform.predictions.input_views import RowCell, load_rows
from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.tables.predictions import inputs, predictions
from mlplatform.store.version_contracts import VersionContracts
from pipelines.input_row import is_table_form
from registry.errors import RegistryError

SCAN_LIMIT: Final = 20_000
"""The newest labelled predictions of the window that are read; the index on version and time finds them."""
CANDIDATES_PER_ERROR: Final = 8
"""Candidates read for each error that is wanted: the same input may have been sent often."""


@dataclass(frozen=True)
class WorstError:
    """One wrong prediction and its input: a PNG, or the row by column where it is known how to read it.

    `confidence` is what the model gave the wrong class.
    """

    prediction_id: str
    truth: str
    label: str
    confidence: float
    png: bytes | None = None
    cells: tuple[RowCell, ...] = ()


def worst_errors(
    connection: Connection,
    contracts: VersionContracts,
    model_name: str,
    version: int,
    truth_class: str | None,
    start: datetime,
    end: datetime,
    sources: Collection[str],
    limit: int,
    tags: Mapping[str, str] = NO_TAGS,
) -> list[WorstError]:
    """The most confident wrong predictions made in [start, end), each input once, most confident first.

    Only predictions whose truth came from one of the sources, with these tags, and of one true class where it is given.
    """
    newest = _newest_outcomes(model_name, version, start, end, tags)
    wrong = select(newest.c.prediction_id, newest.c.truth, newest.c.label, newest.c.confidence).where(
        newest.c.label != newest.c.truth, newest.c.source.in_(sources)
    )
    if truth_class is not None:
        wrong = wrong.where(counted_classes(newest.c)[0] == truth_class)
    worst = (
        wrong.order_by(newest.c.confidence.desc(), newest.c.prediction_id.desc())
        .limit(CANDIDATES_PER_ERROR * limit)
        .subquery()
    )
    query = (
        select(worst, inputs.c.hash, inputs.c.form, inputs.c.content)
        .join(predictions, predictions.c.id == worst.c.prediction_id)
        .join(inputs, inputs.c.hash == predictions.c.image_hash)
        .order_by(worst.c.confidence.desc(), worst.c.prediction_id.desc())
    )
    by_input: dict[str, WorstError] = {}
    for row in connection.execute(query):
        png = None if is_table_form(row.form) else bytes(row.content)
        error = WorstError(row.prediction_id, row.truth, row.label, row.confidence, png)
        by_input.setdefault(row.hash, error)
    found = list(by_input.values())[:limit]
    if all(error.png is not None for error in found):
        return found
    rows = _readable_rows(connection, contracts, [error.prediction_id for error in found])
    return [replace(error, cells=rows.get(error.prediction_id, ())) for error in found]


def _readable_rows(
    connection: Connection, contracts: VersionContracts, prediction_ids: list[str]
) -> Mapping[str, tuple[RowCell, ...]]:
    """The rows of these predictions; none while nobody can say their columns: an alarm waits for no registry."""
    try:
        return load_rows(connection, contracts, prediction_ids)
    except RegistryError:
        return {}


@dataclass(frozen=True)
class LabelledInput:
    """One labelled prediction, without its input."""

    prediction_id: str
    at: datetime
    confidence: float
    source: str
    known_at: datetime


def inputs_of_cell(
    connection: Connection,
    model_name: str,
    version: int,
    cell: tuple[str, str],
    start: datetime,
    end: datetime,
    limit: int,
) -> list[LabelledInput]:
    """The newest predictions made in [start, end) with that truth and that answer, newest first."""
    newest = _newest_outcomes(model_name, version, start, end)
    truth, label = counted_classes(newest.c)
    query = (
        select(newest)
        .where(truth == cell[0], label == cell[1])
        .order_by(newest.c.at.desc(), newest.c.prediction_id.desc())
        .limit(limit)
    )
    return [
        LabelledInput(row.prediction_id, row.at, row.confidence, row.source, row.known_at)
        for row in connection.execute(query)
    ]


def newest_label_lags(
    connection: Connection, model_name: str, version: int, start: datetime, end: datetime, limit: int
) -> list[float]:
    """The seconds from prediction to label of the newest labelled predictions made in [start, end), ascending."""
    newest = _newest_outcomes(model_name, version, start, end)
    query = select(newest.c.at, newest.c.known_at).order_by(newest.c.at.desc()).limit(limit)
    return sorted(max(0.0, (row.known_at - row.at).total_seconds()) for row in connection.execute(query))


def _newest_outcomes(
    model_name: str, version: int, start: datetime, end: datetime, tags: Mapping[str, str] = NO_TAGS
) -> Subquery:
    """The newest labelled predictions made in [start, end), at most SCAN_LIMIT."""
    return (
        select(outcomes)
        .where(
            outcomes.c.model_name == model_name,
            outcomes.c.model_version == version,
            outcomes.c.at >= start,
            outcomes.c.at < end,
            *tag_conditions(tags),
        )
        .order_by(outcomes.c.at.desc())
        .limit(SCAN_LIMIT)
        .subquery()
    )
