"""Candidates that wait for a person: approved, rejected, expired or superseded, each once and with a name on it."""

import threading
from datetime import timedelta

import pytest

from mlplatform.audit import audit_entries
from mlplatform.context import AppContext
from mlplatform.errors import ConflictError, InvalidInputError, NotFoundError
from mlplatform.ids import uuid7
from mlplatform.operations.approval_actions import approve_version, reject_version
from mlplatform.operations.operator_actions import promote_version, quarantine_version
from mlplatform.promotion import approvals
from mlplatform.promotion.approvals import Approval
from mlplatform.promotion.promotion_service import promotion_service
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.approval_requests import expire_approval, request_approval
from mlplatform.retraining.retraining_limits import RetrainingLimits, hold_reason, unsuccessful_streak
from mlplatform.retraining.unsuccessful_retraining import build_unsuccessful_notice
from tests.support.monitoring_world import notices, promote, tick, with_rules
from tests.support.platform_world import FakeCatalog

LIMITS = RetrainingLimits(timedelta(0), 10)


@pytest.fixture
def world(context: AppContext) -> AppContext:
    """A platform whose version 1 is champion."""
    promote(with_rules(context))
    return context


def retrained(context: AppContext, version: int, *, waits: bool = True) -> str:
    """A retraining that an alert asked for and whose candidate passed the gate; returns its id."""
    assert isinstance(context.catalog, FakeCatalog)
    context.catalog.add("digits", version, {"golden_correct": "995", "golden_total": "1000"})
    now = context.clock()
    with context.database.write() as connection:
        key, _ = retraining_queue.request(
            connection, pipeline="digits", reason="accuracy-drop", trigger="alert", requested_by="watcher", now=now
        )
        assert retraining_queue.claim(connection, "digits", "me", LIMITS, now) is not None
        verdict = {"outcome": "promote", "reasons": ["better by 0.4 points"]}
        retraining_endings.finish(
            connection, key, "me", "succeeded", now, candidate_version=version, verdict=verdict, promoted=False
        )
        if waits:
            request_approval(connection, context, waiting(context, version, key))
    return key


def waiting(context: AppContext, version: int, retraining: str | None = None) -> Approval:
    now = context.clock()
    by = f"retraining/{retraining}"
    verdict = {"outcome": "promote", "reasons": ["better by 0.4 points"]}
    until = now + timedelta(days=7)
    return Approval(
        uuid7(), "digits", version, champion(context), "waiting", "accuracy-drop", by, now, until, retraining, verdict
    )


def champion(context: AppContext) -> int:
    current = promotion_service(context).current("digits")
    assert current is not None
    return current.to_version


def approvals_of(context: AppContext) -> list[Approval]:
    with context.database.read() as connection:
        return approvals.latest_approvals(connection, "digits")


def actions(context: AppContext) -> list[tuple[str, str, str]]:
    with context.database.read() as connection:
        entries = audit_entries.recent_entries(connection)
    return [(entry["actor"], entry["action"], entry["subject"]) for entry in entries]


def kinds(context: AppContext) -> list[str]:
    return [str(message.payload["kind"]) for message in notices(context)]


@pytest.mark.both_databases
def test_an_approved_candidate_is_champion_by_the_name_of_who_approved(world: AppContext) -> None:
    key = retrained(world, 2)
    assert champion(world) == 1
    assert "approval-requested" in kinds(world)
    promotion = approve_version(world, 2, "ann", "checked on\nthe new scanner")
    assert (champion(world), promotion.actor, promotion.retraining_id) == (2, "ann", key)
    assert promotion.reason == "accuracy-drop; approved: checked on the new scanner"
    [approval] = approvals_of(world)
    assert (approval.state, approval.decided_by, approval.comment) == ("approved", "ann", "checked on the new scanner")
    with world.database.read() as connection:
        assert retraining_queue.find(connection, key).promoted
        assert unsuccessful_streak(connection, "digits") == []
    assert ("ann", "promote", "digits/2") in actions(world)
    assert "promoted" in kinds(world)
    with pytest.raises(NotFoundError, match=r"version 2 .* does not wait"):
        approve_version(world, 2, "ann")


