"""Probation: a worse version goes back once, a changed world blames nobody, and no kill leaves anything half-done."""

from dataclasses import replace
from datetime import timedelta

import pytest
import torch

from mlplatform.alerting import evaluations, outbox
from mlplatform.alerting.outbox import OutboxMessage
from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, FencedError
from mlplatform.feedback.absent_labels import write_absent_labels
from mlplatform.monitoring.evaluate import evaluate
from mlplatform.operations import queries
from mlplatform.operations.operator_actions import quarantine_version
from mlplatform.predictions import sampling_plans
from mlplatform.promotion import probations, quarantines
from mlplatform.promotion.previous_version import MAX_ASKED_PER_TICK, load_predictor
from mlplatform.promotion.probation_monitor import (
    LOAD_GRACE_PERIOD,
    probation_monitor,
)
from mlplatform.promotion.promotion_history import Promotion
from mlplatform.promotion.promotion_service import PromotionRequest, PromotionService, promotion_service
from mlplatform.retraining.worker import training_worker
from mlplatform.serialization import to_jsonable
from mlplatform.watcher.scheduler import create_watcher
from mlplatform.web.overview import overview_page
from monitors.statistics.review_sampling import SamplingPlan
from registry.catalog import CHAMPION, QUARANTINE_TAG
from registry.errors import CorruptModelError, RegistryUnavailableError
from registry.model_contract import image_classifier
from tests.support.fake_registry import FakeTracking, MemoryCatalog, bars_family, bars_split, make_plain_candidate
from tests.support.monitoring_world import all_alerts, counting, lease_of, notices, promote, rule, tick, with_rules
from tests.support.platform_world import FakeCatalog, prediction, recorded
from tests.support.probation_world import (
    WITH_PROBATION,
    WRITTEN,
    Dying,
    Killed,
    Reads,
    Watched,
    forever,
    give,
    history,
    label,
    the_probation,
    two_versions,
    warden,
)
from tests.support.version_folder import DIGITS

ROLLED_BACK = [("first", 1), ("promote", 2), ("rollback", 1)]
KEPT = ROLLED_BACK[:2]


@pytest.fixture
def world(context: AppContext) -> AppContext:
    return two_versions(context)


def another(context: AppContext) -> AppContext:
    """The parts of another process on the same store, registry and clock."""
    return context.replace()


def of_rollbacks(context: AppContext) -> list[OutboxMessage]:
    """The notices but for those of promotions."""
    return [each for each in notices(context) if each.payload["kind"] != "promoted"]


def barred(context: AppContext) -> dict[int, str]:
    with context.database.read() as connection:
        return {
            version: entry.reason for version, entry in quarantines.quarantined_versions(connection, "digits").items()
        }


def test_a_version_that_misreads_what_the_one_before_read_rightly_goes_back_with_notice(world: AppContext) -> None:
    officer, lease = warden(world, before="3"), forever(world)
    label(world, 30, "5")
    found = officer.tick(lease)
    assert found is not None
    assert found.state == "rolled-back"
    assert history(world) == ROLLED_BACK
    assert world.catalog.alias("digits", CHAMPION) == 1
    reason = (
        "Of 30 answers put to both versions 30 differ, 30 of them labelled: 30 that version 2 read wrong are read "
        "right by version 1, and 0 the other way round."
    )
    assert barred(world) == {2: reason}
    assert world.catalog.version("digits", 2).tags[QUARANTINE_TAG] == reason
    with world.database.read() as connection:
        entry = next(each for each in audit_entries.recent_entries(connection) if each["action"] == "rollback")
    assert (entry["actor"], entry["details"]["reason"]) == ("watcher/probation", reason)
    told = of_rollbacks(world)
    assert [each.channel for each in told] == ["team-slack", "mail", "events"]
    seq = the_probation(world).promotion_seq
    assert [each.idempotency_key for each in told] == [f"rolled-back-digits-{seq}-{each.channel}" for each in told]
    assert told[2].payload["body"]["type"] == "model.rolled-back"
    assert told[2].payload["body"]["data"]["reason"] == reason
    assert {each.model_name for each in told} == {"digits"}


def test_nothing_happens_twice_however_often_it_is_looked_at(world: AppContext) -> None:
    officer, lease = warden(world), forever(world)
    label(world, 30, "5")
    for _ in range(3):
        officer.tick(lease)
        warden(world).tick(lease)
    assert history(world) == ROLLED_BACK
    assert len(of_rollbacks(world)) == 3


