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

from mlplatform.context import Parts
from mlplatform.errors import InvalidInputError, NotFoundError
from mlplatform.feedback import label_records
from mlplatform.feedback.label_ingestion import write_labels
from mlplatform.feedback.label_precedence import Source
from mlplatform.predictions import prediction_records, review_samples
from mlplatform.store import tasks
from mlplatform.store.tasks import LABELLING

CLAIM = timedelta(minutes=15)
MOST_AT_ONCE = 100
SHEET = "labels.csv"
COLUMNS = ("prediction_id", "label")
TASK = "task"


@dataclass(frozen=True)
class ToReview:
    """One picture to be labelled; held for the reviewer until a moment where it was drawn."""

    prediction_id: str
    at: datetime
    png: bytes
    until: datetime | None


@dataclass(frozen=True)
class Verdict:
    """What a reviewer says a picture shows; with the task it was picked for, where it was."""

    prediction_id: str
    label: str
    task: str = ""


def next_answers(parts: Parts, reviewer: str, limit: int) -> list[ToReview]:
    """The next drawn answers nobody has settled, held for this reviewer for a quarter of an hour."""
    _check_limit(limit)
    with parts.database.write() as connection:
        held = review_samples.claim(connection, parts.family.name, reviewer, limit, CLAIM, parts.clock())
        return [
            ToReview(each.prediction_id, each.at, prediction_records.image(connection, each.image_hash), each.until)
            for each in held
        ]


def _check_limit(limit: int) -> None:
    if not 1 <= limit <= MOST_AT_ONCE:
        raise InvalidInputError(f"limit {limit} cannot be; ask for 1 to {MOST_AT_ONCE} answers at once")


def picked_answers(parts: Parts, task_id: str, limit: int = MOST_AT_ONCE) -> list[ToReview]:
    """What waits in an open label audit or review, the most doubtful first; raises NotFoundError."""
    _check_limit(limit)
    with parts.database.read() as connection:
        open_ones = [each for each in tasks.open_tasks(connection, parts.family.name) if each.kind in LABELLING]
        task = next((each for each in open_ones if each.id == task_id), None)
        if task is None:
            known = ", ".join(each.id for each in open_ones) or "none is open"
            raise NotFoundError(f"label audit or review {task_id!r} is not open; open: {known}")
        rows = [prediction_records.find(connection, key) for key in tasks.waiting(connection, task)[:limit]]
        return [ToReview(row.id, row.at, prediction_records.image(connection, row.image_hash), None) for row in rows]


def submit(parts: Parts, verdicts: Sequence[Verdict], reviewer: str) -> dict[str, int]:
    """Take verdicts, all or none; returns how many became audit labels, reviews, or were known already."""
    classes, now = parts.family.classes, parts.clock()
    for verdict in verdicts:
        if verdict.label not in classes:
            raise InvalidInputError(
                f"label {verdict.label!r} for prediction {verdict.prediction_id} is not a class; "
                f"allowed: {', '.join(classes)}"
            )
    with parts.database.read() as connection:
        _check_tasks(connection, verdicts)
        drawn = review_samples.chances(connection, [verdict.prediction_id for verdict in verdicts])
    labels = [
        label_records.Label(each.prediction_id, each.label, _source(each, drawn), reviewer, now) for each in verdicts
    ]
    tally = {"audit": 0, "review": 0, "repeated": 0}
    for label, accepted in zip(labels, write_labels(parts, labels), strict=True):
        tally["repeated" if accepted.outcome == "repeated" else label.source] += 1
    return tally


def _source(verdict: Verdict, drawn: dict[str, review_samples.Chance]) -> Source:
    """A drawn answer that was picked waits for its turn: labelled out of turn it would bias the estimate."""
    return "audit" if verdict.prediction_id in drawn and not verdict.task else "review"


def _check_tasks(connection: Connection, verdicts: Sequence[Verdict]) -> None:
    listed: dict[str, set[str]] = {}
    for verdict in verdicts:
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


def export(folder: Path, answers: Sequence[ToReview], task: str = "") -> Path:
    """Write one PNG per answer and a sheet to fill in; returns the sheet. A sheet that is there is never replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    sheet = folder / SHEET
    if sheet.exists():
        raise InvalidInputError(f"{sheet} exists; submit it first, or name another folder")
    for each in answers:
        (folder / f"{each.prediction_id}.png").write_bytes(each.png)
    with sheet.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow((*COLUMNS, TASK) if task else COLUMNS)
        writer.writerows((each.prediction_id, "", task) if task else (each.prediction_id, "") for each in answers)
    return sheet


def read_sheet(sheet: Path) -> list[Verdict]:
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
        Verdict(row["prediction_id"].strip(), row["label"].strip(), (row.get(TASK) or "").strip())
        for row in rows
        if row["label"].strip()
    ]
