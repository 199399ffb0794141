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
from mlplatform.store.version_contracts import VersionContracts
from monitors.rules.alerts_config import Rule
from monitors.windows.user_metrics import estimate_rows
from monitors.windows.window import Row, Window
from monitors.windows.window_counts import EstimateFromRows, Outcome
from registry.prediction_task import Classification, Task

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
    contracts: VersionContracts,
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
) -> Window:
    """The champion's newest predictions within the rule's window and slice, with the labels that count.

    An early warning sees answers as they were before any label came, as its reference does: what a wrong text is
    counted as is nothing that drifts.
    """
    name, version = champion.model_name, champion.to_version
    task = contracts.of(connection, name, version).task
    start, judged = now - rule.window, not rule.metric_spec.is_early_warning
    rows = labelled_predictions.load_labelled_predictions(connection, name, version, start, now)
    return Window(
        model=name,
        version=version,
        classes=contracts.classes_of(connection, name, version),
        start=start,
        end=now,
        rows=tuple(row_of(row, task, judged=judged) for row in rows if row.tags.items() >= rule.slice.items()),
    )


def row_of(row: labelled_predictions.LabelledPrediction, task: Task, *, judged: bool) -> Row:
    """A stored prediction as monitors read it: what the task counts its answer as, and its truth where it is judged."""
    truth, label = None, task.segment(row.label)
    if judged and row.truth is not None:
        truth, label = task.counted(row.truth.label, row.label)
    return Row(
        prediction_id=row.prediction_id,
        at=row.at,
        label=label,
        confidence=row.confidence,
        latency_ms=row.latency_ms,
        truth=truth,
        truth_source=None if truth is None or row.truth is None else row.truth.source,
        tags=row.tags,
    )


def estimate_from_rows(context: AppContext, rule: Rule, now: datetime) -> RowEstimate | None:
    """The rule's metric over the newest rows of its window; None without a champion.

    It may take long, and may run a user's code: so it is computed before the transaction that decides.
    """
    with context.database.read() as connection:
        champion = promotion_history.latest_promotion(connection, context.rules.model)
        if champion is None:
            return None
        if rule.reads_labels:
            window = _load_labelled_window(connection, context.contracts, rule, champion, now)
        else:
            window = load_window(connection, context.contracts, rule, champion, now)
    estimate = estimate_rows(rule, window)
    if estimate.problem:
        log.error("rule %s decides nothing: %s", rule.name, estimate.problem)
    return RowEstimate(champion.to_version, estimate)


def _load_labelled_window(
    connection: Connection,
    contracts: VersionContracts,
    rule: Rule,
    champion: promotion_history.Promotion,
    now: datetime,
) -> Window:
    """The newest labelled predictions of the rule's window and slice, each with the weight of its label."""
    name, version, start = champion.model_name, champion.to_version, now - rule.window
    classes = contracts.classes_of(connection, name, version)
    newest = outcomes.newest_outcomes(connection, name, version, start, now, rule.sources, rule.slice)
    needs_probabilities = "probabilities" in rule.metric_spec.data_needs
    task = contracts.of(connection, name, version).task
    probabilities = _truth_probabilities(connection, newest, classes, task) if needs_probabilities else {}
    rows = (
        Row(
            outcome.prediction_id,
            outcome.at,
            outcome.counted_label,
            outcome.confidence,
            None,
            outcome.counted_truth,
            outcome.source,
            outcome.weight,
            outcome.tags,
            probabilities.get(outcome.prediction_id),
        )
        for outcome in newest
    )
    return Window(name, version, classes, start, now, tuple(rows))


def _truth_probabilities(
    connection: Connection, labelled: Sequence[Outcome], classes: tuple[str, ...], task: Task
) -> dict[str, float]:
    """The probability that each prediction gave its true class, by prediction id; of a text that it is right or not."""
    if not isinstance(task, Classification):
        return {row.prediction_id: row.confidence if row.label == row.truth else 1 - row.confidence for row in labelled}
    truths = {outcome.prediction_id: classes.index(outcome.truth) for outcome in labelled}
    ids, probabilities = list(truths), dict[str, float]()
    for first in range(0, len(ids), ID_BATCH_SIZE):
        batch = predictions.c.id.in_(ids[first : first + ID_BATCH_SIZE])
        for row in connection.execute(select(predictions.c.id, predictions.c.probabilities).where(batch)):
            place = truths[row.id]  # a class that the version does not know has the chance 0
            probabilities[row.id] = float(row.probabilities[place]) if place < len(row.probabilities) else 0.0
    return probabilities
