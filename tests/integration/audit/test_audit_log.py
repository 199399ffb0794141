"""The audit log: newest first, and an entry falls with the act it tells of."""

from datetime import timedelta

import pytest
from sqlalchemy import Connection

from mlplatform.audit import audit_entries
from mlplatform.store.database import Database
from tests.support.platform_world import START
from tests.support.store_rows import writing

pytestmark = pytest.mark.both_databases


def test_entries_come_newest_first_up_to_the_limit(database: Database) -> None:
    with database.write() as connection:
        for minute in range(3):
            moment = START + timedelta(minutes=minute)
            audit_entries.append(
                connection, "ada", "promote", f"digits/{minute}", moment, {"from": None, "why": "better"}
            )
    with database.read() as connection:
        newest, second = audit_entries.recent_entries(connection, limit=2)
    assert (newest["subject"], second["subject"]) == ("digits/2", "digits/1")
    assert newest["details"] == {"from": None, "why": "better"}
    assert newest["seq"] > second["seq"]


def test_an_entry_without_details_has_none(database: Database) -> None:
    with database.write() as connection:
        audit_entries.append(connection, "ada", "acknowledge", "alert/1", START)
    with database.read() as connection:
        assert audit_entries.recent_entries(connection)[0]["details"] == {}


def test_an_act_that_fails_leaves_no_entry(database: Database) -> None:
    def act(connection: Connection) -> None:
        audit_entries.append(connection, "ada", "promote", "digits/2", START)
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        writing(database, act)()
    with database.read() as connection:
        assert audit_entries.recent_entries(connection) == []
