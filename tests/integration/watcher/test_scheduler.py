"""Watchers: one leads, each slot is evaluated once, a paused one writes nothing."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from mlplatform.audit import audit_entries, checkpoints
from mlplatform.context import AppContext
from mlplatform.errors import FencedError, SettingsError
from mlplatform.feedback import label_records, pending_labels
from mlplatform.feedback.label_ingestion import record_labels
from mlplatform.feedback.label_records import SubmittedLabel
from mlplatform.host.clock_steps import slot_at
from mlplatform.ids import uuid7
from mlplatform.predictions.prediction_records import existing_ids
from mlplatform.settings import Settings
from mlplatform.store import leases
from mlplatform.store.database import Database
from mlplatform.watcher.scheduler import Watcher, create_watcher
from tests.support import blocking_metrics
from tests.support.faulty_database import FlakyDatabase
from tests.support.monitoring_world import RULES, all_evaluations, answer, counting, promote, rule, tick, with_rules
from tests.support.platform_world import FakeCatalog, prediction, recorded
from tests.support.waiting import eventually

pytestmark = pytest.mark.both_databases

MINUTE = timedelta(minutes=1)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"lease_seconds": 15.0})


def another(context: AppContext, database: Database | None = None) -> AppContext:
    """The parts of another process on the same store, registry and clock."""
    return context.replace(database=database or context.database)


@pytest.fixture
def pair(context: AppContext) -> tuple[Watcher, Watcher]:
    """Two watchers of one platform."""
    promote(with_rules(context))
    return create_watcher(context, counting), create_watcher(another(context), counting)


@pytest.mark.parametrize(
    ("now", "slot"),
    [
        (datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC), datetime(2026, 1, 1, 12, 0, tzinfo=UTC)),
        (datetime(2026, 1, 1, 12, 4, 59, 999999, tzinfo=UTC), datetime(2026, 1, 1, 12, 0, tzinfo=UTC)),
        (datetime(2026, 1, 1, 12, 5, 0, tzinfo=UTC), datetime(2026, 1, 1, 12, 5, tzinfo=UTC)),
    ],
)
def test_a_slot_begins_at_a_multiple_of_the_interval(now: datetime, slot: datetime) -> None:
    assert slot_at(now, timedelta(minutes=5)) == slot


def test_watchers_started_at_different_moments_share_their_slots(
    context: AppContext, pair: tuple[Watcher, Watcher]
) -> None:
    slots = []
    for watcher, seconds in zip(pair, (3, 47), strict=True):
        tick(context, seconds=seconds)
        watcher.renew_leadership()
        watcher.evaluate(rule(context, "accuracy-drop"))
        slots.append(slot_at(context.clock(), MINUTE))
    assert watcher.lease is not None
    assert slots[0] == slots[1] == all_evaluations(context)[0].slot
    assert len(all_evaluations(context)) == 1


def test_one_of_two_leads_and_the_other_does_nothing(context: AppContext, pair: tuple[Watcher, Watcher]) -> None:
    leader, other = pair
    leader.renew_leadership()
    other.renew_leadership()
    assert leader.lease is not None
    assert other.lease is None
    for job in (other.dispatch_notices, other.supervise_retrainings, other.reconcile):
        job()
    other.evaluate(rule(context, "accuracy-drop"))
    assert all_evaluations(context) == []


def test_every_watcher_gives_a_sign_of_life_and_says_whether_it_leads(
    context: AppContext, pair: tuple[Watcher, Watcher]
) -> None:
    for watcher in pair:
        watcher.renew_leadership()
    with context.database.read() as connection:
        beats = {
            beat.instance: beat.details["leader"] for beat in leases.recent_heartbeats(connection, context.clock())
        }
    assert beats == {pair[0].instance: True, pair[1].instance: False}


def test_who_begins_to_lead_notes_the_rules_once_and_writes_anchors(
    context: AppContext, pair: tuple[Watcher, Watcher]
) -> None:
    first, second = pair
    for watcher in (first, second, first):
        watcher.renew_leadership()
        watcher.write_checkpoint()
    with context.database.read() as connection:
        assert [entry["action"] for entry in audit_entries.recent_entries(connection)] == ["load-rules", "first"]
    [anchor] = checkpoints.read_checkpoints(checkpoints.checkpoint_path(context), None)
    assert anchor.heads["log"][0] == 2


def test_a_leader_that_renews_stays_leader(context: AppContext, pair: tuple[Watcher, Watcher]) -> None:
    leader, other = pair
    for _ in range(10):
        leader.renew_leadership()
        tick(context, seconds=14)
        other.renew_leadership()
    assert leader.lease is not None
    assert leader.lease.fence == 1
    assert other.lease is None


def test_a_renewal_that_waited_for_its_own_watcher_lasts_a_whole_life(
    context: AppContext, pair: tuple[Watcher, Watcher]
) -> None:
    leader, other = pair
    leader.renew_leadership()
    held = leader.lease
    assert held is not None
    begun = threading.Event()

    def renew() -> None:
        begun.set()
        leader.renew_leadership()

    renewal = threading.Thread(target=renew)
    with context.database.write() as connection:
        leases.require_lease(connection, held)
        renewal.start()
        begun.wait(20)
        time.sleep(0.3)
        tick(context, seconds=20)
    renewal.join(20)
    other.renew_leadership()
    assert leader.lease == held
    assert other.lease is None


def test_leadership_passes_when_the_leader_stops_renewing_and_its_late_write_is_refused(
    context: AppContext,
    pair: tuple[Watcher, Watcher],
) -> None:
    paused, next_one = pair
    paused.renew_leadership()
    tick(context, seconds=16)
    next_one.renew_leadership()
    assert next_one.lease is not None
    assert next_one.lease.fence == 2
    assert paused.lease is not None  # it does not know yet
    with pytest.raises(FencedError):
        paused.evaluate(rule(context, "accuracy-drop"))
    with pytest.raises(FencedError):
        paused.supervise_retrainings()
    assert all_evaluations(context) == []
    paused.renew_leadership()
    assert paused.lease is None


def test_each_slot_is_evaluated_once_whoever_leads(context: AppContext, pair: tuple[Watcher, Watcher]) -> None:
    the_rule = rule(context, "accuracy-drop")
    for minute in range(6):
        tick(context, minutes=1)
        for watcher in pair if minute % 2 else pair[::-1]:
            watcher.renew_leadership()
            if watcher.lease is not None:
                watcher.evaluate(the_rule)
                watcher.evaluate(the_rule)
    evaluations = all_evaluations(context)
    assert len(evaluations) == len({evaluation.slot for evaluation in evaluations}) == 6
    assert {evaluation.evaluated_by for evaluation in evaluations} == {watcher.instance for watcher in pair}


def test_the_leader_sets_the_champion_alias_right(context: AppContext, pair: tuple[Watcher, Watcher]) -> None:
    leader = pair[0]
    leader.renew_leadership()
    context.catalog.set_alias("digits", "champion", 7)
    leader.reconcile()
    assert context.catalog.alias("digits", "champion") == 1


def test_rules_of_another_model_are_refused_at_once(context: AppContext) -> None:
    with_rules(context, RULES.replace("model: digits", "model: letters"))
    with pytest.raises(SettingsError, match=r"'letters' but PLATFORM_PIPELINE is 'digits'"):
        create_watcher(context, counting)


@contextmanager
def running(watcher: Watcher) -> Iterator[None]:
    """The watcher's process, as a thread; stopped in good order at the end."""
    thread = threading.Thread(target=watcher.run)
    thread.start()
    try:
        yield
        assert thread.is_alive()
    finally:
        watcher.stop()
        thread.join(30)
    assert not thread.is_alive()


