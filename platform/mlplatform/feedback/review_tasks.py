"""The review of answers by people: what to look at next, their verdicts, how far it is; it draws nothing.

A reviewer sees the picture and never the model's answer or an earlier label, which would lead their eye. A verdict on
an answer that was drawn is an `audit` label and estimates. On one that was picked, for a task or by the reviewer, it
is a `review`: it outranks every other label and trains with full trust, and does not estimate, because picking is no
draw.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from mlplatform.context import AppContext
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.predictions import prediction_records, review_samples
from mlplatform.store import tasks
from mlplatform.store.tasks import LABELLING_KINDS

CLAIM_DURATION = timedelta(minutes=15)
MAX_ITEMS = 100
SHEET_NAME = "labels.csv"
COLUMNS = ("prediction_id", "label")
TASK_COLUMN = "task"


@dataclass(frozen=True)
class ReviewItem:
    """One picture to be labelled; held for the reviewer until a moment where it was drawn."""

    prediction_id: str
    at: datetime
    png: bytes
    claimed_until: datetime | None


@dataclass(frozen=True)
class ReviewLabel:
    """What a reviewer says a picture shows; with the task it was picked for, where it was."""

    prediction_id: str
    label: str
    task: str = ""


def claim_items(context: AppContext, reviewer: str, limit: int) -> list[ReviewItem]:
    """The next drawn answers nobody has settled, held for this reviewer for a quarter of an hour."""
    _check_limit(limit)
    with context.database.write() as connection:
        held = review_samples.claim_samples(
            connection, context.pipeline.name, reviewer, limit, CLAIM_DURATION, context.clock()
        )
        return [
            ReviewItem(
                each.prediction_id, each.at, prediction_records.load_image(connection, each.image_hash), each.until
            )
            for each in held
        ]


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MAX_ITEMS:
        raise InvalidInputError(f"limit {limit} cannot be; ask for 1 to {MAX_ITEMS} answers at once")


def task_items(context: AppContext, task_id: str, limit: int = MAX_ITEMS) -> list[ReviewItem]:
    """What waits in an open label audit or review, the most doubtful first; raises NotFoundError."""
    _check_limit(limit)
    with context.database.read() as connection:
        open_ones = [
            each for each in tasks.open_tasks(connection, context.pipeline.name) if each.kind in LABELLING_KINDS
        ]
        task = next((each for each in open_ones if each.id == task_id), None)
        if task is None:
            known = ", ".join(each.id for each in open_ones) or "none is open"
            raise NotFoundError(f"label audit or review {task_id!r} is not open; open: {known}")
        rows = [prediction_records.find(connection, key) for key in tasks.unlabelled_items(connection, task)[:limit]]
        return [
            ReviewItem(row.id, row.at, prediction_records.load_image(connection, row.image_hash), None) for row in rows
        ]


def submit_labels(context: AppContext, review_labels: Sequence[ReviewLabel], reviewer: str) -> dict[str, int]:
    """Take verdicts, all or none; returns how many became audit labels, reviews, or were known already."""
    classes, now = context.pipeline.classes, context.clock()
    for verdict in review_labels:
        if verdict.label not in classes:
            raise InvalidInputError(
                f"label {verdict.label!r} for prediction {verdict.prediction_id} is not a class; "
                f"allowed: {', '.join(classes)}"
            )
    with context.database.read() as connection:
        _check_tasks(connection, review_labels)
        drawn = review_samples.inclusion_weights(connection, [verdict.prediction_id for verdict in review_labels])
    labels = [
        label_records.SubmittedLabel(each.prediction_id, each.label, _label_source(each, drawn), reviewer, now)
        for each in review_labels
    ]
    tally = {"audit": 0, "review": 0, "repeated": 0}
    for label, accepted in zip(labels, record_labels(context, labels), strict=True):
        tally["repeated" if accepted.outcome == "repeated" else label.source] += 1
    return tally


def _label_source(label: ReviewLabel, drawn: dict[str, review_samples.InclusionWeight]) -> LabelSource:
    """A drawn answer that was picked waits for its turn: labelled out of turn it would bias the estimate."""
    return "audit" if label.prediction_id in drawn and not label.task else "review"


def _check_tasks(connection: Connection, labels: Sequence[ReviewLabel]) -> None:
    listed: dict[str, set[str]] = {}
    for verdict in labels:
        if not verdict.task:
            continue
        if verdict.task not in listed:
            listed[verdict.task] = {
                item["id"] for item in tasks.find(connection, verdict.task).details.get("predictions", [])
            }
        if verdict.prediction_id not in listed[verdict.task]:
            raise InvalidInputError(
                f"prediction {verdict.prediction_id} is not in task {verdict.task}; "
                "leave the sheet's columns as `platform audit next` wrote them, and fill in `label` only"
            )


def write_sheet(folder: Path, items: Sequence[ReviewItem], task: str = "") -> Path:
    """Write one PNG per answer and a sheet to fill in; returns the sheet. A sheet that is there is never replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / SHEET_NAME
    if sheet.exists():
        raise InvalidInputError(f"{sheet} exists; submit it first, or name another folder")
    for each in items:
        (folder / f"{each.prediction_id}.png").write_bytes(each.png)
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, TASK_COLUMN) if task else COLUMNS)
        writer.writerows((each.prediction_id, "", task) if task else (each.prediction_id, "") for each in items)
    return sheet


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
