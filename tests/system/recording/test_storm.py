"""Servers killed and the database stopped at random under load: what was answered is in the table, once."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from mlplatform.host.processes import ManagedProcess, free_port
from mlplatform.predictions.column_counts import hourly_counts
from mlplatform.store.tables.predictions import predictions
from mlplatform.store.version_contracts import pinned_contract
from pipelines.inputs.column_counter import ColumnCounter
from registry.model_contract import TableInputs
from tests.support.churn_world import COLUMNS, draw_rows
from tests.support.platform_processes import World, behind_a_door
from tests.support.storm import Locked, Outcome, Stoppable, Storm, compared, settled
from tests.support.tcp_proxy import TcpProxy

SECONDS = float(os.environ.get("PLATFORM_TEST_STORM_SECONDS", "8"))


class Shut:
    """PostgreSQL behind a door."""

    def __init__(self, proxy: TcpProxy) -> None:
        self.stop, self.resume = proxy.shut, proxy.reopen


def stormed(world: World, database: Stoppable, spools: Path, **inputs: Any) -> Outcome:  # noqa: ANN401 - of Storm
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
        **inputs,
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


def test_a_storm_over_sqlite_loses_and_doubles_nothing_that_was_answered(world: World) -> None:
    nothing_was_lost(stormed(world, Locked(world.context.database), world.context.settings.spool_folder))


@pytest.mark.postgres
def test_a_storm_over_postgres_loses_and_doubles_nothing_that_was_answered(world: World) -> None:
    with behind_a_door(world) as (moved, proxy):
        nothing_was_lost(stormed(moved, Shut(proxy), world.context.settings.spool_folder))


def every_row_was_counted_once(world: World, outcome: Outcome) -> None:
    """Column by column: as many values as there are rows in the table, missing ones and strange ones among them."""
    nothing_was_lost(outcome)
    with world.context.database.read() as connection:
        contract = pinned_contract(connection, "churn", 1)
        assert contract is not None
        hours = hourly_counts(connection, "churn", 1, [(0, 2**31 - 1)])
        about = connection.scalar(select(func.count()).select_from(predictions).where(predictions.c.subject != ""))
    assert isinstance(contract.inputs, TableInputs)
    counted = ColumnCounter(contract.inputs.columns).split(np.sum(list(hours.values()), axis=0))
    assert {name: int(bins.sum()) for name, bins in counted.items()} == dict.fromkeys(COLUMNS, outcome.recorded)
    assert about == outcome.recorded


def test_a_storm_over_a_table_on_sqlite_loses_and_doubles_nothing(churn: World) -> None:
    spools, database = churn.context.settings.spool_folder, Locked(churn.context.database)
    every_row_was_counted_once(churn, stormed(churn, database, spools, inputs=draw_rows))


@pytest.mark.postgres
def test_a_storm_over_a_table_on_postgres_loses_and_doubles_nothing(churn: World) -> None:
    with behind_a_door(churn) as (moved, proxy):
        spools = churn.context.settings.spool_folder
        every_row_was_counted_once(moved, stormed(moved, Shut(proxy), spools, inputs=draw_rows))