def test_a_changed_world_that_both_versions_misread_sends_nobody_back(world: AppContext) -> None:
    officer, lease = warden(world, before="8"), forever(world)
    label(world, 200, "5")
    found = officer.tick(lease)
    assert found is not None
    assert (found.state, found.duel["labelled"], found.duel["lost"]) == ("running", 200, 0)
    assert history(world) == KEPT


def test_a_version_that_reads_more_passes_when_its_time_is_over(world: AppContext) -> None:
    officer, lease = warden(world, before="5"), forever(world)
    label(world, 60, "3")
    assert officer.tick(lease) is not None
    tick(world, days=3)
    found = officer.tick(lease)
    assert found is not None
    assert (found.state, found.ended_at) == ("passed", world.clock())
    assert found.reason.startswith("Of 60 answers put to both versions 60 differ, 60 of them labelled: 0 that")
    label(world, 60, "5")
    assert warden(world, before="3").tick(lease) is None
    assert (history(world), of_rollbacks(world)) == (KEPT, [])


@pytest.mark.both_databases
def test_each_label_is_read_once_by_however_many_watchers_and_restarts(world: AppContext) -> None:
    lease = forever(world)
    first, second = Reads("8"), Reads("8")
    label(world, 10, "5")
    probation_monitor(world, lambda _: first).tick(lease)
    label(world, 7, "5")
    probation_monitor(world, lambda _: second).tick(lease)
    assert (first.shown, second.shown) == (10, 7)
    assert the_probation(world).duel["labelled"] == 17


def test_corrections_and_answers_of_before_the_promotion_do_not_count(context: AppContext) -> None:
    promote(with_rules(context, WITH_PROBATION), 1)
    tick(context, minutes=1)
    early = label(context, 20, "5", version=2)
    promote(context, 2)
    label(context, 40, "5", source="correction")
    give(context, early, source="delayed")
    found = warden(context).tick(forever(context))
    assert found is not None
    assert (found.state, found.duel["labelled"]) == ("running", 0)


def test_a_version_promoted_again_begins_after_the_labels_of_its_former_time(world: AppContext) -> None:
    label(world, MAX_ASKED_PER_TICK, "5")
    promote(world, 3)
    promotion_service(world).promote(PromotionRequest("digits", 2, 3, "promote", "ada", "again"))
    label(world, 30, "5")
    found = warden(world).tick(forever(world))
    assert found is not None
    assert (found.state, found.before, found.duel["labelled"], history(world)[-1]) == (
        "rolled-back",
        3,
        30,
        ("rollback", 3),
    )


def test_delayed_labels_count_once_their_answers_are_mature(world: AppContext) -> None:
    lease = forever(world)
    now = world.clock()
    ids = recorded(world.database, *(prediction(now, seed=10_000 + n, label="5", version=2) for n in range(20)))
    assert warden(world).tick(lease) is not None
    tick(world, days=2)
    give(world, ids, source="delayed")
    assert warden(world).tick(lease) is not None
    assert history(world) == KEPT
    tick(world, days=3)
    assert warden(world).tick(lease) is not None
    assert (the_probation(world).state, history(world)) == ("running", KEPT), "its end waits for mature labels"
    tick(world, days=3)
    assert warden(world).tick(lease) is not None
    assert history(world) == ROLLED_BACK


def test_an_answer_without_a_delayed_label_counts_for_the_new_version(world: AppContext) -> None:
    lease, now = forever(world), world.clock()
    ids = recorded(world.database, *(prediction(now, seed=20_000 + n, label="5", version=2) for n in range(60)))
    assert warden(world).tick(lease) is not None
    give(world, ids[:30], source="delayed")
    tick(world, days=11)
    found = warden(world).tick(lease)
    assert found is not None
    assert (found.state, found.duel["unlabelled"], history(world)) == ("passed", 30, KEPT)


def test_a_label_of_silence_that_was_written_late_counts_as_in_time(context: AppContext) -> None:
    silence = 'absent: {label: "3", after: 1h}\nchannels:'
    world = two_versions(context, WITH_PROBATION.replace("channels:", silence))
    lease, now = forever(world), world.clock()
    recorded(world.database, *(prediction(now, seed=30_000 + n, label="5", version=2) for n in range(30)))
    assert warden(world).tick(lease) is not None
    tick(world, days=2)
    assert write_absent_labels(world, world.rules.absent) == 30
    found = warden(world).tick(lease)
    assert found is not None
    assert (found.state, found.duel["unlabelled"], history(world)) == ("rolled-back", 0, ROLLED_BACK)


