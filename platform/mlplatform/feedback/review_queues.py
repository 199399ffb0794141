"""The queues of inputs that people label: what was drawn, label audits, suspicious labels, and disagreements."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy import Connection, select

from mlplatform.errors import NotFoundError
from mlplatform.feedback.review_consensus import CONTRADICTIONS, contradicted, voted_on
from mlplatform.predictions import review_samples, shadow_predictions
from mlplatform.predictions.review_samples import passed_by
from mlplatform.store import tasks
from mlplatform.store.database import insert_into
from mlplatform.store.tables.feedback import review_claims
from mlplatform.store.tables.predictions import predictions
from mlplatform.store.tasks import LABELLING_KINDS, Task

QueueKind = Literal["draw", "disagreements", "contradictions", "label-audit", "label-review"]
DRAW: Final = "draw"
DISAGREEMENTS: Final = "disagreements"
MAX_COUNTED: Final = 1_000
"""Inputs that wait are counted up to here."""
MAX_DISAGREEMENTS: Final = 200
TITLES: Final[Mapping[QueueKind, str]] = {
    "draw": "Drawn at random",
    "disagreements": "Disagreements",
    "contradictions": "Reviewers differ",
    "label-audit": "Label audit",
    "label-review": "Suspicious labels",
}


@dataclass(frozen=True)
class ReviewQueue:
    """One queue: `waiting` inputs, counted up to MAX_COUNTED, of `total` where it lists a number of them."""

    id: str
    kind: QueueKind
    waiting: int
    total: int | None = None
    about: str = ""
    """The class that a label audit is about."""

    @property
    def title(self) -> str:
        """Its name among the queues; beside an input the class in it would lead the reviewer's eye."""
        return f"{self.kind_title}: class {self.about}" if self.about else self.kind_title

    @property
    def kind_title(self) -> str:
        """Its name beside an input."""
        return TITLES[self.kind]

    @property
    def task(self) -> str:
        """The id of its task, empty for one that is none."""
        return self.id if self.kind in LABELLING_KINDS else ""


def list_queues(connection: Connection, model: str, consensus: int = 1) -> list[ReviewQueue]:
    """Every queue of a model: the draw first, then its open tasks, then disagreements, then contradicting reviewers.

    The last where as many reviewers as `consensus` must agree, and that is more than one.
    """
    return [
        _draw_queue(connection, model),
        *(_task_queue(connection, task) for task in _labelling_tasks(connection, model)),
        _disagreement_queue(connection, model),
        *([_contradiction_queue(connection, model, consensus)] if consensus > 1 else []),
    ]


def find_queue(connection: Connection, model: str, queue_id: str, consensus: int = 1) -> ReviewQueue:
    """That queue; raises NotFoundError for one that is not open, naming those that are."""
    if queue_id == DRAW:
        return _draw_queue(connection, model)
    if queue_id == DISAGREEMENTS:
        return _disagreement_queue(connection, model)
    if queue_id == CONTRADICTIONS and consensus > 1:
        return _contradiction_queue(connection, model, consensus)
    open_tasks = {task.id: task for task in _labelling_tasks(connection, model)}
    if queue_id not in open_tasks:
        listed = ", ".join((DRAW, *open_tasks, DISAGREEMENTS))
        raise NotFoundError(f"review queue {queue_id[:100]!r} is not open, or all of it is labelled; open: {listed}")
    return _task_queue(connection, open_tasks[queue_id])


def waiting_items(connection: Connection, model: str, queue: ReviewQueue, consensus: int = 1) -> list[str]:
    """The predictions of a queue, but for the draw, that wait for a label, in the order to label them in."""
    if queue.kind == "contradictions":
        return contradicted(connection, model, consensus, MAX_DISAGREEMENTS)
    if queue.kind == "disagreements":
        return shadow_predictions.differing_unlabelled(connection, model, MAX_DISAGREEMENTS)
    return tasks.unlabelled_items(connection, tasks.find(connection, queue.id))


def claimable_items(
    connection: Connection, model: str, queue: ReviewQueue, reviewer: str, now: datetime, consensus: int = 1
) -> list[str]:
    """Those that nobody else holds and that the reviewer did not pass by, with what the reviewer holds first.

    Where several reviewers must agree, nobody is asked again what they labelled in the queue.
    """
    waiting = waiting_items(connection, model, queue, consensus)
    held = {
        row.prediction_id: row.reviewer
        for row in connection.execute(
            select(review_claims).where(review_claims.c.prediction_id.in_(waiting), review_claims.c.until > now)
        )
    }
    is_passed = passed_by(predictions.c.id, reviewer, now)
    passed = set(connection.scalars(select(predictions.c.id).where(predictions.c.id.in_(waiting), is_passed)))
    if consensus > 1:
        passed |= voted_on(connection, waiting, reviewer, queue.id)
    free = [key for key in waiting if held.get(key, reviewer) == reviewer and key not in passed]
    return sorted(free, key=lambda key: key not in held)


def claim_item(
    connection: Connection, prediction_id: str, queue: ReviewQueue, reviewer: str, now: datetime, duration: timedelta
) -> bool:
    """Hold a picked input; False where another reviewer was quicker."""
    held = {"queue": queue.id, "reviewer": reviewer, "until": now + duration}
    statement = insert_into(connection, review_claims).values(prediction_id=prediction_id, **held)
    is_free = (review_claims.c.until <= now) | (review_claims.c.reviewer == reviewer)
    statement = statement.on_conflict_do_update(index_elements=["prediction_id"], set_=held, where=is_free)
    return connection.scalar(statement.returning(review_claims.c.prediction_id)) is not None


def _labelling_tasks(connection: Connection, model: str) -> list[Task]:
    return [task for task in tasks.open_tasks(connection, model) if task.kind in LABELLING_KINDS]


def _draw_queue(connection: Connection, model: str) -> ReviewQueue:
    return ReviewQueue(DRAW, "draw", review_samples.count_open(connection, model, MAX_COUNTED))


def _disagreement_queue(connection: Connection, model: str) -> ReviewQueue:
    waiting = shadow_predictions.differing_unlabelled(connection, model, MAX_DISAGREEMENTS)
    return ReviewQueue(DISAGREEMENTS, "disagreements", len(waiting))


def _contradiction_queue(connection: Connection, model: str, consensus: int) -> ReviewQueue:
    waiting = contradicted(connection, model, consensus, MAX_DISAGREEMENTS)
    return ReviewQueue(CONTRADICTIONS, "contradictions", len(waiting))


def _task_queue(connection: Connection, task: Task) -> ReviewQueue:
    kind: QueueKind = "label-audit" if task.kind == "label-audit" else "label-review"
    waiting = len(tasks.unlabelled_items(connection, task))
    about = str(task.details.get("class", "")) if kind == "label-audit" else ""
    return ReviewQueue(task.id, kind, waiting, len(task.details["predictions"]), about)
