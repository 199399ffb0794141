"""Reads the rows of a window, for what counts cannot answer: estimates from rows, reports."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from mlplatform.feedback import labelled_predictions, outcomes
from mlplatform.promotion import promotion_history
from mlplatform.store.tables.predictions import predictions
from monitors.rules.alerts_config import Rule
from monitors.windows.user_metrics import estimate_rows
from monitors.windows.window import Row, Window
from monitors.windows.window_counts import EstimateFromRows, Outcome

if TYPE_CHECKING:
    from mlplatform.context import AppContext

log = logging.getLogger(__name__)
ID_BATCH_SIZE = 1_000


@dataclass(frozen=True)
class RowEstimate:
    """What was estimated from the newest rows of a version, before the decision."""

    version: int
    estimate: EstimateFromRows


def load_window(
    connection: Connection,
    classes: tuple[str, ...],
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
) -> Window:
    """The champion's newest predictions within the rule's window and slice, with the labels that count."""
    start = now - rule.window
    rows = labelled_predictions.load_labelled_predictions(
        connection, champion.model_name, champion.to_version, start, now
    )
    return Window(
        model=champion.model_name,
        version=champion.to_version,
        classes=classes,
        start=start,
        end=now,
        rows=tuple(row_of(row) for row in rows if row.tags.items() >= rule.slice.items()),
    )


def row_of(row: labelled_predictions.LabelledPrediction) -> Row:
    """A stored prediction as monitors read it."""
    return Row(
        prediction_id=row.prediction_id,
        at=row.at,
        label=row.label,
        confidence=row.confidence,
        latency_ms=row.latency_ms,
        truth=None if row.truth is None else row.truth.label,
        truth_source=None if row.truth is None else row.truth.source,
        tags=row.tags,
    )


def estimate_from_rows(context: AppContext, rule: Rule, now: datetime) -> RowEstimate | None:
    """The rule's metric over the newest rows of its window; None without a champion.

    It may take long, and may run a user's code: so it is computed before the transaction that decides.
    """
    classes = context.pipeline.classes
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, context.rules.model)
        if champion is None:
            return None
        if rule.reads_labels:
            window = _load_labelled_window(connection, classes, rule, champion, now)
        else:
            window = load_window(connection, classes, rule, champion, now)
    estimate = estimate_rows(rule, window)
    if estimate.problem:
        log.error("rule %s decides nothing: %s", rule.name, estimate.problem)
    return RowEstimate(champion.to_version, estimate)


def _load_labelled_window(
    connection: Connection, classes: tuple[str, ...], rule: Rule, champion: promotion_history.Promotion, now: datetime
) -> Window:
    """The newest labelled predictions of the rule's window and slice, each with the weight of its label."""
    name, version, start = champion.model_name, champion.to_version, now - rule.window
    newest = outcomes.newest_outcomes(connection, name, version, start, now, rule.sources, rule.slice)
    needs_probabilities = "probabilities" in rule.metric_spec.data_needs
    probabilities = _truth_probabilities(connection, newest, classes) if needs_probabilities else {}
    rows = (
        Row(
            outcome.prediction_id,
            outcome.at,
            outcome.label,
            outcome.confidence,
            None,
            outcome.truth,
            outcome.source,
            outcome.weight,
            outcome.tags,
            probabilities.get(outcome.prediction_id),
        )
        for outcome in newest
    )
    return Window(name, version, classes, start, now, tuple(rows))


def _truth_probabilities(
    connection: Connection, labelled: Sequence[Outcome], classes: tuple[str, ...]
) -> dict[str, float]:
    """The probability that each prediction gave its true class, by prediction id."""
    truths = {outcome.prediction_id: classes.index(outcome.truth) for outcome in labelled}
    ids, probabilities = list(truths), dict[str, float]()
    for first in range(0, len(ids), ID_BATCH_SIZE):
        batch = predictions.c.id.in_(ids[first : first + ID_BATCH_SIZE])
        for row in connection.execute(select(predictions.c.id, predictions.c.probabilities).where(batch)):
            probabilities[row.id] = float(row.probabilities[truths[row.id]])
    return probabilities
