"""One reviewer at one queue: the input they hold, what they say of it, and the next one.

An input is held in the database for a quarter of an hour, so several reviewers have different ones, and what a reviewer
leaves behind is soon free. A label goes the way of every label; who skips an input or does not know it gives none, and
it stays for others. Going back replaces what was said: nothing is removed from the history of labels.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import Connection, delete, func, select

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.feedback.label_precedence import CurrentLabel, resolve_truths
from mlplatform.feedback.review_queues import ReviewQueue, claim_item, claimable_items, find_queue, list_queues
from mlplatform.feedback.review_tasks import CLAIM_DURATION, ReviewItem, ReviewLabel, load_item, submit_labels
from mlplatform.predictions import review_samples
from mlplatform.store.database import insert_into
from mlplatform.store.label_rules import LabelRules
from mlplatform.store.tables.feedback import feedback, review_claims, review_verdicts

VerdictKind = Literal["label", "skip", "unsure"]
AUDIT_ACTIONS: Final = {"skip": "skip-review", "unsure": "unsure-review"}
"""What the audit log calls a verdict without a label; one with a label is an entry of its own."""
MAX_REVIEWER_LENGTH: Final = 100
MAX_COMPARED: Final = 200
"""The reviewer's newest labels that are compared with those of others."""
MAX_COUNTED_LABELS: Final = 10_000
COUNTED_PERIOD: Final = timedelta(days=1)


@dataclass(frozen=True)
class Verdict:
    """What a reviewer says of an input; the label is empty for `skip` and `unsure`."""

    prediction_id: str
    kind: VerdictKind
    label: str = ""


@dataclass(frozen=True)
class ReviewerProgress:
    """How many inputs a reviewer labelled in a day, and how many of the newest ones that others labelled too agree."""

    labelled: int
    compared: int
    agreeing: int


@dataclass(frozen=True)
class ReviewDesk:
    """What a reviewer is shown: an input, or none; what they said of it before, and where back leads."""

    queue: ReviewQueue
    rules: LabelRules
    item: ReviewItem | None
    given: Verdict | None
    earlier: str
    progress: ReviewerProgress


def check_reviewer(name: str) -> str:
    """A reviewer's name as it is kept; raises InvalidInputError for one that cannot be."""
    name = name.strip()
    if not name or len(name) > MAX_REVIEWER_LENGTH or not name.isprintable():
        raise InvalidInputError(
            f"the reviewer's name {name[:40]!r} must be a printable text of 1 to {MAX_REVIEWER_LENGTH} characters"
        )
    return name


def list_review_queues(context: AppContext, reviewer: str) -> tuple[list[ReviewQueue], ReviewerProgress | None]:
    """Every queue of the model, and how far the reviewer is, where one is named."""
    with context.database.read() as connection:
        queues = list_queues(connection, context.model_name, context.settings.review_consensus)
        progress = _progress(connection, context.model_name, reviewer, context.clock()) if reviewer else None
    return queues, progress


def load_desk(context: AppContext, queue_id: str, reviewer: str, back_to: str = "") -> ReviewDesk:
    """What the reviewer holds, or an input they spoke about before; raises NotFoundError."""
    now, model = context.clock(), context.model_name
    with context.database.read() as connection:
        queue = find_queue(connection, model, queue_id, context.settings.review_consensus)
        given = _find_verdict(connection, model, queue, reviewer, back_to) if back_to else None
        if back_to and given is None:
            raise NotFoundError(f"{reviewer} said nothing of prediction {back_to[:64]!r} in this queue")
        shown = back_to or _held_item(connection, model, queue, reviewer, now)
        return ReviewDesk(
            queue=queue,
            rules=context.contracts.label_rules(connection, model),
            item=load_item(connection, context, shown) if shown else None,
            given=given,
            earlier=_earlier(connection, model, queue, reviewer, back_to),
            progress=_progress(connection, model, reviewer, now),
        )


def load_held_item(context: AppContext, prediction_id: str, reviewer: str) -> ReviewItem:
    """An input that the reviewer holds, or spoke about; raises NotFoundError for any other."""
    with context.database.read() as connection:
        is_claimed = review_samples.was_claimed_by(connection, context.model_name, prediction_id, reviewer)
        if not is_claimed and not _is_theirs(connection, prediction_id, reviewer):
            raise NotFoundError(f"prediction {prediction_id[:64]!r} is not held by {reviewer}")
        return load_item(connection, context, prediction_id)


