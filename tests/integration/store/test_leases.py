"""Leases: one holder, a growing fence, and no write by one that was overtaken; heartbeats, a row per process."""

import threading
from datetime import timedelta

import pytest

from mlplatform.errors import FencedError
from mlplatform.store import leases
from mlplatform.store.database import Database
from mlplatform.store.leases import Lease
from tests.support.platform_world import START, FakeClock
from tests.support.store_rows import together, writing

pytestmark = pytest.mark.both_databases

LIFE = timedelta(seconds=10)
INSTANT = timedelta(microseconds=1)


def take(database: Database, holder: str, clock: FakeClock) -> Lease | None:
    with database.write() as connection:
        return leases.acquire(connection, "watcher", holder, LIFE, clock())


def held(database: Database, clock: FakeClock) -> str | None:
    with database.read() as connection:
        return leases.current_holder(connection, "watcher", clock())


def prove(database: Database, lease: Lease) -> None:
    with database.write() as connection:
        leases.require_lease(connection, lease)


def test_a_free_lease_is_taken_and_a_held_one_is_not(database: Database, clock: FakeClock) -> None:
    assert take(database, "a", clock) == Lease("watcher", "a", 1)
    assert take(database, "b", clock) is None
    assert take(database, "a", clock) is None
    assert held(database, clock) == "a"


def test_leases_of_different_names_do_not_touch_each_other(database: Database, clock: FakeClock) -> None:
    with database.write() as connection:
        for name in ("watcher", "promotion:digits"):
            assert leases.acquire(connection, name, "a", LIFE, clock()) == Lease(name, "a", 1)


def test_a_lease_lasts_up_to_its_end_and_is_free_from_then_on(database: Database, clock: FakeClock) -> None:
    take(database, "a", clock)
    clock.now = START + LIFE - INSTANT
    assert (held(database, clock), take(database, "b", clock)) == ("a", None)
    clock.now = START + LIFE
    assert held(database, clock) is None
    assert take(database, "b", clock) == Lease("watcher", "b", 2)


def test_a_renewed_lease_lasts_longer_under_the_same_fence(database: Database, clock: FakeClock) -> None:
    lease = take(database, "a", clock)
    assert lease is not None
    clock.tick(seconds=9)
    with database.write() as connection:
        assert leases.renew(connection, lease, LIFE, clock())
    clock.tick(seconds=9)
    assert take(database, "b", clock) is None
    prove(database, lease)


def test_an_expired_lease_nobody_took_may_still_be_renewed(database: Database, clock: FakeClock) -> None:
    lease = take(database, "a", clock)
    assert lease is not None
    clock.tick(seconds=60)
    with database.write() as connection:
        assert leases.renew(connection, lease, LIFE, clock())
    assert take(database, "b", clock) is None


def test_a_paused_holder_can_neither_prove_nor_renew_nor_release(database: Database, clock: FakeClock) -> None:
    paused = take(database, "a", clock)
    clock.tick(seconds=11)
    taker = take(database, "b", clock)
    assert paused is not None
    assert taker is not None
    with pytest.raises(FencedError, match="passed from a on"):
        prove(database, paused)
    with database.write() as connection:
        assert not leases.renew(connection, paused, LIFE, clock())
        leases.release(connection, paused)
    assert held(database, clock) == "b"
    prove(database, taker)


def test_the_same_process_that_takes_its_lease_again_fences_its_older_self(
    database: Database, clock: FakeClock
) -> None:
    older = take(database, "a", clock)
    clock.tick(seconds=11)
    newer = take(database, "a", clock)
    assert older is not None
    assert newer == Lease("watcher", "a", 2)
    with pytest.raises(FencedError):
        prove(database, older)


def test_a_lease_given_back_is_free_at_once_and_its_fence_grows_on(database: Database, clock: FakeClock) -> None:
    lease = take(database, "a", clock)
    assert lease is not None
    with database.write() as connection:
        leases.release(connection, lease)
    assert held(database, clock) is None
    assert take(database, "b", clock) == Lease("watcher", "b", 2)


