"""The keys a server knows follow the database, and outlive its absence."""

from collections.abc import Iterator

import pytest

from mlplatform.auth.api_key import PresentedKey, parse
from mlplatform.auth.api_key_cache import ApiKeyCache
from mlplatform.context import AppContext
from mlplatform.operations.operator_actions import create_key, describe_keys, revoke_key
from tests.support.api_server import Flaky
from tests.support.waiting import eventually


def shown(text: str) -> PresentedKey:
    found = parse(text)
    assert found is not None
    return found


@pytest.fixture
def ring(lite: AppContext) -> Iterator[ApiKeyCache]:
    made = ApiKeyCache(
        lambda: lite.database, lite.clock, refresh_seconds=0.05, min_refresh_seconds=0.01, write_seconds=0.0
    )
    yield made
    made.close()


def test_a_new_key_is_found_and_a_revoked_one_dies_within_a_reading(lite: AppContext, ring: ApiKeyCache) -> None:
    ring.start()
    text, key = create_key(lite, "ada", ["predict"], None, "cli")
    ring.request_refresh()
    eventually(lambda: ring.find(shown(text)) == key)
    revoke_key(lite, key.id, "cli")

    def dead() -> bool:
        found = ring.find(shown(text))
        return found is not None and found.inactive_reason(lite.clock()) == "revoked"

    eventually(dead)


def test_a_database_that_is_away_stops_no_known_key(lite: AppContext, ring: ApiKeyCache, flaky: Flaky) -> None:
    text, key = create_key(lite, "ada", ["predict"], None, "cli")
    ring.start()
    flaky.away = True
    assert not ring.refresh()
    assert ring.find(shown(text)) == key
    flaky.away = False


def test_without_a_first_reading_it_is_not_ready(ring: ApiKeyCache, flaky: Flaky) -> None:
    flaky.away = True
    ring.start()
    assert not ring.ready
    flaky.away = False
    eventually(lambda: ring.ready)


def test_a_use_is_written_later_and_not_by_the_request(lite: AppContext, ring: ApiKeyCache) -> None:
    text, _ = create_key(lite, "ada", ["predict"], None, "cli")
    assert ring.refresh()
    assert ring.find(shown(text)) is not None
    assert describe_keys(lite)[0].last_used_at is None
    ring.close()
    assert describe_keys(lite)[0].last_used_at is not None