def test_a_picture_sent_again_is_no_new_evidence(world: AppContext) -> None:
    lease = forever(world)
    for _ in range(3):
        now = world.clock()
        give(world, recorded(world.database, *(prediction(now, seed=77, label="5", version=2) for _ in range(20))))
        warden(world).tick(lease)
    assert (the_probation(world).duel["labelled"], history(world)) == (1, KEPT)


def test_of_two_events_with_equal_inputs_each_is_evidence(context: AppContext) -> None:
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.contracts |= {("digits", version): replace(DIGITS, truth="event") for version in (1, 2)}
    world = two_versions(context)
    lease, now = forever(world), world.clock()
    ids = recorded(world.database, *(prediction(now, seed=77, label="5", version=2) for _ in range(30)))
    give(world, ids)
    warden(world).tick(lease)
    assert (the_probation(world).duel["labelled"], history(world)) == (30, ROLLED_BACK)


def test_a_version_before_that_reads_other_inputs_is_not_asked_and_that_is_said(context: AppContext) -> None:
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.contracts["digits", 1] = image_classifier(DIGITS.classes, 32, 32)
    world = two_versions(context)
    label(world, 30, "5")
    found = warden(world).tick(forever(world))
    assert found is not None
    assert found.reason.startswith("version 1 cannot be asked: version 1 reads other inputs: ")
    assert (found.duel["compared"], history(world)) == (0, KEPT)


@pytest.mark.both_databases
def test_labels_weigh_by_the_chance_their_answers_had_to_be_drawn(world: AppContext) -> None:
    """Answers "5" are all drawn and others at 1 in 20: among so many others they prove nothing."""
    with world.database.write() as connection:
        sampling_plans.publish(connection, "digits", 2, SamplingPlan(0.05, {"5 2": 1.0}).to_json(), world.clock())
    now = world.clock()
    recorded(world.database, *(prediction(now, seed=30_000 + n, label="7", version=2) for n in range(120)))
    label(world, 30, "5")
    found = warden(world, before="3").tick(forever(world))
    assert found is not None
    assert (found.state, found.duel["labelled"], found.duel["lost"]) == ("running", 30, 30)
    assert found.duel["differing"] == 150


def test_more_labels_than_one_look_reads_are_all_read_before_it_passes(world: AppContext) -> None:
    officer, lease = warden(world, before="8"), forever(world)
    officer.tick(lease)
    label(world, MAX_ASKED_PER_TICK + 5, "5")
    assert officer.tick(lease) is not None
    assert the_probation(world).duel["labelled"] == MAX_ASKED_PER_TICK
    assert officer.tick(lease) is not None
    assert the_probation(world).duel["labelled"] == MAX_ASKED_PER_TICK + 5
    tick(world, days=3)
    found = officer.tick(lease)
    assert found is not None
    assert found.state == "passed"


def test_a_promotion_by_hand_ends_it_and_begins_that_of_the_next(world: AppContext) -> None:
    officer, lease = warden(world), forever(world)
    assert officer.tick(lease) is not None
    promote(world, 3)
    label(world, 30, "5", version=2)
    found = officer.tick(lease)
    assert found is not None
    assert (found.version, found.before, found.state) == (3, 2, "running")
    with world.database.read() as connection:
        [_, ended] = probations.list_probations(connection, "digits")
    assert (ended.state, ended.reason) == ("ended", "test made version 3 champion (promote)")
    assert history(world) == [*KEPT, ("promote", 3)]


class Overtaken(PromotionService):
    """Champions before whose next change a person rolls back by hand, and forces the same version again."""

    def promote(self, change: PromotionRequest) -> Promotion:
        by_hand = PromotionService(self.database, self.catalog, self.clock, "cli")
        by_hand.rollback("digits", "ada", "I do not trust it")
        by_hand.promote(PromotionRequest("digits", 2, 1, "promote", "ada", "now I do", force=True))
        return super().promote(change)


@pytest.mark.both_databases
def test_a_promotion_between_decision_and_rollback_is_never_undone(world: AppContext) -> None:
    """Even where it made the very same version champion again."""
    lease = forever(world)
    label(world, 30, "5")
    overtaken = Overtaken(world.database, world.catalog, world.clock, "watcher")
    with pytest.raises(ConflictError, match="nothing is undone"):
        replace(warden(world), promotions=overtaken).tick(lease)
    assert history(world) == [*ROLLED_BACK, ("promote", 2)]
    found = warden(world, before="8").tick(lease)
    assert found is not None
    assert (found.state, found.duel["labelled"]) == ("running", 0), "a probation of its own, with labels of its own"
    assert (history(world), of_rollbacks(world)) == ([*ROLLED_BACK, ("promote", 2)], [])


