"""Two watchers and two API servers on one database: one evaluation per slot, one retraining, on both databases."""

import os
from contextlib import ExitStack

import httpx
import pytest
from sqlalchemy import func, select

from mlplatform.host.processes import free_port, http_ok
from mlplatform.promotion import promotion_history
from mlplatform.retraining import retraining_queue
from mlplatform.store.tables.alerting import evaluations
from tests.support.platform_processes import World, on_postgres
from tests.support.traffic import Ledger, client_of
from tests.support.watcher_process import COPIES

SLOTS = int(os.environ.get("PLATFORM_TEST_TOGETHER_SLOTS", "4"))
"""How many evaluations both watchers compete for after the retraining."""


def test_two_of_each_share_the_work_on_sqlite(world: World) -> None:
    share_the_work(world)


@pytest.mark.postgres
def test_two_of_each_share_the_work_on_postgres(world: World) -> None:
    with on_postgres(world) as moved:
        share_the_work(moved)


def share_the_work(world: World) -> None:
    """Two servers with traffic, two watchers, and one thing that needs retraining."""
    world.record(120, right=0.5)
    ports = [free_port(), free_port()]
    for port in ports:
        world.start(f"api-{port}", "serve", "--port", str(port))
    for port in ports:
        world.wait("a model", http_ok(f"http://127.0.0.1:{port}/readyz"))
    ledgers = [Ledger(), Ledger()]
    with ExitStack() as clients:
        for port, ledger in zip(ports, ledgers, strict=True):
            clients.enter_context(client_of(f"http://127.0.0.1:{port}", ledger, pause=0.1))
        for number in (1, 2):
            world.start_watcher(f"watcher-{number}", COPIES)

        def retrained() -> bool:
            with world.context.database.read() as connection:
                return any(row.state not in retraining_queue.OPEN_STATES for row in retraining_queue.recent(connection))

        def slots() -> list[int]:
            with world.context.database.read() as connection:
                per_slot = (
                    select(func.count()).select_from(evaluations).group_by(evaluations.c.rule, evaluations.c.slot)
                )
                return list(connection.scalars(per_slot))

        def versions() -> set[int]:
            return {httpx.get(f"http://127.0.0.1:{port}/readyz").json()["model"]["version"] for port in ports}

        world.wait("the retraining", retrained, seconds=500)
        evaluated = len(slots())
        world.wait("evaluations after it", lambda: len(slots()) > max(5, evaluated + SLOTS), seconds=10 + 20 * SLOTS)
        world.wait("one champion in both servers", lambda: len(versions()) == 1)
    assert world.fleet.find_exited() is None
    with world.context.database.read() as connection:
        rows = [row for row in retraining_queue.recent(connection) if row.alert_id is not None]
        history = promotion_history.promotion_history(connection, "digits")
    assert set(slots()) == {1}
    started_for = [row for row in rows if row.started_at is not None]
    assert len({row.alert_id for row in started_for}) == len(started_for), "one retraining per alert"
    assert len([item for item in history if item.retraining_id is not None]) <= len(started_for)
    assert [ledger.broken for ledger in ledgers] == [0, 0]
    assert len(versions()) == 1, "both servers follow the champion"
