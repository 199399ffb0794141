"""The database: both dialects, migrations, failures with a remedy."""

import sqlite3
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from mlplatform.errors import SettingsError, StoreUnavailableError
from mlplatform.store import audit
from mlplatform.store.database import Database, insert_new
from mlplatform.store.schema import images
from mlplatform.store.schema_watch import judged
from tests.mlplatform.conftest import START


def test_the_migrations_make_exactly_the_tables_of_the_schema(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), judged.metadata) == []
    assert database.revision()[0] == database.revision()[1]


def test_processes_that_start_at_once_upgrade_once(tmp_path: object) -> None:
    url = f"sqlite:///{tmp_path}/new.db"
    failures: list[BaseException] = []

    def start() -> None:
        try:
            made = Database(url)
            made.upgrade()
            made.close()
        except BaseException as error:  # noqa: BLE001 - collected for the assertion
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_a_new_file_that_another_process_writes_to_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE early (x)")
    other.execute("BEGIN IMMEDIATE")  # which makes SQLite refuse a change of journal at once
    release = threading.Timer(0.2, other.close)
    release.start()
    made = Database(f"sqlite:///{path}")
    made.upgrade()
    made.close()
    release.join()


def test_a_url_that_is_none_names_the_setting_and_hides_the_password() -> None:
    with pytest.raises(SettingsError, match="PLATFORM_DATABASE_URL") as caught:
        Database("nosuch://me:secret@host/db")
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_a_typed_error_without_the_password() -> None:
    away = Database("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError, match="platform doctor") as caught, away.read() as connection:
        connection.execute(text("SELECT 1"))
    assert "secret" not in str(caught.value)


def test_a_reader_sees_one_snapshot_however_much_is_written_meanwhile(database: Database) -> None:
    with database.read() as reader:
        assert audit.entries(reader) == []
        with database.write() as writer:
            audit.note(writer, "ada", "look", "clock", START)
        assert audit.entries(reader) == []
    with database.read() as reader:
        assert len(audit.entries(reader)) == 1


def test_what_a_reader_writes_is_not_kept_and_spoils_no_later_write(database: Database) -> None:
    with database.read() as reader:
        audit.note(reader, "ada", "look", "clock", START)
    with database.write() as writer:
        assert audit.entries(writer) == []
        audit.note(writer, "ada", "look", "clock", START)
    with database.read() as reader:
        assert len(audit.entries(reader)) == 1


def test_rows_that_are_new_are_counted_in_small_and_in_many_batches(database: Database) -> None:
    rows = [{"hash": f"{n:064}", "png": b"", "at": START} for n in range(2500)]
    with database.write() as connection:
        assert insert_new(connection, images, []) == 0
        assert insert_new(connection, images, rows[:1]) == 1
        assert insert_new(connection, images, rows[:1]) == 0
        assert insert_new(connection, images, rows) == 2499
        assert insert_new(connection, images, rows) == 0