def claim_next(context: AppContext, queue_id: str, reviewer: str) -> str | None:
    """Hold the next input of a queue for the reviewer; returns it, or None where none waits for them."""
    now, model = context.clock(), context.model_name
    with context.database.write() as connection:
        queue = find_queue(connection, model, queue_id, context.settings.review_consensus)
        if queue.kind == "draw":
            claims = review_samples.claim_samples(connection, model, reviewer, 1, CLAIM_DURATION, now)
            return claims[0].prediction_id if claims else None
        for prediction_id in claimable_items(
            connection, model, queue, reviewer, now, context.settings.review_consensus
        ):
            if claim_item(connection, prediction_id, queue, reviewer, now, CLAIM_DURATION):
                return prediction_id
    return None


def give_verdict(context: AppContext, queue_id: str, reviewer: str, verdict: Verdict, key_id: str = "") -> None:
    """Take what the reviewer says of an input that they hold or spoke about before; saying it again changes nothing.

    Raises NotFoundError for a queue that is not open, ConflictError for an input of somebody else or for passing by one
    that they labelled, InvalidInputError for a label that is no class. A label is stored first: should the rest fail,
    it stays, and the input is settled.
    """
    now, model = context.clock(), context.model_name
    with context.database.read() as connection:
        queue = find_queue(connection, model, queue_id, context.settings.review_consensus)
        _check_theirs(connection, model, queue, reviewer, verdict.prediction_id)
    if verdict.kind == "label":
        with context.database.read() as connection:
            kept = context.contracts.label_rules(connection, model).canonical(verdict.label)
        verdict = replace(verdict, label=verdict.label if kept is None else kept)
        label = ReviewLabel(
            verdict.prediction_id, verdict.label, queue.task, queue.kind == "disagreements", queue=queue.id
        )
        submit_labels(context, [label], reviewer, key_id)
    details: dict[str, object] = {"queue": queue.id}
    if key_id:
        details["key"] = key_id
    with context.database.write() as connection:
        before = _find_verdict(connection, model, queue, reviewer, verdict.prediction_id)
        if verdict.kind != "label" and before is not None and before.kind == "label":
            raise ConflictError("you labelled this input, and its label counts; give another label instead")
        if verdict.kind != "label" or context.settings.review_consensus == 1:  # else it is stored as a vote
            _store_verdict(connection, model, queue, reviewer, verdict, now)
        _release(connection, queue, verdict.prediction_id, reviewer)
        if verdict.kind != "label" and verdict != before:
            subject = f"prediction/{verdict.prediction_id}"
            audit_entries.append(connection, reviewer, AUDIT_ACTIONS[verdict.kind], subject, now, details)


def _check_theirs(connection: Connection, model: str, queue: ReviewQueue, reviewer: str, prediction_id: str) -> None:
    """Raise ConflictError unless the reviewer holds the input in this queue, or was the last to, or spoke about it."""
    if queue.kind == "draw":
        is_held = review_samples.was_claimed_by(connection, model, prediction_id, reviewer)
    else:
        holder = select(review_claims.c.reviewer).where(
            review_claims.c.prediction_id == prediction_id, review_claims.c.queue == queue.id
        )
        is_held = connection.scalar(holder) == reviewer
    if not is_held and _find_verdict(connection, model, queue, reviewer, prediction_id) is None:
        raise ConflictError(
            f"prediction {prediction_id[:64]!r} is not held by {reviewer} in this queue: it was held for "
            f"{CLAIM_DURATION.seconds // 60} minutes, and others have it now. Nothing was taken; ask for the next one"
        )


def _is_theirs(connection: Connection, prediction_id: str, reviewer: str) -> bool:
    """Whether a reviewer holds a picked input, or spoke about an input of any queue."""
    for table in (review_claims, review_verdicts):
        theirs = select(table.c.prediction_id).where(
            table.c.prediction_id == prediction_id, table.c.reviewer == reviewer
        )
        if connection.scalar(theirs) is not None:
            return True
    return False


