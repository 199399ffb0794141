"""A leader paused, or cut off from its database: another leads, its late writes are refused, nothing doubles."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime, timedelta
from functools import partial

import pytest
from sqlalchemy import func, make_url, select

from mlplatform.alerting import alert_records, outbox
from mlplatform.clock import EPOCH, utc_now
from mlplatform.errors import FencedError
from mlplatform.host.processes import ManagedProcess
from mlplatform.retraining import retraining_queue
from mlplatform.store import leases
from mlplatform.store.database import Database
from mlplatform.store.leadership import leader_lease_name
from mlplatform.store.tables.alerting import evaluations
from tests.support.platform_processes import World, behind_a_door, on_postgres, stop
from tests.support.platform_world import schema_of_its_own

HOOK = {"PLATFORM_WEBHOOK_URL": "http://127.0.0.1:9/none", "PLATFORM_WEBHOOK_SECRET": "whsec_" + "A" * 32}


def leader(world: World) -> str | None:
    with world.context.database.read() as connection:
        return leases.current_holder(connection, leader_lease_name("digits"), world.context.clock())


def latest(world: World) -> leases.Lease:
    """The lease as it stands, whether or not it has expired."""
    with world.context.database.write() as connection:
        lease = leases.lock_lease(connection, leader_lease_name("digits"))
    assert lease is not None
    return lease


def leads(world: World, child: ManagedProcess) -> bool:
    holder = leader(world)
    return holder is not None and f":{child.process.pid}:" in holder


def last_sign_of_life(world: World, child: ManagedProcess) -> datetime:
    """When a watcher last wrote that it lives."""
    with world.context.database.read() as connection:
        signs = leases.recent_heartbeats(connection, EPOCH)
    return max((sign.at for sign in signs if f":{child.process.pid}:" in sign.instance), default=EPOCH)


def evaluated(world: World) -> int:
    with world.context.database.read() as connection:
        return connection.scalar(select(func.count()).select_from(evaluations)) or 0


def nothing_is_doubled(world: World) -> None:
    with world.context.database.read() as connection:
        per_slot = select(func.count()).select_from(evaluations).group_by(evaluations.c.rule, evaluations.c.slot)
        assert set(connection.scalars(per_slot)) == {1}
        told = [message.idempotency_key for message in outbox.recent_messages(connection)]
        fired = [
            row for row in alert_records.list_alerts(connection, include_closed=True) if row.rule == "accuracy-drop"
        ]
        asked = [
            row for row in retraining_queue.recent(connection) if row.alert_id is not None and row.rerun_of is None
        ]
    assert len(told) == len(set(told))
    assert len({row.id for row in fired if row.model_version == 1}) == 1
    assert len({row.alert_id for row in asked}) == len(asked)


def test_a_paused_leader_is_replaced_on_sqlite(world: World) -> None:
    replaced_while_paused(world)


@pytest.mark.postgres
def test_a_paused_leader_is_replaced_on_postgres(world: World) -> None:
    with on_postgres(world) as moved:
        replaced_while_paused(moved)


def replaced_while_paused(world: World) -> None:
    """Twice in turn the leader is stopped past its lease, then let go on."""
    world.record(120, right=0.5)
    watchers = [world.start_watcher(f"watcher-{number}", **HOOK) for number in (1, 2)]
    for _ in range(2):
        paused = paused_leader(world, watchers)
        lost = latest(world)
        other = next(each for each in watchers if each is not paused)
        try:
            world.wait("another leader", lambda other=other: leads(world, other), seconds=120)  # type: ignore[misc]
            taken = latest(world)
            before = evaluated(world)
            world.wait("its evaluations", lambda before=before: evaluated(world) > before, seconds=120)  # type: ignore[misc]
        finally:
            os.kill(paused.process.pid, signal.SIGCONT)
        at_work = utc_now() + timedelta(seconds=1.5)  # three signs of life, so that it has asked for the lease too
        world.wait("the former leader at work", partial(_has_lived_until, world, paused, at_work))
        assert taken.fence > lost.fence
        now = latest(world)
        assert now == taken or now.fence > taken.fence, "a lease that was lost stays lost: it is only ever taken anew"
        with world.context.database.write() as connection, pytest.raises(FencedError):
            leases.require_lease(connection, lost)
    assert world.fleet.find_exited() is None
    nothing_is_doubled(world)


def _has_lived_until(world: World, child: ManagedProcess, moment: datetime) -> bool:
    return last_sign_of_life(world, child) > moment


def paused_leader(world: World, watchers: list[ManagedProcess]) -> ManagedProcess:
    """The leader, stopped at a moment when it does not hold SQLite's write lock, which nobody could take from it."""
    while True:
        world.wait("a leader", lambda: any(leads(world, each) for each in watchers))
        paused = next((each for each in watchers if leads(world, each)), None)
        if paused is None:
            continue
        stop(paused.process.pid)
        if others_can_write(world.context.database):
            return paused
        os.kill(paused.process.pid, signal.SIGCONT)
        time.sleep(0.1)


def others_can_write(database: Database) -> bool:
    if not database.is_sqlite:
        return True  # the server frees the locks itself: see the next test
    path = make_url(database.url).database
    assert path is not None
    connection = sqlite3.connect(path, timeout=1, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return False
    finally:
        connection.close()
    return True


LOCK = """
import sys, time
from datetime import timedelta
from pathlib import Path
from mlplatform.clock import utc_now
from mlplatform.store import leases
from mlplatform.store.database import Database
with Database(sys.argv[1]).write() as connection:
    lease = leases.acquire(connection, "watcher:digits", "paused", timedelta(seconds=1), utc_now())
    print("locked", flush=True)
    time.sleep(120)
"""


@pytest.mark.postgres
def test_locks_of_a_process_paused_inside_a_transaction_are_freed() -> None:
    with schema_of_its_own() as url:
        database = Database(url)
        database.upgrade()
        path = os.pathsep.join(entry for entry in sys.path if entry)
        child = subprocess.Popen(
            [sys.executable, "-c", LOCK, url], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
        )
        assert child.stdout is not None
        assert child.stdout.readline() == b"locked\n"
        stop(child.pid)
        try:
            now = utc_now() + timedelta(seconds=5)
            with database.write() as connection:
                taken = leases.acquire(connection, "watcher:digits", "me", timedelta(seconds=1), now)
            assert taken is not None
        finally:
            child.kill()
            child.wait()
            child.stdout.close()
            database.close()


@pytest.mark.postgres
def test_a_database_that_was_away_finds_the_watchers_at_work_again(world: World) -> None:
    with behind_a_door(world) as (moved, proxy):
        moved.record(120, right=0.5)
        watchers = [moved.start_watcher(f"watcher-{number}", **HOOK) for number in (1, 2)]
        moved.wait("evaluations", lambda: evaluated(moved) > 3)
        proxy.shut()
        moved.wait("no leader", lambda: leader(moved) is None)
        moved.wait(
            "both are told that it is away", lambda: all("did not answer" in each.log.read_text() for each in watchers)
        )
        assert moved.fleet.find_exited() is None
        before = evaluated(moved)
        proxy.reopen()
        moved.wait("evaluations again", lambda: evaluated(moved) > before + 3, seconds=60)
        moved.wait("a leader", lambda: any(leads(moved, each) for each in watchers), seconds=30)
        assert moved.fleet.find_exited() is None
        nothing_is_doubled(moved)
