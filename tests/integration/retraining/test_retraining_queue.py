"""Retrainings: one queued and one running, requests that join, limits, owners that lost their row, reruns once."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection, event

from mlplatform.alerting import alert_records
from mlplatform.errors import ConflictError, FencedError, NotFoundError
from mlplatform.promotion import promotion_history
from mlplatform.retraining import retraining_endings, retraining_queue
from mlplatform.retraining.retraining_limits import (
    HoldReason,
    RetrainingLimits,
    hold_reason,
    last_attempt_start,
    unsuccessful_streak,
)
from mlplatform.retraining.retraining_queue import Retraining
from mlplatform.store.database import Database
from tests.support.platform_world import START
from tests.support.store_rows import NO_LIMITS, alert, queued, running, saved, together

pytestmark = pytest.mark.both_databases

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
INSTANT = timedelta(microseconds=1)
AGE = timedelta(seconds=30)


def queued_pipelines(connection: Connection) -> list[str]:
    """The pipelines that have a retraining queued."""
    return sorted(row.pipeline for row in retraining_queue.recent(connection) if row.state == "queued")


def found(database: Database, key: str) -> Retraining:
    with database.read() as connection:
        return retraining_queue.find(connection, key)


def ask(database: Database, by: str, trigger: retraining_queue.RetrainingTrigger = "manual") -> tuple[str, bool]:
    with database.write() as connection:
        return retraining_queue.request(
            connection, pipeline="digits", reason=f"{by} asks", trigger=trigger, requested_by=by, now=START
        )


def until(wait: HoldReason | None) -> datetime | None:
    return None if wait is None else wait.until


def claim(
    database: Database, owner: str, now: datetime = START, limits: RetrainingLimits = NO_LIMITS
) -> Retraining | None:
    with database.write() as connection:
        return retraining_queue.claim(connection, "digits", owner, limits, now)


def finish(
    database: Database,
    key: str,
    owner: str,
    now: datetime = START,
    state: retraining_queue.RetrainingState = "succeeded",
) -> None:
    with database.write() as connection:
        retraining_endings.finish(connection, key, owner, state, now, candidate_version=2, error="what happened")


def promote(database: Database, key: str) -> None:
    with database.write() as connection:
        promotion_history.append(
            connection,
            model_name="digits",
            expected=None,
            to_version=4,
            kind="first",
            now=START,
            actor="retraining",
            reason="better",
            fence=1,
            retraining_id=key,
            verdict={"outcome": "promote"},
        )


def close(database: Database, now: datetime) -> list[tuple[Retraining, str | None]]:
    with database.write() as connection:
        return retraining_endings.close_abandoned(connection, now, AGE)


def hand_back(database: Database, key: str, owner: str) -> str | None:
    with database.write() as connection:
        return retraining_endings.requeue_interrupted(connection, key, owner, START + MINUTE)


# --- the queue


def test_a_first_request_is_queued_with_its_cause(database: Database) -> None:
    made = saved(database)
    with database.write() as connection:
        key, fresh = retraining_queue.request(
            connection,
            pipeline="digits",
            reason="drift",
            trigger="alert",
            requested_by="watcher",
            now=START,
            alert_id=made.id,
        )
    row = found(database, key)
    assert fresh
    assert (row.state, row.alert_id, row.requested_at, row.owner) == ("queued", made.id, START, None)
    assert row.causes == [
        {"reason": "drift", "trigger": "alert", "by": "watcher", "at": START.isoformat(), "alert": made.id}
    ]


def test_a_request_joins_the_queued_one_as_a_further_cause(database: Database) -> None:
    key, _ = ask(database, "ada")
    assert ask(database, "bob", "api") == (key, False)
    row = found(database, key)
    assert [cause["by"] for cause in row.causes] == ["ada", "bob"]
    assert (row.trigger, row.requested_by) == ("manual", "ada")


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        ("alert", "manual", "manual"),
        ("alert", "api", "api"),
        ("alert", "alert", "alert"),
        ("manual", "alert", "manual"),
    ],
)
def test_a_person_who_joins_an_alerts_request_frees_it_from_the_limits(
    database: Database, first: retraining_queue.RetrainingTrigger, second: retraining_queue.RetrainingTrigger, kept: str
) -> None:
    ask(database, "a", first)
    key, _ = ask(database, "b", second)
    assert found(database, key).trigger == kept
    with database.read() as connection:
        waiting = retraining_queue.find_queued(connection, "digits")
        assert waiting is not None
        assert waiting.trigger == kept


def test_requests_at_once_are_one_retraining_that_forgets_no_cause(database: Database) -> None:
    names = [f"person{n}" for n in range(8)]
    results = together(*(lambda name=name: ask(database, name) for name in names))
    answers = [result for result in results if isinstance(result, tuple)]
    assert sorted(fresh for _, fresh in answers) == [False] * 7 + [True]
    [key] = {key for key, _ in answers}
    assert sorted(cause["by"] for cause in found(database, key).causes) == names


def test_a_request_while_one_runs_queues_the_next(database: Database) -> None:
    first = running(database, "a")
    key, fresh = ask(database, "bob")
    assert fresh
    assert key != first
    with database.read() as connection:
        assert queued_pipelines(connection) == ["digits"]


def test_a_request_whose_queued_one_is_claimed_that_very_moment_queues_the_next(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer at a time: there is no such moment")
    first = queued(database)
    claimed: list[Retraining | None] = []

    def claim_in_between(*_execution: object) -> None:
        if not claimed:
            claimed.append(claim(database, "owner"))

    with database.write() as connection:
        event.listen(connection, "after_cursor_execute", claim_in_between)
        key, fresh = retraining_queue.request(
            connection, pipeline="digits", reason="drift", trigger="api", requested_by="bob", now=START
        )
    assert [row.id for row in claimed if row is not None] == [first]
    assert fresh
    assert (found(database, first).state, found(database, key).state) == ("running", "queued")


def test_pipelines_queue_side_by_side(database: Database) -> None:
    with database.write() as connection:
        for pipeline in ("letters", "digits"):
            retraining_queue.request(
                connection, pipeline=pipeline, reason="", trigger="manual", requested_by="ada", now=START
            )
        assert queued_pipelines(connection) == ["digits", "letters"]
        for pipeline in ("letters", "digits"):
            assert retraining_queue.claim(connection, pipeline, "a", NO_LIMITS, START) is not None
        assert queued_pipelines(connection) == []
        assert retraining_queue.find_queued(connection, "digits") is None


# --- the start


def test_a_claimed_retraining_runs_under_its_owner_with_a_first_heartbeat(database: Database) -> None:
    key = queued(database)
    row = claim(database, "a", START + MINUTE)
    assert row is not None
    assert (row.id, row.state, row.owner) == (key, "running", "a")
    assert (row.started_at, row.heartbeat_at, row.finished_at) == (START + MINUTE, START + MINUTE, None)


def test_nothing_queued_is_nothing_to_claim(database: Database) -> None:
    assert claim(database, "a") is None


def test_while_one_runs_the_next_waits(database: Database) -> None:
    first = running(database, "a")
    second = queued(database)
    assert claim(database, "b") is None
    finish(database, first, "a")
    row = claim(database, "b")
    assert row is not None
    assert row.id == second


def test_of_claims_at_once_one_gets_the_retraining(database: Database) -> None:
    for turn in range(4):
        key = queued(database, START + turn * HOUR)
        results = together(*(lambda name=name: claim(database, name) for name in "abcdef"))
        [row] = [result for result in results if result is not None]
        assert isinstance(row, Retraining)
        assert row.id == key
        assert found(database, key).owner == row.owner
        finish(database, key, row.owner or "")


@pytest.mark.parametrize("state", ["succeeded", "failed"])
def test_an_alerts_request_waits_for_the_cooldown_and_a_persons_does_not(
    database: Database, state: retraining_queue.RetrainingState
) -> None:
    limits = RetrainingLimits(cooldown=HOUR, daily_cap=9)
    finish(database, running(database, "a"), "a", START + MINUTE, state)
    queued(database, trigger="alert")
    free = START + MINUTE + HOUR
    with database.read() as connection:
        assert until(hold_reason(connection, "digits", "alert", limits, START + MINUTE)) == free
        assert hold_reason(connection, "digits", "alert", limits, free) is None
        assert hold_reason(connection, "digits", "manual", limits, START + MINUTE) is None
        assert hold_reason(connection, "letters", "alert", limits, START + MINUTE) is None
    assert claim(database, "b", free - INSTANT, limits) is None
    assert claim(database, "b", free, limits) is not None


def test_a_cancelled_retraining_starts_no_cooldown(database: Database) -> None:
    key = running(database, "a")
    with database.write() as connection:
        retraining_endings.cancel(connection, key, "tester", START)
    queued(database, trigger="alert")
    assert claim(database, "b", START, RetrainingLimits(cooldown=HOUR, daily_cap=9)) is not None


def test_the_daily_cap_holds_until_a_start_is_a_day_old(database: Database) -> None:
    limits = RetrainingLimits(cooldown=timedelta(0), daily_cap=2)
    for hour in range(3):
        finish(database, running(database, "a", START + hour * HOUR), "a", START + hour * HOUR)
    queued(database, trigger="alert")
    free = START + HOUR + timedelta(days=1)
    with database.read() as connection:
        assert until(hold_reason(connection, "digits", "alert", limits, START + 3 * HOUR)) == free
    assert claim(database, "b", free - INSTANT, limits) is None
    assert claim(database, "b", free, limits) is not None


def test_a_daily_cap_of_zero_lets_only_people_start(database: Database) -> None:
    limits = RetrainingLimits(cooldown=timedelta(0), daily_cap=0)
    queued(database, trigger="alert")
    assert claim(database, "a", START, limits) is None
    assert claim(database, "a", START + timedelta(days=400), limits) is None
    ask(database, "ada")
    assert claim(database, "a", START, limits) is not None


# --- the run


def test_a_heartbeat_keeps_the_last_progress(database: Database) -> None:
    key = running(database, "a")
    with database.write() as connection:
        retraining_queue.record_heartbeat(connection, key, "a", START + MINUTE, {"epoch": 3})
        retraining_queue.record_heartbeat(connection, key, "a", START + 2 * MINUTE, None)
        retraining_queue.record_run(connection, key, "a", "run-7")
    row = found(database, key)
    assert (row.heartbeat_at, row.progress, row.run_id) == (START + 2 * MINUTE, {"epoch": 3}, "run-7")


def test_a_finished_retraining_holds_what_it_led_to(database: Database) -> None:
    key = running(database, "a")
    with database.write() as connection:
        retraining_endings.finish(
            connection,
            key,
            "a",
            "succeeded",
            START + HOUR,
            candidate_version=2,
            verdict={"outcome": "keep"},
            promoted=False,
        )
    row = found(database, key)
    assert (row.state, row.finished_at, row.candidate_version) == ("succeeded", START + HOUR, 2)
    assert (row.verdict, row.promoted, row.error) == ({"outcome": "keep"}, False, None)


def test_a_run_that_promoted_and_failed_after_that_succeeded_with_an_error(database: Database) -> None:
    key = running(database, "a")
    promote(database, key)
    finish(database, key, "a", START + MINUTE, "failed")
    row = found(database, key)
    assert (row.state, row.promoted, row.candidate_version) == ("succeeded", True, 4)
    assert (row.verdict, row.error) == ({"outcome": "promote"}, "what happened")


@pytest.mark.parametrize("ending", ["finished", "cancelled", "abandoned", "never his"])
def test_an_owner_that_lost_its_row_writes_nothing(database: Database, ending: str) -> None:
    key = running(database, "a")
    if ending == "finished":
        finish(database, key, "a")
    elif ending == "cancelled":
        with database.write() as connection:
            retraining_endings.cancel(connection, key, "tester", START)
    elif ending == "abandoned":
        close(database, START + HOUR)
    owner = "b" if ending == "never his" else "a"
    before = found(database, key)
    with database.write() as connection:
        with pytest.raises(FencedError, match="it must not write"):
            retraining_queue.record_heartbeat(connection, key, owner, START + HOUR, {"epoch": 9})
        with pytest.raises(FencedError):
            retraining_queue.record_run(connection, key, owner, "run-9")
        with pytest.raises(FencedError):
            retraining_endings.finish(connection, key, owner, "failed", START + HOUR)
        with pytest.raises(FencedError):
            retraining_queue.require_running(connection, key, owner)
        assert retraining_endings.requeue_interrupted(connection, key, owner, START + HOUR) is None
    assert found(database, key) == before


# --- crashes


def test_a_heartbeat_of_exactly_the_age_still_lives(database: Database) -> None:
    key = running(database, "a")
    assert close(database, START + AGE) == []
    [(row, _)] = close(database, START + AGE + INSTANT)
    assert row.id == key


def test_a_dead_run_does_not_outlive_a_clock_that_was_set_back(database: Database) -> None:
    key = running(database, "dead", at=START + 5 * HOUR)
    assert close(database, START) == []
    assert close(database, START + AGE) == []
    [(row, _)] = close(database, START + AGE + INSTANT)
    assert (row.id, found(database, key).state) == (key, "abandoned")


def test_a_living_run_on_a_host_whose_clock_is_ahead_is_not_closed(database: Database) -> None:
    key = running(database, "ahead", at=START + HOUR)
    for place in range(5):
        now = START + place * AGE
        assert close(database, now) == []
        with database.write() as connection:
            retraining_queue.record_heartbeat(connection, key, "ahead", now + HOUR, None)
    assert found(database, key).state == "running"


def test_an_abandoned_run_is_closed_and_queued_again_with_its_causes(database: Database) -> None:
    made = saved(database)
    with database.write() as connection:
        retraining_queue.request(
            connection,
            pipeline="digits",
            reason="drift",
            trigger="alert",
            requested_by="watcher",
            now=START,
            alert_id=made.id,
        )
    ask(database, "ada", "alert")
    first = claim(database, "a")
    assert first is not None
    [(_, rerun)] = close(database, START + HOUR)
    assert rerun is not None
    closed, again = found(database, first.id), found(database, rerun)
    assert (closed.state, closed.error, closed.finished_at) == (
        "abandoned",
        "its heartbeat stopped",
        START + HOUR,
    )
    assert (again.state, again.rerun_of, again.alert_id) == ("queued", first.id, made.id)
    assert (again.causes, again.trigger, again.reason) == (first.causes, "alert", "drift")


def test_an_abandoned_run_is_run_again_once_and_not_for_ever(database: Database) -> None:
    running(database, "a")
    [(_, rerun)] = close(database, START + HOUR)
    assert close(database, START + HOUR) == []
    again = claim(database, "b", START + HOUR)
    assert again is not None
    assert again.id == rerun
    [(row, third)] = close(database, START + 2 * HOUR)
    assert (row.id, third) == (rerun, None)
    with database.read() as connection:
        assert [item.state for item in retraining_queue.recent(connection)] == ["abandoned", "abandoned"]
        assert queued_pipelines(connection) == []


def test_of_watchers_that_find_an_abandoned_run_at_once_one_closes_it(database: Database) -> None:
    running(database, "a")
    results = together(*[lambda: close(database, START + HOUR)] * 4)
    assert sorted(len(result) for result in results if isinstance(result, list)) == [0, 0, 0, 1]
    with database.read() as connection:
        assert [item.state for item in retraining_queue.recent(connection)] == ["queued", "abandoned"]


def test_a_rerun_joins_a_request_that_is_queued_already(database: Database) -> None:
    running(database, "a")
    waiting, _ = ask(database, "bob")
    [(_, rerun)] = close(database, START + HOUR)
    assert rerun == waiting
    assert [cause["by"] for cause in found(database, waiting).causes] == ["bob", "ada"]


@pytest.mark.parametrize("closing", ["abandoned", "handed back"])
def test_a_run_that_had_promoted_is_closed_as_succeeded_and_not_run_again(database: Database, closing: str) -> None:
    key = running(database, "a")
    promote(database, key)
    if closing == "abandoned":
        [(_, rerun)] = close(database, START + HOUR)
    else:
        rerun = hand_back(database, key, "a")
    row = found(database, key)
    assert rerun is None
    assert (row.state, row.promoted, row.candidate_version, row.verdict) == (
        "succeeded",
        True,
        4,
        {"outcome": "promote"},
    )
    with database.read() as connection:
        assert queued_pipelines(connection) == []


def test_a_rerun_is_not_held_up_by_the_cap_its_abandoned_run_used(database: Database) -> None:
    limits = RetrainingLimits(cooldown=HOUR, daily_cap=1)
    queued(database, trigger="alert")
    assert claim(database, "a", START, limits) is not None
    close(database, START + MINUTE)
    assert claim(database, "b", START + MINUTE, limits) is not None
    close(database, START + HOUR)
    queued(database, trigger="alert")
    assert claim(database, "c", START + HOUR, limits) is not None


def test_a_run_handed_back_is_queued_again_each_time(database: Database) -> None:
    first = running(database, "a")
    second = hand_back(database, first, "a")
    assert second is not None
    assert (found(database, first).state, found(database, first).error) == ("abandoned", "its watcher stopped")
    assert claim(database, "b") is not None
    third = hand_back(database, second, "b")
    assert third is not None
    assert found(database, third).rerun_of is None, "a stop in good order does not use up the one rerun of a crash"


def test_cancelling_closes_what_is_open_and_nothing_else(database: Database) -> None:
    runs, waits = running(database, "a"), queued(database)
    for key in (runs, waits):
        with database.write() as connection:
            retraining_endings.cancel(connection, key, "tester", START + MINUTE)
        assert (found(database, key).state, found(database, key).finished_at) == ("cancelled", START + MINUTE)
    with pytest.raises(ConflictError, match="is cancelled"), database.write() as connection:
        retraining_endings.cancel(connection, runs, "tester", START)
    with pytest.raises(NotFoundError, match="nosuch"), database.write() as connection:
        retraining_endings.cancel(connection, "nosuch", "tester", START)


def test_recent_comes_newest_first_up_to_the_limit(database: Database) -> None:
    keys = []
    for turn in range(3):
        keys.append(running(database, "a", START + turn * MINUTE))
        finish(database, keys[-1], "a")
    with database.read() as connection:
        assert [row.id for row in retraining_queue.recent(connection)] == keys[::-1]
        assert [row.id for row in retraining_queue.recent(connection, limit=1)] == keys[2:]


def test_an_unknown_retraining_is_named(database: Database) -> None:
    with pytest.raises(NotFoundError, match="'nosuch' is not known"):
        found(database, "nosuch")


def test_a_promotion_being_written_is_seen_by_the_watcher_that_closes_the_run(database: Database) -> None:
    key = running(database, "a")

    def promote_slowly(connection: Connection) -> None:
        retraining_queue.require_running(connection, key, "a")
        promotion_history.append(
            connection,
            model_name="digits",
            expected=None,
            to_version=4,
            kind="first",
            now=START,
            actor="retraining",
            reason="better",
            fence=1,
            retraining_id=key,
        )

    def run() -> list[tuple[Retraining, str | None]]:
        with database.write() as connection:
            promote_slowly(connection)
        return []

    results = together(run, lambda: close(database, START + HOUR))
    row = found(database, key)
    assert (row.state, row.promoted) in {("succeeded", True), ("abandoned", False)}
    fenced = isinstance(results[0], FencedError)
    assert fenced == (row.state == "abandoned")
    with database.read() as connection:
        assert (promotion_history.latest_promotion(connection, "digits") is None) == fenced


def test_a_queued_retraining_is_dropped_when_every_alert_that_asked_for_it_has_ended(database: Database) -> None:
    first, second = saved(database), saved(database, alert("class-error"))
    for made in (first, second):
        with database.write() as connection:
            key, _ = retraining_queue.request(
                connection,
                pipeline="digits",
                reason="r",
                trigger="alert",
                requested_by="watcher",
                now=START,
                alert_id=made.id,
            )

    def settled() -> bool:
        with database.write() as connection:
            return retraining_endings.cancel_if_alerts_ended(connection, "digits", START)

    assert not settled()
    with database.write() as connection:
        alert_records.update_state(connection, replace(first, state="resolved"))
    assert not settled(), "one of the two goes on"
    with database.write() as connection:
        alert_records.update_state(connection, replace(second, state="superseded"))
    assert settled()
    assert (found(database, key).state, found(database, key).error) == (
        "cancelled",
        "the alerts that asked for it have ended",
    )


def test_a_persons_request_is_never_dropped(database: Database) -> None:
    queued(database)
    with database.write() as connection:
        assert not retraining_endings.cancel_if_alerts_ended(connection, "digits", START)


# --- the breaker, and dry runs


BREAKER = RetrainingLimits(cooldown=timedelta(0), daily_cap=100, breaker_threshold=2)


def useless(
    database: Database, at: datetime, trigger: retraining_queue.RetrainingTrigger = "alert", *, promoted: bool = False
) -> str:
    """A retraining that ended; by default it promoted nothing."""
    made = running(database, "owner", at, trigger=trigger)
    with database.write() as connection:
        retraining_endings.finish(connection, made, "owner", "succeeded", at + MINUTE, promoted=promoted)
    return made


def held_back(database: Database, at: datetime, trigger: str = "alert") -> HoldReason | None:
    with database.read() as connection:
        return hold_reason(connection, "digits", trigger, BREAKER, at)


def test_after_so_many_useless_retrainings_alerts_start_no_more_until_a_person_does(database: Database) -> None:
    first = useless(database, START)
    assert held_back(database, START + HOUR) is None
    second = useless(database, START + HOUR)
    with database.read() as connection:
        assert unsuccessful_streak(connection, "digits") == [second, first]
    found = held_back(database, START + 2 * HOUR)
    assert found is not None
    assert (found.until, "the last 2 retrainings brought nothing" in found.reason) == (None, True)
    assert held_back(database, START + 2 * HOUR, "manual") is None
    useless(database, START + 3 * HOUR, "manual")
    assert held_back(database, START + 4 * HOUR) is None


def test_a_promotion_ends_the_streak(database: Database) -> None:
    for hour in (0, 1):
        useless(database, START + hour * HOUR)
    assert held_back(database, START + 2 * HOUR) is not None
    with database.write() as connection:
        promotion_history.append(
            connection,
            model_name="digits",
            expected=None,
            to_version=1,
            kind="first",
            now=START + 2 * HOUR,
            actor="ada",
            reason="by hand",
            fence=1,
        )
    assert held_back(database, START + 3 * HOUR) is None


def test_a_clock_that_was_set_back_past_a_promotion_hides_no_useless_retraining(database: Database) -> None:
    change_champion(database, 1, None, "first", START)
    change_champion(database, 2, 1, "promote", START + 9 * HOUR)
    made = [useless(database, START + hour * HOUR) for hour in (2, 4)]
    with database.read() as connection:
        assert unsuccessful_streak(connection, "digits") == [*reversed(made)]
    assert held_back(database, START + 6 * HOUR) is not None


def test_a_person_ends_the_streak_also_after_the_clock_was_set_back(database: Database) -> None:
    for hour in (50, 52):
        useless(database, START + hour * HOUR)
    assert held_back(database, START + 54 * HOUR) is not None
    useless(database, START, "manual")
    assert held_back(database, START + HOUR) is None


def test_moments_far_ahead_hold_no_retraining_back(database: Database) -> None:
    """A clock a year ahead wrote them, before it was set right."""
    year = timedelta(days=365)
    change_champion(database, 1, None, "first", START + year)
    change_champion(database, 2, 1, "promote", START + year)
    change_champion(database, 1, 2, "rollback", START + year)
    useless(database, START + year)
    limits = RetrainingLimits(cooldown=HOUR, daily_cap=1)
    with database.read() as connection:
        assert hold_reason(connection, "digits", "alert", limits, START) is None
        assert last_attempt_start(connection, "digits", START - HOUR, START) is None
    useless(database, START)
    with database.read() as connection:
        assert hold_reason(connection, "digits", "alert", limits, START + MINUTE) is not None


def change_champion(
    database: Database,
    to: int,
    expected: int | None,
    kind: promotion_history.PromotionKind,
    at: datetime,
    made_by: str | None = None,
) -> None:
    with database.write() as connection:
        promotion_history.append(
            connection,
            model_name="digits",
            expected=expected,
            to_version=to,
            kind=kind,
            now=at,
            actor="somebody",
            reason="r",
            fence=1,
            retraining_id=made_by,
        )


def test_a_retraining_whose_promotion_was_rolled_back_brought_nothing(database: Database) -> None:
    change_champion(database, 1, None, "first", START)
    made: list[str] = []
    for hour in (1, 3):
        at = START + hour * HOUR
        key = useless(database, at, promoted=True)
        change_champion(database, 1 + hour, 1, "promote", at, key)
        with database.read() as connection:
            assert unsuccessful_streak(connection, "digits") == [], "while its version serves it was of use"
        change_champion(database, 1, 1 + hour, "rollback", at + HOUR)
        made.insert(0, key)
        with database.read() as connection:
            assert unsuccessful_streak(connection, "digits") == made
    found = held_back(database, START + 9 * HOUR)
    assert found is not None
    assert found.until is None, "the breaker, which only a person ends"


def test_after_a_rollback_alerts_wait_for_the_cooldown_too(database: Database) -> None:
    change_champion(database, 1, None, "first", START)
    change_champion(database, 2, 1, "promote", START + HOUR)
    change_champion(database, 1, 2, "rollback", START + 2 * HOUR)
    limits = RetrainingLimits(cooldown=HOUR, daily_cap=1000)
    with database.read() as connection:
        found = hold_reason(connection, "digits", "alert", limits, START + 3 * HOUR - INSTANT)
        assert found == HoldReason("the cooldown after a rollback", START + 3 * HOUR)
        assert hold_reason(connection, "digits", "alert", limits, START + 3 * HOUR) is None
        assert hold_reason(connection, "digits", "manual", limits, START + 2 * HOUR) is None
        assert hold_reason(connection, "letters", "alert", limits, START + 2 * HOUR) is None


def test_a_dry_run_joined_by_a_real_request_becomes_real_and_not_the_other_way(database: Database) -> None:
    def ask(dry_run: bool) -> bool:
        with database.write() as connection:
            made, _ = retraining_queue.request(
                connection,
                pipeline="digits",
                reason="r",
                trigger="manual",
                requested_by="ada",
                now=START,
                dry_run=dry_run,
            )
            return retraining_queue.find(connection, made).dry_run

    assert [ask(True), ask(True), ask(False), ask(True)] == [True, True, False, False]


def test_dry_runs_are_no_useless_retrainings(database: Database) -> None:
    with database.write() as connection:
        retraining_queue.request(
            connection, pipeline="digits", reason="r", trigger="alert", requested_by="w", now=START, dry_run=True
        )
        row = retraining_queue.claim(connection, "digits", "o", NO_LIMITS, START)
        assert row is not None
        retraining_endings.finish(connection, row.id, "o", "succeeded", START + MINUTE)
        assert unsuccessful_streak(connection, "digits") == []