def _held_item(connection: Connection, model: str, queue: ReviewQueue, reviewer: str, now: datetime) -> str | None:
    if queue.kind == "draw":
        return review_samples.held_sample(connection, model, reviewer, now)
    query = (
        select(review_claims.c.prediction_id)
        .where(review_claims.c.reviewer == reviewer, review_claims.c.queue == queue.id, review_claims.c.until > now)
        .order_by(review_claims.c.until.desc(), review_claims.c.prediction_id)
        .limit(1)
    )
    return connection.scalar(query)


def _release(connection: Connection, queue: ReviewQueue, prediction_id: str, reviewer: str) -> None:
    if queue.kind == "draw":
        review_samples.release_sample(connection, prediction_id, reviewer)
        return
    theirs = (review_claims.c.prediction_id == prediction_id) & (review_claims.c.reviewer == reviewer)
    connection.execute(delete(review_claims).where(theirs))


def _store_verdict(
    connection: Connection, model: str, queue: ReviewQueue, reviewer: str, verdict: Verdict, now: datetime
) -> None:
    said = {"model_name": model, "queue": queue.id, "verdict": verdict.kind, "label": verdict.label, "at": now}
    key = {"prediction_id": verdict.prediction_id, "reviewer": reviewer}
    statement = insert_into(connection, review_verdicts).values(**key, **said)
    connection.execute(statement.on_conflict_do_update(index_elements=list(key), set_=said))


def _find_verdict(
    connection: Connection, model: str, queue: ReviewQueue, reviewer: str, prediction_id: str
) -> Verdict | None:
    query = select(review_verdicts.c.verdict, review_verdicts.c.label).where(
        review_verdicts.c.prediction_id == prediction_id,
        review_verdicts.c.reviewer == reviewer,
        review_verdicts.c.model_name == model,
        review_verdicts.c.queue == queue.id,
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else Verdict(prediction_id, row.verdict, row.label)


def _earlier(connection: Connection, model: str, queue: ReviewQueue, reviewer: str, before: str) -> str:
    """The input that the reviewer spoke about last in this queue, or last before another; empty for none."""
    said = (
        (review_verdicts.c.model_name == model)
        & (review_verdicts.c.reviewer == reviewer)
        & (review_verdicts.c.queue == queue.id)
    )
    query = select(review_verdicts.c.prediction_id).where(said)
    if before:
        moment = select(review_verdicts.c.at).where(said, review_verdicts.c.prediction_id == before).scalar_subquery()
        query = query.where(review_verdicts.c.at < moment)
    newest_first = query.order_by(review_verdicts.c.at.desc(), review_verdicts.c.prediction_id).limit(1)
    return connection.scalar(newest_first) or ""


def _progress(connection: Connection, model: str, reviewer: str, now: datetime) -> ReviewerProgress:
    theirs = (
        (review_verdicts.c.model_name == model)
        & (review_verdicts.c.reviewer == reviewer)
        & (review_verdicts.c.verdict == "label")
    )
    today = select(review_verdicts.c.at).where(theirs, review_verdicts.c.at > now - COUNTED_PERIOD)
    counted = today.limit(MAX_COUNTED_LABELS).subquery()
    labelled = connection.scalar(select(func.count()).select_from(counted)) or 0
    newest = select(review_verdicts.c.prediction_id, review_verdicts.c.label).where(theirs)
    newest = newest.order_by(review_verdicts.c.at.desc()).limit(MAX_COMPARED)
    own = {row.prediction_id: row.label for row in connection.execute(newest)}
    truths = resolve_truths(_labels_of_others(connection, list(own), reviewer))
    agreeing = sum(own[prediction_id] == truth.label for prediction_id, truth in truths.items())
    return ReviewerProgress(labelled, len(truths), agreeing)


def _labels_of_others(connection: Connection, prediction_ids: list[str], reviewer: str) -> list[CurrentLabel]:
    """The current labels that others gave; people who report an error see the answer, so theirs are left out."""
    query = select(feedback.c.id, feedback.c.prediction_id, feedback.c.label, feedback.c.source, feedback.c.at).where(
        feedback.c.prediction_id.in_(prediction_ids),
        feedback.c.reviewer != reviewer,
        feedback.c.source != "correction",
        feedback.c.superseded_by.is_(None),
    )
    return [CurrentLabel(**row._mapping) for row in connection.execute(query)]
