"""Consensus of reviewers: what each says is a vote, and becomes a label once enough of them say the same.

A vote is the reviewer's verdict on the input; a later one takes its place. Votes count together that were given in one
queue, and with them those that settle a contradiction. Labels stay when somebody changes a vote afterwards, until
enough say something else. Nobody is shown the vote of another.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Connection, Row, select

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import NotFoundError
from mlplatform.feedback.label_ingestion import (
    LabelReceipt,
    check_label_target,
    record_within,
    reject_model_labels,
    write_labels,
)
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.predictions import prediction_records
from mlplatform.store.database import insert_into
from mlplatform.store.tables.feedback import review_verdicts

DRAW: Final = "draw"
CONTRADICTIONS: Final = "contradictions"
"""The queue of inputs whose reviewers contradict each other; its votes count with those of every other queue."""
VOTE_ACTION: Final = "vote-review"
MAX_VOTES: Final = 10_000
"""The newest votes among which contradictions are looked for."""
Taken = tuple[SubmittedLabel, LabelReceipt | None]


@dataclass(frozen=True)
class Vote:
    """What one reviewer says of a prediction's input, and in which queue it was shown."""

    reviewer: str
    queue: str
    label: str
    at: datetime


def record_votes(
    context: AppContext, labels: Sequence[SubmittedLabel], queues: Sequence[str], key_id: str = ""
) -> list[Taken]:
    """Take votes, all or none, and in the same transaction the labels that are decided by them.

    `queues` are those that the inputs were shown in. Returns each vote with what became of its label,
    None while too few say the same. Raises as `record_labels`.
    """
    reject_model_labels(context.model_name, labels)
    needed = context.settings.review_consensus

    def write(connection: Connection) -> list[Taken]:
        ids = sorted({label.prediction_id for label in labels})
        origins = prediction_records.prediction_origins(connection, ids, lock=True)  # who votes on one waits here
        if missing := set(ids) - origins.keys():
            raise NotFoundError(f"{len(missing)} prediction id(s) not known: {min(missing)}; nothing was taken")
        for label, queue in zip(labels, queues, strict=True):
            check_label_target(context.model_name, label, origins[label.prediction_id])
            _store_vote(connection, context, label, queue, key_id)
        votes, by_giver = _load_votes(connection, ids), dict[tuple[str, str], SubmittedLabel]()
        sources = {label.prediction_id: label.source for label in labels}
        for prediction_id, given in votes.items():
            for vote, is_picked in agreed_votes(given, needed):
                source: LabelSource = "review" if is_picked else sources[prediction_id]
                label = SubmittedLabel(prediction_id, vote.label, source, vote.reviewer, vote.at)
                by_giver[prediction_id, vote.reviewer] = label
        stored = record_within(connection, context, list(by_giver.values()), key_id, wait=False)
        receipts = dict(zip(by_giver, stored, strict=True))
        keys = [(label.prediction_id, label.reviewer) for label in labels]
        return [(by_giver.get(key, label), receipts.get(key)) for key, label in zip(keys, labels, strict=True)]

    return write_labels(context, write)


def agreed_votes(votes: Sequence[Vote], needed: int) -> Iterator[tuple[Vote, bool]]:
    """The votes of one prediction of which enough say the same, each with whether its queue picked the input."""
    for queue, group in _by_queue(votes).items():
        agreed = _agreed_label(group, needed)
        yield from ((vote, queue != DRAW) for vote in group if vote.label == agreed)


def contradicted(connection: Connection, model: str, needed: int, limit: int) -> list[str]:
    """The predictions of a model about which votes differ and too few agree, the longest waiting first."""
    if needed < 2:
        return []
    newest = select(review_verdicts).where(review_verdicts.c.model_name == model, review_verdicts.c.verdict == "label")
    votes: dict[str, list[Vote]] = defaultdict(list)
    for row in connection.execute(newest.order_by(review_verdicts.c.at.desc()).limit(MAX_VOTES)):
        votes[row.prediction_id].append(_to_vote(row))
    found = [
        prediction_id
        for prediction_id, given in votes.items()
        if any(
            len({vote.label for vote in group}) > 1 and _agreed_label(group, needed) is None
            for group in _by_queue(given).values()
        )
    ]
    return found[::-1][:limit]


def voted_on(connection: Connection, prediction_ids: Collection[str], reviewer: str, queue: str) -> set[str]:
    """Those of the predictions that the reviewer labelled in that queue; of contradictions, in any."""
    labelled = (review_verdicts.c.reviewer == reviewer) & (review_verdicts.c.verdict == "label")
    if queue != CONTRADICTIONS:
        labelled &= review_verdicts.c.queue == queue
    query = select(review_verdicts.c.prediction_id).where(review_verdicts.c.prediction_id.in_(prediction_ids), labelled)
    return set(connection.scalars(query))


def _by_queue(votes: Sequence[Vote]) -> dict[str, list[Vote]]:
    """The votes that count together: those of each queue, with those that were asked for as the others differed."""
    queues = dict.fromkeys(vote.queue for vote in votes if vote.queue != CONTRADICTIONS) or {DRAW: None}
    return {queue: [vote for vote in votes if vote.queue in (queue, CONTRADICTIONS)] for queue in queues}


def _agreed_label(votes: Sequence[Vote], needed: int) -> str | None:
    """The label that enough votes say; None where none has enough, or several have."""
    enough = [label for label, count in Counter(vote.label for vote in votes).items() if count >= needed]
    return enough[0] if len(enough) == 1 else None


def _store_vote(connection: Connection, context: AppContext, label: SubmittedLabel, queue: str, key_id: str) -> None:
    key = {"prediction_id": label.prediction_id, "reviewer": label.reviewer}
    same = (review_verdicts.c.prediction_id == label.prediction_id) & (review_verdicts.c.reviewer == label.reviewer)
    before = connection.execute(select(review_verdicts).where(same)).one_or_none()
    if before is not None and before.verdict == "label" and (before.label == label.label or before.at > label.at):
        return
    said = {"model_name": context.model_name, "queue": queue, "verdict": "label", "label": label.label, "at": label.at}
    statement = insert_into(connection, review_verdicts).values(**key, **said)
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=said))
    details: dict[str, object] = {"queue": queue, "label": label.label, **({"key": key_id} if key_id else {})}
    subject = f"prediction/{label.prediction_id}"
    audit_entries.append(connection, label.reviewer, VOTE_ACTION, subject, context.clock(), details)


def _load_votes(connection: Connection, prediction_ids: Collection[str]) -> Mapping[str, Sequence[Vote]]:
    """The votes of each of the predictions, oldest first."""
    query = select(review_verdicts).where(
        review_verdicts.c.prediction_id.in_(prediction_ids), review_verdicts.c.verdict == "label"
    )
    votes: dict[str, list[Vote]] = defaultdict(list)
    for row in connection.execute(query.order_by(review_verdicts.c.at, review_verdicts.c.reviewer)):
        votes[row.prediction_id].append(_to_vote(row))
    return votes


def _to_vote(row: Row[Any]) -> Vote:
    return Vote(row.reviewer, row.queue, row.label, row.at)