def test_a_running_watcher_evaluates_all_rules_and_gives_its_lease_back(context: AppContext) -> None:
    promote(with_rules(context))
    answer(context, 18, 12)
    watcher = create_watcher(context, counting)
    with running(watcher):
        eventually(lambda: len(all_evaluations(context)) == 3)
    assert {evaluation.rule for evaluation in all_evaluations(context)} == {"accuracy-drop", "latency", "class-error"}
    successor = create_watcher(another(context), counting)
    successor.renew_leadership()
    assert successor.lease is not None


def test_what_nobody_said_is_written_at_once_for_rules_wait_for_it(context: AppContext) -> None:
    promote(with_rules(context))
    scheduler = create_watcher(context, counting)._scheduler()
    scheduler.start(paused=True)
    try:
        planned = {job.name: job.next_run_time for job in scheduler.get_jobs()}
    finally:
        scheduler.shutdown()
    assert planned["write_absent_labels"] <= datetime.now(UTC) < planned["apply_retention"]


def test_jobs_planned_while_the_clock_was_ahead_between_two_checks_run_now(context: AppContext) -> None:
    promote(with_rules(context))
    watcher = create_watcher(context, counting)
    scheduler = watcher._scheduler()
    scheduler.start(paused=True)
    try:
        jobs = scheduler.get_jobs()
        planned = [job.next_run_time for job in jobs]
        watcher.handle_clock_step(scheduler)
        assert [job.next_run_time for job in jobs] == planned, "plans of the right time stay"
        ahead = datetime.now(UTC) + timedelta(hours=2)
        for job in jobs:
            job.modify(next_run_time=ahead)
        watcher.handle_clock_step(scheduler)
        assert watcher.clock_steps.last_step is None, "the clock is right again, so it shows no step"
        assert all(job.next_run_time <= datetime.now(UTC) for job in jobs)
    finally:
        scheduler.shutdown()


