"""Keeps the table `outcomes` and its counts up to date with the labels, in the transaction that takes the labels.

An update holds the model's sequence counter until that transaction commits, so rows become visible in the order of
their numbers, and a reader with a cursor misses none. A row gets a new number only when a source gives a label that
gave none before. The column `seen` keeps the number each source brought, so that a reader of one source, or of several,
passes over what it has read already, and over nothing else.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import count
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, RowMapping, Table, bindparam, insert, select, update

from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths, speaking_sources
from mlplatform.feedback.outcome_counts import counted_source
from mlplatform.feedback.outcomes import counter_name, source_sequences
from mlplatform.predictions import review_samples, sampling_plans
from mlplatform.predictions.prediction_counts import minute_index
from mlplatform.predictions.review_samples import UNIT_WEIGHT, ZERO_WEIGHT, InclusionWeight
from mlplatform.store import rollups
from mlplatform.store.database import insert_into
from mlplatform.store.tables.feedback import feedback, label_count_rollups, label_counts, outcomes, sequence_counters
from mlplatform.store.tables.predictions import predictions
from mlplatform.store.version_contracts import pinned_contract
from registry.model_contract import ModelContract

BATCH_SIZE: Final = 5_000
"""Predictions brought up to date by one set of statements."""
LabelCountKey = tuple[str, int, int, str, str, str, float]
"""Model, version, minute, source, truth, label and weight: what labels are counted by."""


@dataclass(frozen=True)
class _OutcomeRow:
    """A row of `outcomes` by its columns; `seq` is None until the row gets its number."""

    prediction_id: str
    seq: int | None
    model_name: str
    model_version: int
    at: datetime
    known_at: datetime
    label: str
    truth: str
    source: str
    seen: str
    confidence: float
    weight: float
    share: float
    loss: float
    truth_class: str
    label_class: str
    tags: dict[str, str] | None
    request_id: str
    unnumbered: tuple[str, ...] = ()
    """The sources that gave a label for the first time, and have no number yet."""

    @property
    def count_key(self) -> LabelCountKey:
        """What the row is counted under."""
        of_version = (self.model_name, self.model_version, minute_index(self.at))
        source = counted_source({*source_sequences(self.seen), *self.unnumbered}, self.source)
        return (*of_version, source, self.truth_class or self.truth, self.label_class or self.label, self.weight)

    @property
    def columns(self) -> dict[str, Any]:
        """The row as the table holds it."""
        return {name: value for name, value in vars(self).items() if name != "unnumbered"}

    def numbered(self, seq: int) -> "_OutcomeRow":
        """The row with its sequence number, which its new sources brought."""
        brought = " ".join(f"{source}:{seq}" for source in self.unnumbered)
        return replace(self, seq=seq, seen=f"{self.seen} {brought}".lstrip(), unnumbered=())


def update_outcomes(
    connection: Connection,
    prediction_ids: Iterable[str],
    known_at: datetime,
    known_before: Mapping[str, datetime] = MappingProxyType({}),
) -> int:
    """Bring the outcomes of these predictions up to date with their labels; returns how many got a number.

    What the labels say is known at `known_at`, of the predictions in `known_before` since then.
    """
    ids = sorted(set(prediction_ids))
    batches = (ids[first : first + BATCH_SIZE] for first in range(0, len(ids), BATCH_SIZE))
    return sum(_update_batch(connection, batch, known_at, known_before) for batch in batches)


def _update_batch(
    connection: Connection, ids: Sequence[str], known_at: datetime, known_before: Mapping[str, datetime]
) -> int:
    # 1. Lock the counters of the models, so that whoever else labels one of them waits here.
    predicted = {row["id"]: row for row in _load_predictions(connection, ids)}
    for model in sorted({row["model_name"] for row in predicted.values()}):
        _advance_counter(connection, model, 0)

    # 2. Work out the rows whose truth changed, and by how much the counts change.
    query = select(outcomes).where(outcomes.c.prediction_id.in_(ids))
    stored = {row.prediction_id: _OutcomeRow(**row._mapping) for row in connection.execute(query)}
    weights, judge = _AuditWeights(connection, predicted), _Judge(connection)
    changes: Counter[LabelCountKey] = Counter()
    new_rows: list[_OutcomeRow] = []
    changed_rows: list[_OutcomeRow] = []
    for prediction_id, (truth, sources) in sorted(_load_truths(connection, ids).items()):
        before, prediction = stored.get(prediction_id), predicted[prediction_id]
        new_sources = [name for name in sources if before is None or name not in source_sequences(before.seen)]
        if before is not None and (before.truth, before.source) == (truth.label, truth.source) and not new_sources:
            continue
        weight = weights.of(prediction) if truth.source == "audit" else UNIT_WEIGHT
        judged = judge.of(prediction, truth.label)
        known = known_before.get(prediction_id, known_at)
        row = _outcome_row(prediction, truth, new_sources, before, known, weight, judged)
        (new_rows if before is None else changed_rows).append(row)
        changes[row.count_key] += 1
        if before is not None:
            changes[before.count_key] -= 1

    # 3. Number the rows that need it, and write rows and counts.
    numbered_rows = _assign_sequence(connection, [*new_rows, *changed_rows])
    if new_rows:
        connection.execute(insert(outcomes), [row.columns for row in numbered_rows[: len(new_rows)]])
    if changed_rows:
        _write_changed_rows(connection, numbered_rows[len(new_rows) :])
    _update_counts(connection, changes)
    return sum(row.seq is None for row in (*new_rows, *changed_rows))


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


class _Judged(NamedTuple):
    """How wrong an answer is, and what truth and answer are counted as, empty where that is themselves."""

    loss: float
    truth_class: str = ""
    label_class: str = ""


class _Judge:
    """Holds answers against truths, by the contracts of the versions that gave them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._contracts: dict[tuple[str, int], ModelContract | None] = {}

    def of(self, prediction: RowMapping, truth: str) -> _Judged:
        """The loss from 0 for a right answer to 1 for the worst; 1 for each mistake of a version without a contract."""
        version = prediction["model_name"], prediction["model_version"]
        if version not in self._contracts:
            self._contracts[version] = pinned_contract(self._connection, *version)
        contract = self._contracts[version]
        if contract is None:
            return _Judged(float(prediction["label"] != truth))
        task, label = contract.task, prediction["label"]
        of_truth, of_label = task.counted(truth, label)
        loss = task.counted_loss(of_truth, of_label)  # as that of golden rows and of counts
        return _Judged(loss) if (of_truth, of_label) == (truth, label) else _Judged(loss, of_truth, of_label)


