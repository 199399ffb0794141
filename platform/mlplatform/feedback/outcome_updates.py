"""Keeps the table `outcomes` and its counts up to date with the labels, in the transaction that takes the labels.

An update holds the model's sequence counter until that transaction commits, so rows become visible in the order of
their numbers, and a reader with a cursor misses none. A row gets a new number only when its truth comes from a source
it never came from before. The column `seen` keeps the number each source brought, so that a reader who takes several
sources passes over what it has read already, and over nothing else.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, RowMapping, Table, bindparam, insert, select, update

from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths
from mlplatform.feedback.outcomes import counter_name, source_sequences
from mlplatform.predictions import review_samples, sampling_plans
from mlplatform.predictions.prediction_counts import minute_index
from mlplatform.predictions.review_samples import UNIT_WEIGHT, ZERO_WEIGHT, InclusionWeight
from mlplatform.store import rollups
from mlplatform.store.database import insert_into
from mlplatform.store.tables.core import feedback, predictions
from mlplatform.store.tables.monitoring import label_count_rollups, label_counts, outcomes, sequence_counters

BATCH_SIZE: Final = 5_000
"""Predictions brought up to date by one set of statements."""
LabelCountKey = tuple[str, int, int, str, str, str, float]
"""Model, version, minute, source, truth, label and weight: what labels are counted by."""


def update_outcomes(connection: Connection, prediction_ids: Iterable[str], known_at: datetime) -> int:
    """Bring the outcomes of these predictions up to date with their labels; returns how many got a number."""
    ids, numbered = sorted(set(prediction_ids)), 0
    for first in range(0, len(ids), BATCH_SIZE):
        numbered += _update_batch(connection, ids[first : first + BATCH_SIZE], known_at)
    return numbered


def _update_batch(connection: Connection, ids: Sequence[str], known_at: datetime) -> int:
    # 1. Lock the counters of the models, so that whoever else labels one of them waits here.
    predicted = {row["id"]: row for row in _load_predictions(connection, ids)}
    for model in sorted({row["model_name"] for row in predicted.values()}):
        _advance_counter(connection, model, 0)

    # 2. Work out the rows whose truth changed, and by how much the counts change.
    query = select(outcomes).where(outcomes.c.prediction_id.in_(ids))
    stored = {row["prediction_id"]: row for row in connection.execute(query).mappings()}
    weights = _AuditWeights(connection, predicted)
    changes: Counter[LabelCountKey] = Counter()
    new_rows: list[dict[str, Any]] = []
    changed_rows: list[dict[str, Any]] = []
    for prediction_id, truth in sorted(_load_truths(connection, ids).items()):
        before, prediction = stored.get(prediction_id), predicted[prediction_id]
        if before is not None and (before["truth"], before["source"]) == (truth.label, truth.source):
            continue
        weight = weights.of(prediction) if truth.source == "audit" else UNIT_WEIGHT
        row = _outcome_row(prediction, truth, before, known_at, weight)
        (new_rows if before is None else changed_rows).append(row)
        changes[_label_count_key(row)] += 1
        if before is not None:
            changes[_label_count_key(before)] -= 1

    # 3. Number the rows that need it, and write rows and counts.
    numbered = _assign_sequence(connection, [*new_rows, *changed_rows])
    if new_rows:
        connection.execute(insert(outcomes), new_rows)
    if changed_rows:
        _write_changed_rows(connection, changed_rows)
    _update_counts(connection, changes)
    return numbered


class _AuditWeights:
    """The weight of an audit label on each of some predictions, given by id, by the chance the prediction was drawn."""

    def __init__(self, connection: Connection, predicted: Mapping[str, RowMapping]) -> None:
        self._weights = review_samples.inclusion_weights(connection, list(predicted))
        self._drawn_since = {
            (model, version): sampling_plans.first_published_at(connection, model, version)
            for model, version in {(row["model_name"], row["model_version"]) for row in predicted.values()}
        }

    def of(self, prediction: RowMapping) -> InclusionWeight:
        """One over its chance where it was drawn; else 0 if predictions were drawn at that time, and 1 if not."""
        since = self._drawn_since[prediction["model_name"], prediction["model_version"]]
        undrawn = UNIT_WEIGHT if since is None or prediction["at"] < since else ZERO_WEIGHT
        return self._weights.get(prediction["id"], undrawn)


def _load_predictions(connection: Connection, ids: Sequence[str]) -> Iterable[RowMapping]:
    columns = [
        predictions.c[name]
        for name in ("id", "at", "model_name", "model_version", "label", "confidence", "tags", "client_id")
    ]
    return connection.execute(select(*columns).where(predictions.c.id.in_(ids))).mappings()


def _load_truths(connection: Connection, ids: Sequence[str]) -> dict[str, CurrentLabel]:
    columns = (feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at)
    query = select(*columns).where(feedback.c.prediction_id.in_(ids), feedback.c.superseded_by.is_(None))
    return resolve_truths(CurrentLabel(**row._mapping) for row in connection.execute(query))


def _outcome_row(
    prediction: RowMapping, truth: CurrentLabel, before: RowMapping | None, known_at: datetime, weight: InclusionWeight
) -> dict[str, Any]:
    """The row with the new truth; it keeps its number where this source gave the truth before."""
    numbered = before is not None and truth.source in source_sequences(before["seen"])
    return {
        "prediction_id": prediction["id"],
        "seq": before["seq"] if before is not None and numbered else None,
        "model_name": prediction["model_name"],
        "model_version": prediction["model_version"],
        "at": prediction["at"],
        "known_at": before["known_at"] if before is not None and numbered else known_at,
        "label": prediction["label"],
        "truth": truth.label,
        "source": truth.source,
        "seen": "" if before is None else before["seen"],
        "confidence": prediction["confidence"],
        "weight": weight.weight,
        "share": weight.share,
        "tags": {**(prediction["tags"] or {}), "client": prediction["client_id"]},
    }


def _assign_sequence(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Give the rows without a number the next ones of their model, in the order given; returns how many."""
    numbered = 0
    for model in sorted({row["model_name"] for row in rows}):
        waiting = [row for row in rows if row["model_name"] == model and row["seq"] is None]
        last = _advance_counter(connection, model, len(waiting))
        for number, row in enumerate(waiting, start=last - len(waiting) + 1):
            row["seq"] = number
            row["seen"] = f"{row['seen']} {row['source']}:{number}".lstrip()
        numbered += len(waiting)
    return numbered