@pytest.mark.both_databases
@pytest.mark.parametrize("committing", [False, True], ids=["between uses", "before a commit"])
def test_a_watcher_killed_anywhere_sends_a_version_back_once(context: AppContext, committing: bool) -> None:
    """At every use of database and registry in turn, each on a version of its own; then another watcher leads."""
    promote(with_rules(context, WITH_PROBATION), 1)
    assert isinstance(context.catalog, FakeCatalog)
    for use in range(1, 60):
        version = use + 1
        promote(context, version)
        label(context, 20, "5", version=version)
        database = Dying(context.database, use, committing=committing)
        killed = context.replace(database=database, catalog=Watched(context.catalog, database))
        died = False
        try:
            warden(killed).tick(lease_of(context))
        except Killed:
            died = True
        tick(context, minutes=2)
        warden(context).tick(lease_of(context, "the next watcher"))
        promotion_service(context).reconcile("digits")
        assert history(context)[-2:] == [("promote", version), ("rollback", 1)]
        assert [kind for kind, _ in history(context)].count("rollback") == use
        with context.database.read() as connection:
            sent = [each.payload["kind"] for each in outbox.recent_messages(connection, limit=500)]
        assert sent.count("rolled-back") == 3 * use
        assert context.catalog.alias("digits", CHAMPION) == 1
        assert QUARANTINE_TAG in context.catalog.version("digits", version).tags
        assert the_probation(context).state == "rolled-back"
        tick(context, minutes=2)
        if not died:
            break
    assert 15 < use < 59


@pytest.mark.both_databases
def test_a_watcher_that_was_paused_past_its_lease_sends_nothing_back(world: AppContext) -> None:
    label(world, 30, "5")
    old = lease_of(world)
    tick(world, minutes=1)
    fresh = lease_of(world, "another")
    with pytest.raises(FencedError):
        warden(world).tick(old)
    assert history(world) == KEPT

    class Paused(PromotionService):
        """Champions of a watcher that is paused past its lease after the decision was written."""

        def promote(self, change: PromotionRequest) -> Promotion:
            tick(world, minutes=1)
            lease_of(world, "the next one")
            return super().promote(change)

    paused = Paused(world.database, world.catalog, world.clock, "watcher")
    with pytest.raises(FencedError):
        replace(warden(world), promotions=paused).tick(fresh)
    assert (history(world), the_probation(world).state, of_rollbacks(world)) == (KEPT, "failed", [])
    assert queries.probation_standing(the_probation(world)) == "being rolled back"


def test_while_the_registry_is_away_the_decision_waits_and_is_then_carried_out_once(world: AppContext) -> None:
    lease = forever(world)
    label(world, 30, "5")
    assert isinstance(world.catalog, FakeCatalog)
    world.catalog.away = RegistryUnavailableError("away")
    with pytest.raises(RegistryUnavailableError):
        warden(world).tick(lease)
    assert (history(world), the_probation(world).state) == (KEPT, "failed")
    world.catalog.away = None
    warden(world).tick(lease)
    warden(world).tick(lease)
    assert (history(world), len(of_rollbacks(world))) == (ROLLED_BACK, 3)


def test_a_version_before_that_cannot_be_loaded_ends_it_unjudged_and_says_so(world: AppContext) -> None:
    lease = forever(world)

    def gone(version: int) -> Reads:
        raise CorruptModelError(f"version {version} is broken")

    label(world, 30, "5")
    found = probation_monitor(world, gone).tick(lease)
    assert found is not None
    assert (found.state, found.reason) == ("running", "version 1 cannot be asked: version 1 is broken")
    assert found.duel["compared"] == 0
    assert warden(world, before="8").tick(lease) is not None
    assert (the_probation(world).reason, the_probation(world).duel["labelled"]) == ("", 30)
    label(world, 5, "5")
    for wait in (timedelta(0), timedelta(days=3), LOAD_GRACE_PERIOD):
        tick(world, seconds=wait.total_seconds())
        found = probation_monitor(world, gone).tick(lease)
    assert found is not None
    assert (found.state, found.reason) == ("ended", "version 1 cannot be asked: version 1 is broken")