def _load_predictions(connection: Connection, ids: Sequence[str]) -> Iterable[RowMapping]:
    columns = [
        predictions.c[name]
        for name in (
            "id",
            "at",
            "model_name",
            "model_version",
            "label",
            "confidence",
            "tags",
            "client_id",
            "request_id",
        )
    ]
    return connection.execute(select(*columns).where(predictions.c.id.in_(ids))).mappings()


def _load_truths(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[CurrentLabel, tuple[str, ...]]]:
    """The truth of each labelled prediction, and the sources that speak about it."""
    columns = (feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at)
    query = select(*columns).where(feedback.c.prediction_id.in_(ids), feedback.c.superseded_by.is_(None))
    labels = defaultdict[str, list[CurrentLabel]](list)
    for row in connection.execute(query):
        labels[row.prediction_id].append(CurrentLabel(**row._mapping))
    truths = resolve_truths(label for of_prediction in labels.values() for label in of_prediction)
    return {key: (truth, speaking_sources(truth, labels[key])) for key, truth in truths.items()}


def _outcome_row(
    prediction: RowMapping,
    truth: CurrentLabel,
    new_sources: Sequence[str],
    before: _OutcomeRow | None,
    known_at: datetime,
    weight: InclusionWeight,
    judged: _Judged,
) -> _OutcomeRow:
    """The row with the new truth; it keeps its number where no source gave a label for the first time."""
    numbered_before = None if new_sources else before
    return _OutcomeRow(
        prediction_id=prediction["id"],
        seq=None if numbered_before is None else numbered_before.seq,
        model_name=prediction["model_name"],
        model_version=prediction["model_version"],
        at=prediction["at"],
        known_at=known_at if numbered_before is None else numbered_before.known_at,
        label=prediction["label"],
        truth=truth.label,
        source=truth.source,
        seen="" if before is None else before.seen,
        confidence=prediction["confidence"],
        weight=weight.weight,
        share=weight.share,
        loss=judged.loss,
        truth_class=judged.truth_class,
        label_class=judged.label_class,
        tags={**(prediction["tags"] or {}), "client": prediction["client_id"]},
        request_id=prediction["request_id"],
        unnumbered=tuple(new_sources),
    )


def _assign_sequence(connection: Connection, rows: Sequence[_OutcomeRow]) -> list[_OutcomeRow]:
    """The rows in the same order, those without a number with the next ones of their model."""
    unnumbered = Counter(row.model_name for row in rows if row.seq is None)
    next_numbers = {
        model: count(_advance_counter(connection, model, waiting) - waiting + 1)
        for model, waiting in sorted(unnumbered.items())
    }
    return [row if row.seq is not None else row.numbered(next(next_numbers[row.model_name])) for row in rows]


def _advance_counter(connection: Connection, model: str, by: int) -> int:
    """Add to the model's counter and hold it until the transaction ends; returns its value."""
    statement = insert_into(connection, sequence_counters).values(name=counter_name(model), value=by)
    added = statement.on_conflict_do_update(index_elements=["name"], set_={"value": sequence_counters.c.value + by})
    value: int = connection.execute(added.returning(sequence_counters.c.value)).scalar_one()
    return value


def _write_changed_rows(connection: Connection, rows: Sequence[_OutcomeRow]) -> None:
    judged = ("loss", "truth_class", "label_class")
    columns = ("seq", "known_at", "truth", "source", "seen", "weight", "share", *judged)
    statement = update(outcomes).where(outcomes.c.prediction_id == bindparam("key"))
    parameters = [{"key": row.prediction_id, **{f"new_{name}": getattr(row, name) for name in columns}} for row in rows]
    connection.execute(statement.values({name: bindparam(f"new_{name}") for name in columns}), parameters)


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