def _advance_counter(connection: Connection, model: str, by: int) -> int:
    """Add to the model's counter and hold it until the transaction ends; returns its value."""
    statement = insert_into(connection, sequence_counters).values(name=counter_name(model), value=by)
    added = statement.on_conflict_do_update(index_elements=["name"], set_={"value": sequence_counters.c.value + by})
    value: int = connection.execute(added.returning(sequence_counters.c.value)).scalar_one()
    return value


def _write_changed_rows(connection: Connection, rows: Sequence[dict[str, Any]]) -> None:
    columns = ("seq", "known_at", "truth", "source", "seen", "weight", "share")
    statement = update(outcomes).where(outcomes.c.prediction_id == bindparam("key"))
    parameters = [{"key": row["prediction_id"], **{f"new_{name}": row[name] for name in columns}} for row in rows]
    connection.execute(statement.values({name: bindparam(f"new_{name}") for name in columns}), parameters)


def _label_count_key(row: dict[str, Any] | RowMapping) -> LabelCountKey:
    minute = minute_index(row["at"])
    key = (row["source"], row["truth"], row["label"], row["weight"])
    return (row["model_name"], row["model_version"], minute, *key)


def _update_counts(connection: Connection, changes: Counter[LabelCountKey]) -> None:
    """Add the changes to the counts by minute, and to those by hour and day."""
    names = ("model_name", "model_version", "minute", "source", "truth", "label", "weight")
    cells = [dict(zip((*names, "n"), (*cell, n), strict=True)) for cell, n in sorted(changes.items()) if n]
    _add_counts(connection, label_counts, cells)
    sums: Counter[tuple[Any, ...]] = Counter()
    for (model, version, minute, *rest), n in changes.items():
        for span in rollups.ROLLUP_SPANS:
            sums[model, version, span, rollups.span_start(minute, span), *rest] += n
    rollup_names = (*names[:2], "span", *names[2:], "n")
    _add_counts(
        connection,
        label_count_rollups,
        [dict(zip(rollup_names, (*cell, n), strict=True)) for cell, n in sorted(sums.items()) if n],
    )


def _add_counts(connection: Connection, table: Table, rows: list[dict[str, Any]]) -> None:
    if rows:
        statement = insert_into(connection, table)
        total = {"n": table.c.n + statement.excluded.n}
        connection.execute(statement.on_conflict_do_update(index_elements=list(table.primary_key), set_=total), rows)
