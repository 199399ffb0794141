"""The labels of a version in the order they came to count, each change of a label included, for a backtest.

A row of `outcomes` changes when a better label comes, and what it said before is gone from there; `feedback` keeps
every label ever given, so what counted earlier is worked out from it.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import accumulate, groupby
from typing import Any, Final, cast

from sqlalchemy import Connection, func, select

from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths, speaking_sources
from mlplatform.feedback.outcomes import outcomes_after
from mlplatform.predictions.review_samples import UNIT_WEIGHT
from mlplatform.store.tables.feedback import feedback, outcomes
from monitors.rules.alerts_config import Source
from monitors.windows.window_counts import Outcome
from registry.prediction_task import Task

LabelPosition = tuple[datetime, int, str]
"""The order of labels of one moment, as `outcomes` numbers them: newly labelled predictions first, then changed ones,
each by prediction id."""
NO_LIMIT: Final = 2**62


@dataclass(frozen=True)
class LabelEvent:
    """From `at` on the store held this outcome.

    `new_sources` gave a label for the first time, so the outcome got a sequence number, as one more to read.
    """

    at: datetime
    outcome: Outcome
    new_sources: tuple[Source, ...]


def label_events(connection: Connection, model_name: str, version: int, task: Task) -> list[LabelEvent]:
    """A version's labels in the order they came to count, each change of a label included; `task` is the version's.

    A clock that was set back does not bring them out of order: a label counts no earlier than those numbered before it.
    """
    rows = outcomes_after(connection, model_name, version, 0, NO_LIMIT)
    times = list(accumulate((row.known_at for row in rows), max))
    revisions_by_prediction = _label_revisions(connection, model_name, version)
    numbered: list[tuple[LabelPosition, LabelEvent]] = []
    changes: list[tuple[LabelPosition, LabelEvent]] = []
    for row, at in zip(rows, times, strict=True):
        revisions = revisions_by_prediction.get(row.prediction_id, [])
        index = _numbered_revision(row, revisions)
        outcome = row if index is None else _with_truth(row, revisions[index].label, task)
        brought = (row.source,) if index is None else _known_sources(row, revisions[index])
        numbered.append(((at, int(bool(index)), row.prediction_id), LabelEvent(at, outcome, brought)))
        if index is not None:
            changes += _other_revisions(row, revisions, index, at, task)

    # A change stands before the first numbered label that is not earlier.
    positions = [position for position, _ in numbered]
    ordered = [(bisect_left(positions, position), 0, position, event) for position, event in changes]
    ordered += [(index, 1, position, event) for index, (position, event) in enumerate(numbered)]
    return [event for *_, event in sorted(ordered, key=lambda entry: entry[:3])]


@dataclass(frozen=True)
class _LabelRevision:
    """What was the truth of a prediction from a moment on, by which source."""

    at: datetime
    label: str
    source: Source
    new_sources: tuple[Source, ...]


def _label_revisions(connection: Connection, model_name: str, version: int) -> dict[str, list[_LabelRevision]]:
    """The successive truths of the predictions that got more than one label."""
    relabelled = (
        select(feedback.c.prediction_id)
        .join(outcomes, outcomes.c.prediction_id == feedback.c.prediction_id)
        .where(outcomes.c.model_name == model_name, outcomes.c.model_version == version)
        .group_by(feedback.c.prediction_id)
        .having(func.count() > 1)
    )
    query = select(feedback).where(feedback.c.prediction_id.in_(relabelled))
    rows = connection.execute(query.order_by(feedback.c.prediction_id, feedback.c.id)).mappings()
    return {
        prediction_id: list(_revisions_in_order([dict(row) for row in labels]))
        for prediction_id, labels in groupby(rows, key=lambda row: str(row["prediction_id"]))
    }


def _revisions_in_order(rows: Sequence[Mapping[str, Any]]) -> Iterator[_LabelRevision]:
    """How the truth of one prediction changed, from every label it ever got, in the order they came."""
    index_by_id = {row["id"]: index for index, row in enumerate(rows)}
    truth_before: tuple[str, str] | None = None
    sources: set[str] = set()
    for index, row in enumerate(rows):
        if index + 1 < len(rows) and rows[index + 1]["received_at"] == row["received_at"]:
            continue  # taken in one transaction with the next
        current = [
            CurrentLabel(label["id"], label["prediction_id"], label["label"], label["source"], label["at"])
            for label in rows[: index + 1]
            if label["superseded_by"] is None or index_by_id[label["superseded_by"]] > index
        ]
        for truth in resolve_truths(current).values():
            source = cast("Source", truth.source)  # a review speaks under the source it amends
            new = tuple(cast("Source", name) for name in speaking_sources(truth, current) if name not in sources)
            if new or truth_before != (truth.label, source):
                yield _LabelRevision(row["received_at"], truth.label, source, new)
                truth_before = (truth.label, source)
                sources.update(new)


def _numbered_revision(row: Outcome, revisions: Sequence[_LabelRevision]) -> int | None:
    """The index of the revision that gave the outcome its number; None where the revisions do not lead to it."""
    if not revisions or (revisions[-1].label, revisions[-1].source) != (row.truth, row.source):
        return None
    return max((index for index, revision in enumerate(revisions) if _known_sources(row, revision)), default=None)


def _known_sources(row: Outcome, revision: _LabelRevision) -> tuple[Source, ...]:
    """The sources that the revision brought, of those that the outcome knows."""
    return tuple(source for source in revision.new_sources if source in row.source_sequence)


def _other_revisions(
    row: Outcome, revisions: Sequence[_LabelRevision], numbered: int, at: datetime, task: Task
) -> Iterator[tuple[LabelPosition, LabelEvent]]:
    """What the store held of a prediction before its present number, and how its label was changed afterwards."""
    for index, revision in enumerate(revisions):
        if index == numbered:
            continue
        moment = min(revision.at, at) if index < numbered else max(revision.at, at)
        known_at = _known_since(row, revisions, index)
        outcome = replace(_with_truth(row, revision.label, task), source=revision.source, known_at=known_at)
        if revision.source != "audit":
            outcome = replace(outcome, weight=UNIT_WEIGHT.weight, share=UNIT_WEIGHT.share)
        rank = 2 if index > numbered else int(index > 0)
        yield (moment, rank, row.prediction_id), LabelEvent(moment, outcome, _known_sources(row, revision))


def _with_truth(row: Outcome, truth: str, task: Task) -> Outcome:
    """The outcome had this been its truth."""
    of_truth, of_label = task.counted(truth, row.label)
    is_itself = (of_truth, of_label) == (truth, row.label)
    return replace(
        row,
        truth=truth,
        loss=task.counted_loss(of_truth, of_label),
        truth_class="" if is_itself else of_truth,
        label_class="" if is_itself else of_label,
    )


def _known_since(row: Outcome, revisions: Sequence[_LabelRevision], index: int) -> datetime:
    """When the outcome got the number that it had after a revision."""
    numbered = [revision.at for revision in revisions[: index + 1] if _known_sources(row, revision)]
    return numbered[-1] if numbered else revisions[0].at
