"""How many errors labels show since a moment, when some answers are drawn for review more often than others."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import insert

from mlplatform.feedback.outcomes import ErrorEstimate, estimate_errors_since
from mlplatform.store.database import Database
from mlplatform.store.tables.feedback import outcomes
from tests.support.platform_world import START, prediction, recorded

pytestmark = pytest.mark.both_databases


class Labels:
    """Writes outcomes, whose numbers go on."""

    def __init__(self, database: Database) -> None:
        self.database, self.last = database, 0

    def add(self, n: int, wrong: int, weight: float, source: str = "audit", seen: str = "audit") -> None:
        rows = [prediction(START + place * timedelta(milliseconds=1), seed=0) for place in range(n)]
        recorded(self.database, *rows)
        found: list[dict[str, Any]] = []
        for place, row in enumerate(rows):
            self.last += 1
            numbered = " ".join(f"{name}:{self.last}" for name in seen.split())
            truth = "4" if place < wrong else row.prediction.label
            found.append(
                {
                    "prediction_id": row.prediction.id, "seq": self.last, "model_name": "digits", "model_version": 1,
                    "at": row.prediction.at, "known_at": START + self.last * timedelta(seconds=1),
                    "label": row.prediction.label, "truth": truth, "source": source, "seen": numbered,
                    "confidence": 0.9, "weight": weight, "share": 1.0,
                }
            )  # fmt: skip
        with self.database.write() as connection:
            connection.execute(insert(outcomes), found)

    def estimate(self, known_by: int | None = None) -> ErrorEstimate:
        moment = None if known_by is None else START + known_by * timedelta(seconds=1)
        with self.database.read() as connection:
            return estimate_errors_since(connection, "digits", 1, START, moment)


@pytest.fixture
def labels(database: Database) -> Labels:
    return Labels(database)


def test_answers_that_are_drawn_more_often_do_not_count_more(labels: Labels) -> None:
    """A thousand doubtful answers, of which 100 are wrong, and 9,000 sure ones: 1 % is wrong, and 8 % of the labels."""
    labels.add(100, 10, weight=10)
    labels.add(20, 0, weight=450)
    found = labels.estimate()
    assert found.labels == 120
    assert found.error_share == pytest.approx(0.01)


def test_answers_that_were_passed_over_say_nothing_but_the_truth_that_arrives_by_itself(labels: Labels) -> None:
    labels.add(40, 40, weight=0)
    assert labels.estimate() == ErrorEstimate(0, 0.0)
    labels.add(10, 5, weight=0, seen="audit delayed")
    assert labels.estimate() == ErrorEstimate(10, 0.5)


def test_truth_that_arrives_for_reviewed_answers_as_well_counts_in_both_estimates(labels: Labels) -> None:
    """All of 60 answers have their truth, 6 wrong; the 20 doubtful ones are reviewed as well and hold 5 of these."""
    labels.add(40, 1, weight=1, source="delayed", seen="delayed")
    labels.add(20, 5, weight=1, source="audit", seen="delayed audit")
    found = labels.estimate()
    assert found.labels == 60
    assert found.error_share == pytest.approx((6 + 5) / 80)


def test_only_what_was_known_by_a_moment_counts(labels: Labels) -> None:
    labels.add(10, 10, weight=1)
    labels.add(10, 0, weight=1)
    assert labels.estimate(known_by=10) == ErrorEstimate(10, 1.0)
    assert labels.estimate() == ErrorEstimate(20, 0.5)
