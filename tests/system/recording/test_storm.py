"""Servers killed and the database stopped at random under load: what was answered is in the table, once."""

import os
from pathlib import Path

import pytest

from mlplatform.host.processes import ManagedProcess, free_port
from tests.support.platform_processes import World, behind_a_door
from tests.support.storm import Locked, Outcome, Stoppable, Storm, compared, settled
from tests.support.tcp_proxy import TcpProxy

SECONDS = float(os.environ.get("PLATFORM_TEST_STORM_SECONDS", "8"))


class Shut:
    """PostgreSQL behind a door."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.stop, self.resume = proxy.shut, proxy.reopen


def stormed(world: World, database: Stoppable, spools: Path) -> Outcome:
    """A storm over two servers of this world, and what is left when it has passed."""

    def start(port: int) -> ManagedProcess:
        return world.start(f"api-{port}", "serve", "--port", str(port), PLATFORM_LOG_LEVEL="warning")

    storm = Storm(
        (free_port(), free_port()),
        start,
        world.kill,
        database,
        clients=3,
        least=50,
        least_faults=2,
        calm=(0.3, 1.5),
        away=(0.3, 1.5),
    )
    ledgers = storm.run(SECONDS)
    settled(spools, 60)
    world.fleet.stop()
    return compared(world.context.database, ledgers, storm)


def nothing_was_lost(outcome: Outcome) -> None:
    assert outcome.acknowledged > 20
    assert outcome.kills >= 2
    assert outcome.database_stops >= 2
    assert (outcome.lost, outcome.doubled, outcome.mistallied) == (0, 0, 0), outcome


@pytest.mark.timeout(400)
def test_a_storm_over_sqlite_loses_and_doubles_nothing_that_was_answered(world: World) -> None:
    nothing_was_lost(stormed(world, Locked(world.context.database), world.context.settings.spool_folder))


@pytest.mark.timeout(400)
@pytest.mark.postgres
def test_a_storm_over_postgres_loses_and_doubles_nothing_that_was_answered(world: World) -> None:
    with behind_a_door(world) as (moved, proxy):
        nothing_was_lost(stormed(moved, Shut(proxy), world.context.settings.spool_folder))
