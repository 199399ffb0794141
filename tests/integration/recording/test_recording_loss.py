"""Lost predictions are told once, and again when there are ten times as many."""

from pathlib import Path

import pytest

from mlplatform.alerting import outbox
from mlplatform.alerting.recording_loss import notify_recording_loss
from mlplatform.clock import utc_now
from mlplatform.context import AppContext
from mlplatform.store import leases
from mlplatform.store.database import Database
from mlplatform.store.file_identity import StoreReplacedError
from tests.support.monitoring_world import with_rules


@pytest.fixture
def world(context: AppContext) -> AppContext:
    return with_rules(context)


def beat(
    context: AppContext, dropped: int, refused: int = 0, component: str = "api", model: str = "digits", **more: object
) -> int:
    """A server says what it lost; returns how many notices are new."""
    details = {"recorder": {"dropped": dropped, "refused": refused, **more}, "model": model}
    with context.database.write() as connection:
        leases.record_heartbeat(connection, component, "host:1:a", context.clock(), details)
        return notify_recording_loss(connection, context)


def test_nothing_lost_is_no_news_and_a_loss_is_told_to_each_channel_once(world: AppContext) -> None:
    assert beat(world, 0) == 0
    told = beat(world, 3)
    assert told > 0
    assert beat(world, 9) == 0
    assert beat(world, 10) == told
    with world.database.read() as connection:
        kept = outbox.list_undelivered(connection)
    assert len(kept) == 2 * told
    assert {each.payload["kind"] for each in kept} == {"recording-lost"}
    assert {each.model_name for each in kept} == {"digits"}


def test_refusals_are_told_too_and_other_processes_say_nothing(world: AppContext) -> None:
    assert beat(world, 0, 4) > 0
    assert beat(world, 7, component="watcher") == 0


@pytest.mark.both_databases
def test_what_was_set_aside_is_told_once_for_all_servers_of_a_disk_and_again_when_it_happens_again(
    world: AppContext,
) -> None:
    told = beat(world, 0, set_aside=3, aside_since="2026-01-01T10:00:00+00:00")
    assert told > 0
    assert beat(world, 0, set_aside=9, aside_since="2026-01-01T10:00:00+00:00") == 0
    with world.database.write() as connection:
        details = {"recorder": {"set_aside": 9, "aside_since": "2026-01-01T10:00:00+00:00"}, "model": "digits"}
        leases.record_heartbeat(connection, "api", "host:2:b", world.clock(), details)
        assert notify_recording_loss(connection, world) == 0, "another server of this host sees the same rows"
    with world.database.write() as connection:
        details["recorder"] = {"set_aside": 9, "aside_since": "2026-01-01T11:00:00+00:00"}
        leases.record_heartbeat(connection, "api", "host:2:b", world.clock(), details)
        assert notify_recording_loss(connection, world) == told, "they were taken back, and others set aside since"


def test_servers_of_another_model_are_told_of_by_its_own_watcher(world: AppContext) -> None:
    assert beat(world, 3, model="characters") == 0


def test_a_replaced_database_file_is_told_once_for_all_processes_that_found_it(
    tmp_path: Path, world: AppContext
) -> None:
    path = tmp_path / "store.db"
    url = f"sqlite:///{path}"
    old = [Database(url), Database(url)]
    for each in old:
        each.upgrade()
    path.rename(path.with_name("old"))
    for each in old:
        with pytest.raises(StoreReplacedError), each.read():
            pass
    moved = world.replace(settings=world.settings.model_copy(update={"database_url": url}), clock=utc_now)
    with world.database.write() as connection:
        told = notify_recording_loss(connection, moved)
        assert told > 0
        assert notify_recording_loss(connection, moved) == 0
        [message, *_] = outbox.list_undelivered(connection)
    assert "the database file was replaced" in str(message.payload)


def test_a_server_that_says_which_model_it_serves_is_told_of_where_that_is(world: AppContext) -> None:
    details = {"model": "letters", "recorder": {"dropped": 7}}
    with world.database.write() as connection:
        leases.record_heartbeat(connection, "api", "host:9:z", world.clock(), details)
        assert notify_recording_loss(connection, world) == 0
        leases.record_heartbeat(connection, "api", "host:9:z", world.clock(), {**details, "model": "digits"})
        assert notify_recording_loss(connection, world) > 0
