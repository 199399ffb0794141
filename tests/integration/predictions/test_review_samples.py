"""Answers drawn for review: in the recording transaction, claimed by one reviewer, settled by an audit label."""

from datetime import timedelta

import pytest

from mlplatform.feedback import label_records, outcomes
from mlplatform.feedback.label_precedence import LabelSource
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.predictions import prediction_records, review_samples, sampling_plans
from mlplatform.store.database import Database
from monitors.windows.window_counts import Outcome
from tests.support.platform_world import START, prediction, recorded
from tests.support.store_rows import is_new_for, together, writing

pytestmark = pytest.mark.both_databases

MINUTE = timedelta(minutes=1)
LIFE = timedelta(minutes=10)


def in_force(database: Database, chance: float, version: int = 1, minutes: int = 0) -> None:
    from monitors.statistics.review_sampling import SamplingPlan

    plan = SamplingPlan(uniform=chance).to_json()
    with database.write() as connection:
        sampling_plans.publish(connection, "digits", version, plan, START + minutes * MINUTE)


def drawn(database: Database, version: int = 1) -> review_samples.ReviewProgress:
    with database.read() as connection:
        return review_samples.review_progress(connection, "digits", version, (START - LIFE, START + timedelta(days=1)))


def claimed(database: Database, reviewer: str, limit: int = 10, minutes: int = 0) -> list[str]:
    with database.write() as connection:
        found = review_samples.claim_samples(connection, "digits", reviewer, limit, LIFE, START + minutes * MINUTE)
    return [each.prediction_id for each in found]


def label(database: Database, key: str, truth: str = "3", source: LabelSource = "audit") -> Outcome:
    with database.write() as connection:
        label_records.insert_labels(connection, [SubmittedLabel(key, truth, source, "ada", START)], START)
    with database.read() as connection:
        return next(
            row for row in outcomes.outcomes_after(connection, "digits", 1, 0, 1000) if row.prediction_id == key
        )


def test_without_a_plan_nothing_is_drawn_and_an_audit_label_stands_for_itself(database: Database) -> None:
    [key] = recorded(database, prediction())
    assert drawn(database).drawn == 0
    row = label(database, key)
    assert (row.weight, row.share) == (1.0, 1.0)


def test_answers_are_drawn_at_about_the_planned_share_and_weigh_its_inverse(database: Database) -> None:
    in_force(database, 0.25)
    ids = recorded(database, *(prediction(START + MINUTE, seed=seed % 5) for seed in range(400)))
    with database.read() as connection:
        chances = review_samples.inclusion_weights(connection, ids)
    assert 70 <= len(chances) <= 130
    assert {each.weight for each in chances.values()} == {4.0}
    row = label(database, next(iter(chances)))
    assert (row.weight, row.share, is_new_for(row, {"audit"}, 0)) == (4.0, 1.0, True)


def test_an_audit_label_on_an_answer_that_was_passed_over_estimates_nothing(database: Database) -> None:
    in_force(database, 0.001)
    ids = recorded(database, *(prediction(START + MINUTE, seed=seed) for seed in range(5)))
    with database.read() as connection:
        passed_over = next(key for key in ids if key not in review_samples.inclusion_weights(connection, ids))
    assert label(database, passed_over).weight == 0
    assert not is_new_for(label(database, passed_over), {"audit"}, 0)
    other = next(key for key in ids if key != passed_over)
    assert label(database, other, source="delayed").weight == 1.0


def test_answers_from_before_the_first_plan_stand_for_themselves(database: Database) -> None:
    [key] = recorded(database, prediction(START))
    in_force(database, 0.001, minutes=5)
    assert label(database, key).weight == 1.0


def test_a_prediction_recorded_twice_is_drawn_once(database: Database) -> None:
    in_force(database, 1.0)
    rows = [prediction(START + MINUTE, seed=seed) for seed in range(3)]
    for _ in range(2):
        with database.write() as connection:
            prediction_records.insert_predictions(connection, rows)
    assert drawn(database).drawn == 3