@pytest.mark.both_databases
def test_a_candidate_that_waits_is_promoted_past_its_approval_by_force_alone(world: AppContext) -> None:
    retrained(world, 2)
    assert isinstance(world.catalog, FakeCatalog)
    world.catalog.add("digits", 2, {"gate": "promote"})
    with pytest.raises(ConflictError, match=r"version 2 waits for approval until .*`platform models approve 2`"):
        promote_version(world, 2, "now", "ann", force=False)
    assert (champion(world), approvals_of(world)[0].state) == (1, "waiting")
    promote_version(world, 2, "now", "ann", force=True)
    assert (champion(world), approvals_of(world)[0].state, approvals_of(world)[0].decided_by) == (2, "approved", "ann")


@pytest.mark.both_databases
def test_two_who_approve_at_the_same_moment_promote_once(world: AppContext) -> None:
    retrained(world, 2)
    results: list[object] = []
    start = threading.Barrier(2)

    def approve(name: str) -> None:
        start.wait(30)
        try:
            results.append(approve_version(world, 2, name).actor)
        except (ConflictError, NotFoundError) as error:
            results.append(error)

    threads = [threading.Thread(target=approve, args=(name,)) for name in ("ann", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    [winner] = [result for result in results if isinstance(result, str)]
    assert len(results) == 2
    assert approvals_of(world)[0].decided_by == winner
    assert [entry for entry in actions(world) if entry[1:] == ("promote", "digits/2")] == [
        (winner, "promote", "digits/2")
    ]


def test_a_rejected_candidate_stays_out_and_its_retraining_counts_as_one_in_vain(world: AppContext) -> None:
    key = retrained(world, 2)
    with pytest.raises(InvalidInputError, match="needs its reason"):
        reject_version(world, 2, "ann", " \n ")
    with pytest.raises(InvalidInputError, match="500"):
        reject_version(world, 2, "ann", "x" * 501)
    with pytest.raises(NotFoundError, match="version 2 does"):
        reject_version(world, 3, "ann", "no")
    with world.database.read() as connection:
        assert unsuccessful_streak(connection, "digits") == [], "nobody has decided yet"
    assert reject_version(world, 2, "ann", "no sheets of the new scanner").state == "rejected"
    assert (champion(world), ("ann", "reject", "digits/2") in actions(world)) == (1, True)
    assert "approval-rejected" in kinds(world)
    with world.database.read() as connection:
        assert unsuccessful_streak(connection, "digits") == [key]
        row = retraining_queue.find(connection, key)
    notice = build_unsuccessful_notice(row, 1, 3, "", world.clock())
    assert notice.outcome == "not approved"
    assert notice.reasons == ("version 2 was rejected (ann): no sheets of the new scanner",)


def test_while_a_candidate_waits_alerts_start_nothing_and_people_may(world: AppContext) -> None:
    retrained(world, 2)
    with world.database.read() as connection:
        held = hold_reason(connection, "digits", "alert", LIMITS, world.clock())
        assert held is not None
        assert "version 2 passed the gate and waits for approval" in held.reason
        assert held.until == approvals_of(world)[0].expires_at
        assert hold_reason(connection, "digits", "manual", LIMITS, world.clock()) is None
    reject_version(world, 2, "ann", "no")
    with world.database.read() as connection:
        assert hold_reason(connection, "digits", "alert", LIMITS, world.clock()) is None


def test_after_its_time_a_candidate_can_no_longer_be_approved_and_the_wait_ends_once(world: AppContext) -> None:
    key = retrained(world, 2)
    with world.database.write() as connection:
        assert expire_approval(connection, world, "digits", "watcher", world.clock()) is None
    tick(world, days=7)
    with pytest.raises(ConflictError, match=r"expired on .*`platform models promote`"):
        approve_version(world, 2, "ann")
    with pytest.raises(ConflictError, match="expired on"):
        reject_version(world, 2, "ann", "late")
    for expected in (2, None):
        with world.database.write() as connection:
            expired = expire_approval(connection, world, "digits", "watcher", world.clock())
        assert (None if expired is None else expired.version) == expected
    assert approvals_of(world)[0].state == "expired"
    assert kinds(world).count("approval-expired") == kinds(world).count("approval-requested") > 0
    with world.database.read() as connection:
        assert unsuccessful_streak(connection, "digits") == [key]
        assert "nobody decided until" in (retraining_queue.find(connection, key).error or "")


@pytest.mark.both_databases
def test_a_newer_candidate_and_another_champion_take_the_place_of_one_that_waits(world: AppContext) -> None:
    with world.database.write() as connection:
        request_approval(connection, world, waiting(world, 2))
        request_approval(connection, world, waiting(world, 3))
    newest, oldest = approvals_of(world)
    assert (newest.state, oldest.state, oldest.comment) == (
        "waiting", "superseded", "version 3 passed the gate after it",
    )  # fmt: skip
    promote(world, 4)
    assert approvals_of(world)[0].state == "superseded"
    assert "version 4 became champion" in approvals_of(world)[0].comment
    with pytest.raises(NotFoundError, match="no version waits"):
        approve_version(world, 3, "ann")


@pytest.mark.both_databases
def test_a_candidate_that_was_compared_with_another_champion_does_not_wait(world: AppContext) -> None:
    late = waiting(world, 2)
    promote(world, 5)
    refused = pytest.raises(ConflictError, match=r"champion is version 5, .* compared with version 1; train again")
    with refused, world.database.write() as connection:
        request_approval(connection, world, late)
    assert (approvals_of(world), kinds(world).count("approval-requested")) == ([], 0)


@pytest.mark.both_databases
def test_of_two_that_pass_at_the_same_moment_the_later_waits(world: AppContext) -> None:
    start, failed = threading.Barrier(2), list[Exception]()

    def ask(version: int) -> None:
        approval = waiting(world, version)
        start.wait(30)
        try:
            with world.database.write() as connection:
                request_approval(connection, world, approval)
        except Exception as error:  # noqa: BLE001 - whatever it is, it must not be
            failed.append(error)

    threads = [threading.Thread(target=ask, args=(version,)) for version in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert failed == []
    assert sorted(approval.state for approval in approvals_of(world)) == ["superseded", "waiting"]


def test_setting_apart_what_waits_rejects_it(world: AppContext) -> None:
    retrained(world, 2)
    assert quarantine_version(world, 2, "it misreads sevens", "ann", lift=False)
    [approval] = approvals_of(world)
    assert (approval.state, approval.comment) == ("rejected", "set apart: it misreads sevens")
    with world.database.read() as connection:
        assert hold_reason(connection, "digits", "alert", LIMITS, world.clock()) is None


def test_a_superseded_candidate_counts_for_no_breaker_and_stands_in_the_audit_log(world: AppContext) -> None:
    key = retrained(world, 2)
    with world.database.write() as connection:
        request_approval(connection, world, waiting(world, 3))
    with world.database.read() as connection:
        assert unsuccessful_streak(connection, "digits") == []
        assert "superseded" in (retraining_queue.find(connection, key).error or "")
    assert ("supersede-approval", "digits/2") in [entry[1:] for entry in actions(world)]


def test_a_request_of_a_clock_that_was_ahead_holds_nothing(world: AppContext) -> None:
    early = world.clock()
    tick(world, days=300)
    retrained(world, 2)
    with world.database.read() as connection:
        assert hold_reason(connection, "digits", "alert", LIMITS, world.clock()) is not None
        assert hold_reason(connection, "digits", "alert", LIMITS, early) is None


def test_promoting_by_hand_what_waits_is_an_approval(world: AppContext) -> None:
    retrained(world, 2)
    promote(world, 2)
    [approval] = approvals_of(world)
    assert (approval.state, approval.decided_by) == ("approved", "test")


def test_a_champion_that_changes_while_a_candidate_is_approved_is_not_overwritten(
    world: AppContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the promotion another version became champion."""
    retrained(world, 2)
    look = approvals.require_waiting

    def overtaken(*arguments: object, **options: object) -> Approval:
        found = look(*arguments, **options)  # type: ignore[arg-type]
        if not options.get("lock"):
            monkeypatch.setattr(approvals, "require_waiting", look)
            promote(world, 5)
        return found

    monkeypatch.setattr(approvals, "require_waiting", overtaken)
    with pytest.raises((ConflictError, NotFoundError)):
        approve_version(world, 2, "ann")
    assert (champion(world), approvals_of(world)[0].state) == (5, "superseded")