def test_a_watcher_outlives_a_database_and_a_registry_that_were_away(
    context: AppContext, caplog: pytest.LogCaptureFixture
) -> None:
    flaky, catalog = FlakyDatabase(context.database), FakeCatalog()
    settings = context.settings.model_copy(update={"lease_seconds": 0.3})
    quick = context.replace(settings=settings, database=flaky, catalog=catalog)
    watcher = create_watcher(with_rules(quick))
    flaky.away = True
    with caplog.at_level(logging.ERROR), running(watcher):
        eventually(lambda: "renew_leadership: the database did not answer" in caplog.text)
        flaky.away = False
        eventually(lambda: watcher.lease is not None)
        caplog.clear()
        flaky.away = True
        eventually(lambda: "renew_leadership: the database did not answer" in caplog.text)
        flaky.away = False
        done = len(caplog.records)
        tick(context, seconds=1)
        eventually(lambda: watcher.lease is not None)
        assert len(caplog.records) - done <= 5


def test_a_function_of_somebodys_own_that_hangs_stops_no_other_rule_and_no_watcher(context: AppContext) -> None:
    own = (
        "  - {name: own, metric: 'python:tests.support.blocking_metrics:waits', "
        "above: 1, window: 1h, min_samples: 20}\n"
    )
    promote(with_rules(context, RULES + own))
    answer(context, 18, 12)
    blocking_metrics.ENTERED.clear()
    blocking_metrics.GO_ON.clear()
    try:
        with running(create_watcher(context, counting)):
            assert blocking_metrics.ENTERED.wait(20)
            eventually(lambda: len(all_evaluations(context)) == 3)
        assert "own" not in {evaluation.rule for evaluation in all_evaluations(context)}
    finally:
        blocking_metrics.GO_ON.set()
        for thread in threading.enumerate():
            if thread.name == "aside":
                thread.join(20)


def test_only_the_leader_matches_labels_that_waited_and_removes_what_is_old(context: AppContext) -> None:
    kept = context.replace(settings=context.settings.model_copy(update={"retain_answers_days": 30}))
    promote(with_rules(kept))
    leader, other = create_watcher(kept, counting), create_watcher(another(kept), counting)
    leader.renew_leadership()
    other.renew_leadership()
    now = context.clock()
    late = uuid7(lambda: now)
    record_labels(context, [SubmittedLabel(late, "4", "audit", "ann", now)], wait=True)
    recorded(context.database, prediction(now, prediction_id=late))
    [old] = recorded(context.database, prediction(now - timedelta(days=40), seed=1, version=9))
    other.match_pending_labels()
    other.apply_retention()
    with context.database.read() as connection:
        assert pending_labels.count_pending(connection) == 1
        assert existing_ids(connection, [old]) == {old}
    leader.match_pending_labels()
    leader.apply_retention()
    with context.database.read() as connection:
        assert pending_labels.count_pending(connection) == 0
        assert [each.label for each in label_records.current_labels(connection, late)] == ["4"]
        assert existing_ids(connection, [old]) == set()
