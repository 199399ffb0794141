"""API keys as rows, on both databases."""

from dataclasses import replace
from datetime import timedelta

import pytest

from mlplatform.audit import audit_entries
from mlplatform.auth import api_keys
from mlplatform.auth.api_key import ApiKey, generate
from mlplatform.errors import ConflictError, NotFoundError
from mlplatform.store.database import Database
from tests.support.platform_world import START

pytestmark = pytest.mark.both_databases


def made(name: str = "ada", **terms: object) -> ApiKey:
    _, shown = generate()
    return replace(ApiKey(shown.id, name, shown.digest, ("predict", "audit"), START, "cli"), **terms)  # type: ignore[arg-type]


def test_a_key_comes_back_as_it_went_in_and_its_making_is_noted(database: Database) -> None:
    key = made(expires_at=START + timedelta(days=1))
    with database.write() as connection:
        api_keys.add(connection, key)
    with database.read() as connection:
        assert api_keys.list_keys(connection) == [key]
        [entry] = audit_entries.recent_entries(connection)
    assert (entry["actor"], entry["action"], entry["subject"]) == ("cli", "create-key", f"key/{key.id}")
    assert key.digest not in str(entry)


def test_a_key_is_revoked_once(database: Database) -> None:
    key = made()
    with database.write() as connection:
        api_keys.add(connection, key)
        api_keys.revoke(connection, key.id, "bob", START)
    with database.read() as connection:
        assert api_keys.list_keys(connection)[0].inactive_reason(START) == "revoked"
        assert audit_entries.recent_entries(connection)[0]["actor"] == "bob"
    with pytest.raises(ConflictError, match="was revoked"), database.write() as connection:
        api_keys.revoke(connection, key.id, "bob", START)
    with pytest.raises(NotFoundError, match="keys list"), database.write() as connection:
        api_keys.revoke(connection, "nobody", "bob", START)


def test_the_newest_use_is_kept_whatever_the_order(database: Database) -> None:
    key, later = made(), START + timedelta(minutes=1)
    with database.write() as connection:
        api_keys.add(connection, key)
        api_keys.record_use(connection, {key.id: later})
        api_keys.record_use(connection, {key.id: START, "gone": START})
    with database.read() as connection:
        assert api_keys.list_keys(connection)[0].last_used_at == later