def test_the_version_before_is_fetched_from_the_registry_and_answers(context: AppContext) -> None:
    family, tracking = bars_family(bars_split(32)), FakeTracking()
    context = context.replace(catalog=MemoryCatalog(tracking), tracking=tracking)
    before = torch.get_num_threads()
    try:
        training_worker(context, make_plain_candidate).train(family, "the first", "me")
        golden = family.load(None).golden
        answers = load_predictor(context.catalog, "bars", context.model_cache, 1)(golden.batch).argmax(axis=1)
    finally:
        torch.set_num_threads(before)
    assert (answers == golden.labels).mean() > 0.9


def test_it_never_goes_back_to_a_version_in_quarantine(world: AppContext) -> None:
    lease = forever(world)
    assert warden(world).tick(lease) is not None
    quarantine_version(world, 1, "reads no eights", "ada", lift=False)
    label(world, 30, "5")
    found = warden(world).tick(lease)
    assert found is not None
    assert found.state == "ended"
    assert found.reason.endswith("But version 1 is in quarantine itself.")
    promote(world, 3)
    assert warden(world).tick(lease) is not None
    assert the_probation(world).before == 2
    quarantine_version(world, 2, "reads no nines", "ada", lift=False)
    promote(world, 4)
    quarantine_version(world, 3, "nor does it", "ada", lift=False)
    assert warden(world).tick(lease) is None, "nothing is left to go back to"


def test_a_version_before_that_was_deleted_ends_it(world: AppContext) -> None:
    label(world, 30, "5")
    assert isinstance(world.catalog, FakeCatalog)
    del world.catalog.held["digits", 1]
    found = warden(world).tick(forever(world))
    assert found is not None
    assert (found.state, history(world)) == ("ended", KEPT)
    assert "But it cannot be undone" in found.reason


@pytest.mark.parametrize("written", ["probation: {period: 0s}", "probation: {period: 30s}"])
def test_without_a_period_or_after_it_none_begins(context: AppContext, written: str) -> None:
    two_versions(context, WITH_PROBATION.replace(WRITTEN, written))
    label(context, 30, "5")
    assert warden(context).tick(forever(context)) is None
    assert history(context) == KEPT


def test_switching_it_off_ends_the_running_one(world: AppContext) -> None:
    lease = forever(world)
    assert warden(world).tick(lease) is not None
    with_rules(world, WITH_PROBATION.replace(WRITTEN, "probation: {period: 0s}"))
    label(world, 30, "5")
    assert warden(world).tick(lease) is None
    assert (the_probation(world).state, the_probation(world).reason) == (
        "ended",
        "probation was switched off in alerts.yaml",
    )


def test_the_first_version_and_a_restored_one_are_on_none(context: AppContext) -> None:
    promote(with_rules(context, WITH_PROBATION), 1)
    lease = forever(context)
    assert warden(context).tick(lease) is None
    promote(context, 2)
    promotion_service(context).rollback("digits", "ada", "by hand")
    assert warden(context).tick(lease) is None


def slow(context: AppContext, minutes: int, latency_ms: float, version: int = 2, per_minute: int = 20) -> None:
    """Answers of this latency, minute by minute."""
    for _ in range(minutes):
        now = context.clock()
        rows = (prediction(now, version=version, latency_ms=latency_ms) for _ in range(per_minute))
        recorded(context.database, *(replace(row, host_class="host") for row in rows))
        tick(context, minutes=1)


def measured(context: AppContext, version: int, p95_ms: float) -> None:
    with context.database.write() as connection:
        numbers = {"p95_ms": p95_ms, "calls": 300}
        evaluations.store_baseline(connection, "digits", version, "latency", "host", numbers, context.clock())


def test_a_version_that_is_surely_too_slow_goes_back(world: AppContext) -> None:
    measured(world, 1, 2.0)
    officer, lease = warden(world), forever(world)
    slow(world, 3, 30.0)
    found = officer.tick(lease)
    assert found is not None
    assert found.state == "running", "the rule's window of five minutes is not over"
    slow(world, 3, 30.0)
    assert officer.tick(lease) is not None
    assert history(world) == ROLLED_BACK
    assert "on host is surely at least 29." in barred(world)[2]
    assert len(of_rollbacks(world)) == 3