def test_a_version_is_drawn_by_its_own_plan_and_the_newest_is_in_force(database: Database) -> None:
    in_force(database, 1.0)
    in_force(database, 0.5, minutes=1)
    recorded(database, prediction(START + MINUTE, version=2))
    assert drawn(database, version=2).drawn == 0
    with database.read() as connection:
        newest = sampling_plans.current_plan(connection, "digits", 1)
        assert newest is not None
        assert newest.plan["uniform"] == 0.5
        assert sampling_plans.first_published_at(connection, "digits", 1) == START


def test_two_reviewers_never_hold_the_same_answer_until_a_claim_runs_out(database: Database) -> None:
    in_force(database, 1.0)
    ids = recorded(database, *(prediction(START + MINUTE, seed=seed) for seed in range(6)))
    ada, bob = claimed(database, "ada", 4), claimed(database, "bob", 4)
    assert (len(ada), len(bob)) == (4, 2)
    assert {*ada, *bob} == set(ids)
    assert claimed(database, "ada", 4, minutes=1) == ada, "one's own claims come first"
    assert set(claimed(database, "bob", 10, minutes=30)) == set(ids)


def test_reviewers_at_once_share_the_answers_without_overlap(database: Database) -> None:
    in_force(database, 1.0)
    recorded(database, *(prediction(START + MINUTE, seed=seed) for seed in range(8)))
    jobs = [
        writing(database, lambda c, name=name: review_samples.claim_samples(c, "digits", name, 2, LIFE, START))  # type: ignore[misc]
        for name in ("ada", "bob", "eve", "dan")
    ]
    held = [each.prediction_id for found in together(*jobs) for each in found]  # type: ignore[union-attr]
    assert len(held) == len(set(held)) == 8


def test_an_audit_label_settles_its_answer_and_a_correction_does_not(database: Database) -> None:
    in_force(database, 1.0)
    first, second = recorded(database, *(prediction(START + MINUTE, seed=seed) for seed in range(2)))
    label(database, first, source="correction")
    assert drawn(database) == review_samples.ReviewProgress(2, 0, START + MINUTE)
    label(database, first)
    label(database, second)
    assert drawn(database) == review_samples.ReviewProgress(2, 2, None)
    assert claimed(database, "ada") == []


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_review_is_not_the_order_of_arrival(database: Database, seed: int) -> None:
    in_force(database, 1.0)
    ids = recorded(database, *(prediction(START + n * MINUTE, seed=seed + n) for n in range(12)))
    assert claimed(database, "ada", 12) != ids


def test_a_drawn_answer_waits_until_its_label_comes_from_a_source_that_counts(database: Database) -> None:
    in_force(database, 1.0)
    ids = recorded(database, *(prediction(START + n * MINUTE, seed=n, prediction_id=f"p{n}") for n in range(4)))
    for key, source, minutes in ((ids[0], "audit", 30), (ids[1], "delayed", 41), (ids[2], "correction", 5)):
        with database.write() as connection:
            at = START + minutes * MINUTE
            label_records.insert_labels(connection, [SubmittedLabel(key, "3", source, "ada", at)], at)  # type: ignore[arg-type]
    now = START + 60 * MINUTE
    with database.read() as connection:
        window = (START, START + 4 * MINUTE)
        found = review_samples.label_lags(connection, "digits", 1, window, ["audit", "delayed"], now)
        assert [(lag.seconds / 60, lag.is_waiting) for lag in found] == [
            (57, True),
            (58, True),
            (40, False),
            (30, False),
        ]
        assert review_samples.label_lags(connection, "digits", 1, window, ["audit"], now)[2].is_waiting
        assert len(review_samples.label_lags(connection, "digits", 1, (START, START + MINUTE), ["audit"], now)) == 1
        assert review_samples.label_lags(connection, "digits", 2, window, ["audit"], now) == []


def test_an_answer_that_was_not_drawn_waits_for_nothing(database: Database) -> None:
    recorded(database, prediction())
    with database.read() as connection:
        assert (
            review_samples.label_lags(connection, "digits", 1, (START, START + MINUTE), ["audit"], START + LIFE) == []
        )
