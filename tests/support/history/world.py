"""A history of answers and labels that follows from its size and seed alone; it knows no database.

Answers are spread evenly over DAYS days. About one in a hundred is wrong, as the model's confidence says; about two in
a hundred are labelled: half of them drawn by a sampling plan that is made anew each day, half by truths that arrive.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any, Final

import numpy as np

from mlplatform.feedback.label_precedence import LabelSource
from monitors.statistics.review_sampling import SamplingPlan, make_sampling_plan, poisson_draw, stratum_of
from pipelines.data import content_hash
from pipelines.image.grey_png import encode_png

MODEL: Final = "digits"
VERSION: Final = 1
CLASSES: Final = tuple("0123456789")
HOST_CLASS: Final = "benchmark"
SERVERS: Final = ("one", "two")
START: Final = datetime(2026, 6, 1, tzinfo=UTC)
DAYS: Final = 30
PICTURES: Final = 1_000
DRAWN: Final = 0.01
DELAYED: Final = 0.01
REVIEWED: Final = 0.9
"""The share of drawn answers that people have labelled."""
BATCH: Final = 20
"""Labels that arrive together."""
SALT: Final = "benchmark"


@dataclass(frozen=True)
class Answer:
    """One answer, and its truth where somebody gave it; `inclusion` is its chance where it was drawn."""

    row: dict[str, Any]
    instance: str
    inclusion: float | None
    truth: str
    source: LabelSource | None


@dataclass(frozen=True)
class Span:
    """The answers of one day, or of less, and the plan in force."""

    at: datetime
    plan: SamplingPlan
    answers: list[Answer]


def pictures() -> list[tuple[str, bytes]]:
    """Images of noise: content hash and PNG."""
    made = np.random.default_rng(0).integers(0, 256, (PICTURES, 28, 28), dtype=np.uint8)
    return [(content_hash(image), encode_png(image)) for image in made]


def spans(rows: int, hashes: list[str], seed: int = 0) -> Iterator[Span]:
    """The history, a day at a time."""
    for day in range(DAYS):
        first, last = rows * day // DAYS, rows * (day + 1) // DAYS
        at = START + timedelta(days=day)
        yield span(at, timedelta(days=1), last - first, first, hashes, plan_of(rows / DAYS, day), seed)


def plan_of(per_day: float, day: int) -> SamplingPlan:
    """The plan of a day: a hundredth of its answers, more of those in doubt, a little different each day."""
    traffic = np.random.default_rng([1, day]).uniform(0.8, 1.2, (len(CLASSES), 4))
    shares = (0.0005, 0.03, 0.09, 0.88)  # of answers by band of confidence
    answers, error = {}, {}
    for place, label in enumerate(CLASSES):
        for band, confidence in enumerate((0.5, 0.8, 0.95, 0.995)):
            stratum = stratum_of(label, confidence)
            answers[stratum] = float(per_day / len(CLASSES) * shares[band] * traffic[place, band])
            error[stratum] = 1 - confidence
    return make_sampling_plan(DRAWN * per_day, answers, error)


def span(
    at: datetime, length: timedelta, rows: int, first: int, hashes: list[str], plan: SamplingPlan, seed: int = 0
) -> Span:
    """So many answers from `at` on, the first of them number `first` of the history."""
    rng = np.random.default_rng([seed, first, rows])
    truth, pictured = rng.integers(0, 10, rows), rng.integers(0, len(hashes), rows)
    confidence = np.round(1 - 0.5 * rng.beta(0.1, 4.9, rows), 6)
    wrong = rng.random(rows) < 1 - confidence
    label = np.where(wrong, (truth + rng.integers(1, 10, rows)) % 10, truth)
    latency = np.round(2.0 * np.exp(0.3 * rng.standard_normal(rows)), 3)
    reviewed, delayed = rng.random(rows) < REVIEWED, rng.random(rows) < DELAYED
    columns = zip(label.tolist(), truth.tolist(), confidence.tolist(), latency.tolist(), pictured.tolist(), strict=True)
    answers = []
    for place, (named, true, sure, spent, picture) in enumerate(columns):
        moment = at + length * place / rows
        row = _row(first + place, moment, named, sure, spent, hashes[picture])
        inclusion = poisson_draw(plan, row["id"], SALT, row["label"], sure)
        source: LabelSource | None = (
            "audit" if inclusion is not None and reviewed[place] else "delayed" if delayed[place] else None
        )
        answers.append(Answer(row, SERVERS[place % 2], inclusion, CLASSES[true], source))
    return Span(at, plan, answers)


def _row(number: int, at: datetime, label: int, confidence: float, latency_ms: float, picture: str) -> dict[str, Any]:
    rest = round((1 - confidence) / 9, 6)
    probabilities = [rest] * 10
    probabilities[label] = confidence
    stamp = int(at.timestamp() * 1000)
    return {
        "id": f"{stamp >> 16:08x}-{stamp & 0xFFFF:04x}-7000-8000-{number:012x}",
        "at": at,
        "model_name": MODEL,
        "model_version": VERSION,
        "image_hash": picture,
        "label": CLASSES[label],
        "probabilities": probabilities,
        "confidence": confidence,
        "latency_ms": latency_ms,
        "request_id": f"request {number:012x}",
        "client_id": "benchmark",
        "tags": None,
    }


def delayed(answer: Answer) -> Answer:
    """The same answer, labelled by a truth that arrived."""
    return replace(answer, source="delayed")


def place_of(prediction_id: str) -> str:
    """Where a drawn answer stands in the order of review."""
    return sha256(f"{SALT} place {prediction_id}".encode()).hexdigest()


def batches(answers: list[Answer], together: int = BATCH) -> Iterator[tuple[datetime, list[Answer]]]:
    """The labelled answers as they come back, so many at a time, a minute after the last of them was given."""
    labelled = [answer for answer in answers if answer.source is not None]
    for first in range(0, len(labelled), together):
        batch = labelled[first : first + together]
        yield batch[-1].row["at"] + timedelta(minutes=1), batch