def test_a_version_that_is_slower_within_the_limit_stays_and_every_window_is_looked_at_once(world: AppContext) -> None:
    measured(world, 1, 2.0)
    officer, lease = warden(world), forever(world)
    slow(world, 6, 3.9)
    first = officer.tick(lease)
    again = officer.tick(lease)
    assert first is not None
    assert first == again
    assert (first.state, first.latency_until) == ("running", first.at + timedelta(minutes=5))


def test_clients_that_were_slow_to_serve_before_are_no_fault_of_the_new_version(context: AppContext) -> None:
    promote(with_rules(context, WITH_PROBATION), 1)
    measured(context, 1, 2.0)
    slow(context, 10, 20.0, version=1)
    promote(context, 2)
    slow(context, 6, 30.0)
    found = warden(context).tick(forever(context))
    assert found is not None
    assert (found.state, history(context)) == ("running", KEPT)


def test_the_watcher_looks_and_a_second_one_does_not(world: AppContext) -> None:
    leader, other = create_watcher(world, counting), create_watcher(another(world), counting)
    leader.renew_leadership()
    other.renew_leadership()
    other.check_probation()
    with world.database.read() as connection:
        assert probations.list_probations(connection, "digits") == []
    leader.check_probation()
    assert the_probation(world).state == "running"


def test_detectors_of_a_version_on_probation_begin_with_more_of_their_budget(context: AppContext) -> None:
    """The same labels prove nothing about a first version, and something about one on probation."""
    budget = WITH_PROBATION.replace("min_samples: 20,", "min_samples: 20, false_alarms: 1 per 90d,", 1)
    promote(with_rules(context, budget), 1)
    for version in (1, 2):
        if version == 2:
            promote(context, 2)
        label(context, 20, "3", version=version)
        label(context, 4, "5", version=version)
        evaluation = evaluate(context, rule(context, "accuracy-drop"), context.clock())
        assert evaluation is not None
        assert evaluation.state == {1: "suspect", 2: "breach"}[version]


def test_the_alerts_of_a_version_that_went_back_end_with_it(world: AppContext) -> None:
    label(world, 30, "5")
    evaluate(world, rule(world, "accuracy-drop"), world.clock())
    assert [alert.state for alert in all_alerts(world)] == ["firing"]
    warden(world).tick(forever(world))
    tick(world, minutes=1)
    evaluate(world, rule(world, "accuracy-drop"), world.clock())
    assert [(alert.version, alert.state) for alert in all_alerts(world)] == [(2, "superseded")]


def test_people_see_how_it_stands(world: AppContext) -> None:
    lease = forever(world)
    assert to_jsonable(queries.platform_status(world))["probation"] is None
    warden(world).tick(lease)
    until = f"{the_probation(world).until:%Y-%m-%d %H:%M} UTC"
    shown = to_jsonable(queries.platform_status(world))["probation"]
    assert shown["text"].startswith(f"version 2 on probation until {until}. Of 0 answers put to both")
    assert f"on probation until {until}" in overview_page(world)
    assert [row["probation"] for row in to_jsonable(queries.model_overview(world))["versions"]] == [
        f"on probation until {until}",
        None,
    ]
    label(world, 30, "5")
    warden(world).tick(lease)
    shown = to_jsonable(queries.model_overview(world))["versions"]
    assert [(row["probation"], row["quarantine"]) for row in shown] == [("rolled back", barred(world)[2]), (None, None)]
    assert to_jsonable(queries.platform_status(world))["probation"]["text"].startswith(
        "version 2 rolled back. Of 30 answers put to both versions 30 differ"
    )


def test_answers_of_one_block_are_one_observation(context: AppContext) -> None:
    two_versions(context, WITH_PROBATION.replace("{period: 3d,", "{period: 3d, block: client-hour,"))
    label(context, 60, "5")
    found = warden(context, before="3").tick(forever(context))
    assert found is not None
    assert (found.state, found.duel["lost"], history(context)) == ("running", 60, KEPT)


def test_of_much_traffic_a_part_is_compared_that_the_hash_of_the_input_draws(context: AppContext) -> None:
    promote(with_rules(context, WITH_PROBATION.replace("{period: 3d,", "{period: 3d, compared_per_day: 100,")), 1)
    now = context.clock()
    recorded(context.database, *(prediction(now, version=1, seed=1) for _ in range(400)))
    tick(context, minutes=1)
    promote(context, 2)
    now = context.clock()
    recorded(context.database, *(prediction(now, version=2, seed=40_000 + n, label="5") for n in range(200)))
    reads = Reads("3")
    probation_monitor(context, lambda _version: reads).tick(forever(context))
    assert 25 <= reads.shown <= 80
