"""Lost predictions are told once, and again when there are ten times as many."""

import pytest

from mlplatform.build import Parts
from mlplatform.losses import post_losses
from mlplatform.store import leases, outbox
from tests.mlplatform.loop_world import with_rules


@pytest.fixture
def world(parts: Parts) -> Parts:
    return with_rules(parts)


def beat(parts: Parts, dropped: int, refused: int = 0, component: str = "api") -> int:
    """A server says what it lost; returns how many notices are new."""
    details = {"recorder": {"dropped": dropped, "refused": refused}}
    with parts.database.write() as connection:
        leases.beat(connection, component, "host:1:a", parts.clock(), details)
        return post_losses(connection, parts)


def test_nothing_lost_is_no_news_and_a_loss_is_told_to_each_channel_once(world: Parts) -> None:
    assert beat(world, 0) == 0
    told = beat(world, 3)
    assert told > 0
    assert beat(world, 9) == 0
    assert beat(world, 10) == told
    with world.database.read() as connection:
        kept = outbox.undelivered(connection)
    assert len(kept) == 2 * told
    assert {each.payload["kind"] for each in kept} == {"recording-lost"}
    assert {each.model_name for each in kept} == {"digits"}


def test_refusals_are_told_too_and_other_processes_say_nothing(world: Parts) -> None:
    assert beat(world, 0, 4) > 0
    assert beat(world, 7, component="watcher") == 0
