"""The review of predictions by people: what to label next, and the labels they give, by HTTP or by a sheet.

A reviewer sees the input and never the model's prediction or an earlier label, which would lead their eye. The label of
a prediction that was drawn is an `audit` label and estimates. That of one that was picked, for a task or by the
reviewer, is a `review`: it outranks every other label and trains with full trust, and does not estimate, because
picking is no draw.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_ingestion import LabelReceipt, record_labels
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.review_consensus import record_votes
from mlplatform.predictions import prediction_records, review_samples
from mlplatform.predictions.input_views import InputView, RowCell, load_input_view
from mlplatform.store import tasks
from mlplatform.store.tasks import LABELLING_KINDS

CLAIM_DURATION: Final = timedelta(minutes=15)
MAX_ITEMS: Final = 100
SHEET_NAME: Final = "labels.csv"
COLUMNS: Final = ("prediction_id", "label")
TASK_COLUMN: Final = "task"
ROW_COLUMN_PREFIX: Final = "row: "
"""Before the names of a row's columns in a sheet, which may be any, `label` too."""
FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True)
class ReviewItem:
    """One input to be labelled; held for the reviewer until `claimed_until` where it is held."""

    prediction_id: str
    at: datetime
    view: InputView
    claimed_until: datetime | None


@dataclass(frozen=True)
class ReviewLabel:
    """The label a reviewer gives to a prediction, with the task it was picked for, where there is one.

    One that was `picked` without a task, such as a disagreement, does not count as drawn either. Labels of several
    reviewers say who gave each, and when; under a `key` that came before nothing is taken again.
    """

    prediction_id: str
    label: str
    task: str = ""
    picked: bool = False
    reviewer: str = ""
    at: datetime | None = None
    key: str = ""
    queue: str = ""

    @property
    def shown_in(self) -> str:
        """The queue that it was shown in; the draw where nothing else is said."""
        return self.queue or self.task or "draw"


def claim_items(context: AppContext, reviewer: str, limit: int) -> list[ReviewItem]:
    """The next drawn predictions without an audit label, held for this reviewer for a quarter of an hour."""
    _check_limit(limit)
    with context.database.write() as connection:
        claims = review_samples.claim_samples(
            connection, context.model_name, reviewer, limit, CLAIM_DURATION, context.clock()
        )
        return [load_item(connection, context, claim.prediction_id, claim.until) for claim in claims]


def load_item(
    connection: Connection, context: AppContext, prediction_id: str, claimed_until: datetime | None = None
) -> ReviewItem:
    """One input as a reviewer is shown it; raises NotFoundError."""
    row = prediction_records.find(connection, prediction_id)
    return ReviewItem(row.id, row.at, load_input_view(connection, context.contracts, row), claimed_until)


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_ITEMS:
        raise InvalidInputError(f"limit {limit} cannot be; ask for 1 to {MAX_ITEMS} answers at once")


def task_items(context: AppContext, task_id: str, limit: int = MAX_ITEMS) -> list[ReviewItem]:
    """What still waits in an open label audit or review, the most doubtful first; raises NotFoundError."""
    _check_limit(limit)
    with context.database.read() as connection:
        open_tasks = {
            task.id: task for task in tasks.open_tasks(connection, context.model_name) if task.kind in LABELLING_KINDS
        }
        if task_id not in open_tasks:
            listed = ", ".join(open_tasks) or "none is open"
            raise NotFoundError(f"label audit or review {task_id!r} is not open; open: {listed}")
        unlabelled = tasks.unlabelled_items(connection, open_tasks[task_id])[:limit]
        return [load_item(connection, context, prediction_id) for prediction_id in unlabelled]


def submit_labels(
    context: AppContext, review_labels: Sequence[ReviewLabel], reviewer: str, key_id: str = ""
) -> dict[str, int]:
    """Take labels, all or none; returns how many became audit labels, reviews, or were there already.

    Where several reviewers must agree, also how many wait for others.
    """
    counts = {"audit": 0, "review": 0, "repeated": 0}
    counts |= {"undecided": 0} if context.settings.review_consensus > 1 else {}
    for label, receipt in record_review_labels(context, review_labels, reviewer, key_id):
        outcome = "undecided" if receipt is None else receipt.outcome
        counts[outcome if outcome in ("repeated", "undecided") else label.source] += 1
    return counts


