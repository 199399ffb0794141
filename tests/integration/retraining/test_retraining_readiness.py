"""A retraining that alerts asked for waits until its benefit could be seen; a person's waits for nothing."""

from datetime import timedelta

import pytest

from mlplatform.clock import EPOCH
from mlplatform.context import AppContext
from mlplatform.host.clock_steps import slot_at
from mlplatform.ids import uuid7
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.readiness import MIN_EXPECTED_GAINS, Readiness, assess_readiness
from mlplatform.retraining.retraining_limits import RetrainingLimits
from mlplatform.retraining.supervisor import can_start
from pipelines.data import HOLDOUT_SHARE
from tests.support.monitoring_world import RULES, all_alerts, answer, promote, rule, tick, with_rules

SEQUENTIAL = RULES.replace(
    "window: 1h, min_samples: 20, severity", "false_alarms: 1 per 90d, window: 1h, min_samples: 20, severity"
)
MINUTE = timedelta(minutes=1)


def look(context: AppContext) -> None:
    evaluate(context, rule(context, "accuracy-drop"), slot_at(context.clock(), MINUTE))
    tick(context, minutes=1)


@pytest.fixture
def broken(context: AppContext) -> AppContext:
    """A version that answers well for a day, then gets one in ten wrong until its alert fires."""
    promote(with_rules(context, SEQUENTIAL))
    for _ in range(20):
        answer(context, 20)
        look(context)
    tick(context, hours=3)
    while not all_alerts(context):
        answer(context, 18, 2)
        look(context)
    return context


def ripe(context: AppContext, min_feedback: int = 10) -> Readiness:
    with context.database.read() as connection:
        queued = retraining_queue.find_queued(connection, "digits")
        assert queued is not None
        return assess_readiness(connection, queued, min_feedback, context.clock())


@pytest.mark.both_databases
def test_an_alert_knows_since_when_answers_have_been_bad(broken: AppContext) -> None:
    [alert] = all_alerts(broken)
    assert alert.changed_at is not None
    assert alert.fired_at is not None
    assert timedelta(0) < alert.fired_at - alert.changed_at < timedelta(hours=1)


def test_the_change_is_found_among_labels_that_come_all_at_once(context: AppContext) -> None:
    promote(with_rules(context, SEQUENTIAL))
    for _ in range(30):
        answer(context, 20)
    changed = context.clock()
    for _ in range(12):
        answer(context, 14, 6)
    look(context)
    [alert] = all_alerts(context)
    assert alert.changed_at is not None
    assert abs(alert.changed_at - changed) <= timedelta(seconds=1)


def test_labels_of_the_world_before_do_not_make_it_ripe(broken: AppContext) -> None:
    found = ripe(broken)
    assert found.since is not None
    assert 0 < found.labels < 200
    assert found.required_labels == pytest.approx(MIN_EXPECTED_GAINS / HOLDOUT_SHARE / 0.09, rel=0.35)
    assert not found.is_ready


def test_it_waits_says_for_how_much_and_starts_when_there_is_enough(broken: AppContext) -> None:
    with broken.database.write() as connection:
        assert not can_start(connection, "digits", 10, broken.clock())
        queued = retraining_queue.find_queued(connection, "digits")
    assert queued is not None
    assert queued.progress is not None
    assert queued.progress["step"] == "waiting for labels"
    assert queued.progress["labels"] < queued.progress["needed"]
    for _ in range(20):
        answer(broken, 18, 2)
    with broken.database.write() as connection:
        assert can_start(connection, "digits", 10, broken.clock())


def test_labels_that_no_training_takes_yet_make_nothing_ripe(broken: AppContext) -> None:
    for _ in range(20):
        answer(broken, 18, 2)
    with broken.database.write() as connection:
        assert not can_start(connection, "digits", 10, broken.clock(), broken.clock() - timedelta(minutes=1))
        assert not can_start(connection, "digits", 10, broken.clock(), EPOCH)
        assert can_start(connection, "digits", 10, broken.clock())


def test_another_attempt_waits_for_half_as_many_labels_again(broken: AppContext) -> None:
    for _ in range(20):
        answer(broken, 18, 2)
    before = ripe(broken)
    assert before.is_ready
    owner = uuid7()
    with broken.database.write() as connection:
        row = retraining_queue.claim(connection, "digits", owner, RetrainingLimits(timedelta(0), 10), broken.clock())
        assert row is not None
        retraining_endings.finish(connection, row.id, owner, "succeeded", broken.clock())
        retraining_queue.request(
            connection, pipeline="digits", reason="again", trigger="alert", requested_by="watcher",
            now=broken.clock(), alert_id=all_alerts(broken)[0].id,
        )  # fmt: skip
    tick(broken, minutes=1)
    answer(broken, 9, 1)
    assert not ripe(broken).is_ready
    assert ripe(broken).required_labels >= int(1.5 * before.labels)
    while not ripe(broken).is_ready:
        answer(broken, 18, 2)
    assert ripe(broken).labels >= 1.5 * before.labels


def test_a_persons_request_waits_for_no_labels(broken: AppContext) -> None:
    with broken.database.write() as connection:
        retraining_queue.request(
            connection, pipeline="digits", reason="now", trigger="manual", requested_by="me", now=broken.clock()
        )
        assert can_start(connection, "digits", 10_000, broken.clock())


def test_without_a_moment_of_change_every_label_counts(context: AppContext) -> None:
    promote(with_rules(context))
    answer(context, 12, 8)
    look(context)
    assert ripe(context, 10) == Readiness(None, 20, 10)
    assert ripe(context, 21).is_ready is False


@pytest.mark.slow
def test_a_long_good_past_in_the_window_does_not_drown_an_alarm(context: AppContext) -> None:
    """The detector is sure after a few dozen labels, when the window as a whole still looks fine."""
    promote(
        with_rules(
            context, SEQUENTIAL.replace("window: 1h, min_samples: 20", "window: 7d, min_samples: 20, clear: 0.2 points")
        )
    )
    for _ in range(10):
        answer(context, 200)
        look(context)
    tick(context, hours=3)
    for _ in range(3):
        answer(context, 5, 5)
        look(context)
    [alert] = all_alerts(context)
    assert alert.state == "firing"
    assert alert.value is not None
    assert alert.value > 0.3
    assert alert.n <= 40
    for _ in range(8):
        answer(context, 50)
        look(context)
    assert all_alerts(context)[0].state == "firing", "most answers since the change are right by now, but not enough"
    for _ in range(40):
        answer(context, 250)
        look(context)
    assert all_alerts(context)[0].state == "resolved"