def test_a_lease_given_back_is_free_also_after_the_clock_was_set_back(database: Database, clock: FakeClock) -> None:
    lease = take(database, "a", clock)
    assert lease is not None
    with database.write() as connection:
        leases.release(connection, lease)
    clock.tick(minutes=-5)
    assert take(database, "b", clock) == Lease("watcher", "b", 2)


def test_a_lease_of_a_dead_holder_does_not_outlive_a_clock_that_was_set_back(
    database: Database, clock: FakeClock
) -> None:
    take(database, "dead", clock)
    clock.tick(hours=-5)
    assert take(database, "b", clock) is None
    clock.tick(seconds=10)
    assert take(database, "b", clock) == Lease("watcher", "b", 2)


def test_a_living_holder_whose_clock_is_ahead_keeps_its_lease(database: Database, clock: FakeClock) -> None:
    lease, ahead = take(database, "ahead", clock), timedelta(minutes=7)
    assert lease is not None
    for _ in range(10):
        with database.write() as connection:
            assert leases.renew(connection, lease, LIFE, clock() + ahead)
        assert take(database, "b", clock) is None
        clock.tick(seconds=5)
    clock.tick(seconds=5)
    assert take(database, "b", clock) == Lease("watcher", "b", 2)


def test_a_lease_that_never_was_proves_nothing(database: Database) -> None:
    with pytest.raises(FencedError):
        prove(database, Lease("watcher", "a", 1))


def test_of_many_takers_at_once_one_holds_the_lease(database: Database, clock: FakeClock) -> None:
    for fence in range(1, 6):
        results = together(*(lambda name=name: take(database, name, clock) for name in "abcdef"))
        [winner] = [result for result in results if result is not None]
        assert isinstance(winner, Lease)
        assert winner.fence == fence
        assert held(database, clock) == winner.holder
        clock.tick(seconds=11)


def test_a_takeover_waits_for_the_write_that_proved_the_lease(database: Database, clock: FakeClock) -> None:
    lease = take(database, "a", clock)
    assert lease is not None
    clock.tick(seconds=11)
    order: list[str] = []

    def write_slowly() -> None:
        with database.write() as connection:
            leases.require_lease(connection, lease)
            proved.set()
            taking.wait(timeout=10)
            pause.wait(timeout=0.2)
            order.append("written")

    def take_over() -> None:
        proved.wait(timeout=10)
        taking.set()
        assert take(database, "b", clock) is not None
        order.append("taken")

    proved, taking, pause = (threading.Event() for _ in range(3))
    assert together(write_slowly, take_over) == [None, None]
    assert order == ["written", "taken"]


def test_a_process_has_one_row_with_its_last_sign_of_life(database: Database) -> None:
    with database.write() as connection:
        leases.record_heartbeat(connection, "api", "host:1", START, {"model_version": 1})
        leases.record_heartbeat(connection, "api", "host:1", START + LIFE, {"model_version": 2})
        leases.record_heartbeat(connection, "watcher", "host:1", START, {})
    with database.read() as connection:
        assert [(row.component, row.at) for row in leases.recent_heartbeats(connection, START)] == [
            ("api", START + LIFE),
            ("watcher", START),
        ]
        [api] = leases.recent_heartbeats(connection, START + LIFE)
        assert leases.recent_heartbeats(connection, START + LIFE + INSTANT) == []
    assert (api.instance, api.details) == ("host:1", {"model_version": 2})


def test_two_signs_of_life_of_one_process_at_once_are_both_taken(database: Database) -> None:
    beat = writing(database, lambda connection: leases.record_heartbeat(connection, "api", "host:1", START, {}))
    assert together(*[beat] * 6) == [None] * 6
    with database.read() as connection:
        assert len(leases.recent_heartbeats(connection, START)) == 1