def record_review_labels(
    context: AppContext, review_labels: Sequence[ReviewLabel], reviewer: str = "", key_id: str = ""
) -> list[tuple[label_records.SubmittedLabel, LabelReceipt | None]]:
    """Take labels, all or none; returns each as it was taken, with what became of it.

    Where several reviewers must agree (PLATFORM_REVIEW_CONSENSUS), that is None until they do. A label's own reviewer,
    time and key count before those of all: `reviewer`, now and none.
    """
    now = context.clock()
    with context.database.read() as connection:
        rules = context.contracts.label_rules(connection, context.model_name)
    for review_label in review_labels:
        if refusal := rules.refusal(review_label.label, f"prediction {review_label.prediction_id}"):
            raise InvalidInputError(refusal)
    with context.database.read() as connection:
        _check_tasks(connection, review_labels)
        drawn = review_samples.inclusion_weights(
            connection, [review_label.prediction_id for review_label in review_labels]
        )
    labels = [
        label_records.SubmittedLabel(
            review_label.prediction_id,
            rules.canonical(review_label.label) or review_label.label,
            _label_source(review_label, drawn),
            review_label.reviewer or reviewer,
            review_label.at or now,
            review_label.key,
        )
        for review_label in review_labels
    ]
    if context.settings.review_consensus > 1:
        queues = [review_label.shown_in for review_label in review_labels]
        return record_votes(context, labels, queues, key_id)
    return list(zip(labels, record_labels(context, labels, key_id), strict=True))


def _label_source(label: ReviewLabel, drawn: dict[str, review_samples.InclusionWeight]) -> LabelSource:
    """A drawn prediction that was picked for a task gets a review: an audit label out of turn would be biased."""
    return "audit" if label.prediction_id in drawn and not label.task and not label.picked else "review"


def _check_tasks(connection: Connection, labels: Sequence[ReviewLabel]) -> None:
    """Raise InvalidInputError where a label names a task that does not list its prediction."""
    listed: dict[str, set[str]] = {}
    for review_label in labels:
        if not review_label.task:
            continue
        if review_label.task not in listed:
            listed[review_label.task] = {
                item["id"] for item in tasks.find(connection, review_label.task).details.get("predictions", [])
            }
        if review_label.prediction_id not in listed[review_label.task]:
            raise InvalidInputError(
                f"prediction {review_label.prediction_id} is not in task {review_label.task}; "
                "leave the sheet's columns as `platform audit next` wrote them, and fill in `label` only"
            )


def write_sheet(folder: Path, items: Sequence[ReviewItem], task: str = "") -> Path:
    """Write a sheet to fill in; returns it. One that exists is never replaced.

    A picture lies beside it as PNG; the values of a row stand in the sheet, in columns behind those to fill in.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / SHEET_NAME
    if sheet.exists():
        raise InvalidInputError(f"{sheet} exists; submit it first, or name another folder")
    for item in items:
        if item.view.png is not None:
            (folder / f"{item.prediction_id}.png").write_bytes(item.view.png)
    names = tuple(dict.fromkeys(cell.name for item in items for cell in item.view.cells))
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        own = (*COLUMNS, TASK_COLUMN) if task else COLUMNS
        writer.writerow((*own, *(f"{ROW_COLUMN_PREFIX}{name}" for name in names)))
        for item in items:
            cells = {cell.name: cell for cell in item.view.cells}
            values = (_sheet_text(cells[name]) if name in cells else "" for name in names)
            writer.writerow((item.prediction_id, "", *((task,) if task else ()), *values))
    return sheet


def _sheet_text(cell: RowCell) -> str:
    """A value for a spreadsheet, which would compute a client's text that begins like a formula."""
    if cell.is_missing:
        return ""
    if not cell.text.startswith(FORMULA_STARTS):
        return cell.text
    try:
        float(cell.text)
    except ValueError:
        return f"'{cell.text}"
    return cell.text


def read_sheet(sheet: Path) -> list[ReviewLabel]:
    """The filled rows of a sheet; raises InvalidInputError naming file and line."""
    try:
        with sheet.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(
            f"{sheet} cannot be read ({error}); give the CSV that `platform audit next` wrote"
        ) from error
    for line, row in enumerate(rows, start=2):
        if any(row.get(column) is None for column in COLUMNS):
            raise InvalidInputError(f"{sheet}:{line}: must have the columns {' and '.join(COLUMNS)}")
    return [
        ReviewLabel(row["prediction_id"].strip(), row["label"].strip(), (row.get(TASK_COLUMN) or "").strip())
        for row in rows
        if row["label"].strip()
    ]
