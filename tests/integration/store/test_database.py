"""The database: both dialects, migrations, failures with a remedy."""

import gc
import sqlite3
import threading
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, MetaData, Table, event, text

from mlplatform.audit import audit_entries
from mlplatform.errors import SettingsError, StoreUnavailableError
from mlplatform.store.database import Database, _alembic_config, before_commit, insert_new, is_known_revision
from mlplatform.store.tables.audit import audit_log
from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.tables.predictions import inputs
from tests.support.platform_world import START
from tests.support.store_rows import verify_audit_log

pytestmark = pytest.mark.both_databases


def test_the_migrations_make_exactly_the_tables_of_the_schema(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), outcomes.metadata) == []
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
    assert str(caught.value).count("did not answer") == 1
    assert "secret" not in str(caught.value)


def test_a_reader_sees_one_snapshot_however_much_is_written_meanwhile(database: Database) -> None:
    with database.read() as reader:
        assert audit_entries.recent_entries(reader) == []
        with database.write() as writer:
            audit_entries.append(writer, "ada", "look", "clock", START)
        assert audit_entries.recent_entries(reader) == []
    with database.read() as reader:
        assert len(audit_entries.recent_entries(reader)) == 1


def test_what_a_reader_writes_is_not_kept_and_spoils_no_later_write(database: Database) -> None:
    with database.read() as reader:
        audit_entries.append(reader, "ada", "look", "clock", START)
    with database.write() as writer:
        assert audit_entries.recent_entries(writer) == []
        audit_entries.append(writer, "ada", "look", "clock", START)
    with database.read() as reader:
        assert len(audit_entries.recent_entries(reader)) == 1


def test_rows_that_are_new_are_counted_in_small_and_in_many_batches(database: Database) -> None:
    rows = [{"hash": f"{n:064}", "content": b"", "form": "28x28", "at": START} for n in range(2500)]
    with database.write() as connection:
        assert insert_new(connection, inputs, []) == 0
        assert insert_new(connection, inputs, rows[:1]) == 1
        assert insert_new(connection, inputs, rows[:1]) == 0
        assert insert_new(connection, inputs, rows) == 2499
        assert insert_new(connection, inputs, rows) == 0


def test_what_is_put_off_is_done_once_together_before_the_commit(database: Database) -> None:
    done: list[list[int]] = []

    def work(connection: Connection, items: list[int]) -> None:
        done.append(items)
        if items == [1, 2]:
            before_commit(connection, work, 3)

    with database.write() as connection:
        before_commit(connection, work, 1)
        before_commit(connection, work, 2)
        assert done == []
    assert done == [[1, 2], [3]]
    with pytest.raises(ZeroDivisionError), database.write() as connection:
        before_commit(connection, work, 4 // 0)
    with database.read() as connection:
        before_commit(connection, work, 5)
    assert done == [[1, 2], [3], [5]]


def test_tables_of_a_newer_version_are_left_alone_and_said_to_be_that(database: Database) -> None:
    known = database.revision()[1]
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    try:
        with pytest.raises(SettingsError, match=f"newer version.*9999.*{known}"):
            database.upgrade()
        assert database.revision() == ("9999", known)
    finally:
        with database.write() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :known"), {"known": known})


def test_migrations_that_cannot_be_read_say_nothing_of_the_tables(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "versions").mkdir()
    config = _alembic_config()
    config.set_main_option("script_location", str(tmp_path))
    monkeypatch.setattr("mlplatform.store.database._alembic_config", lambda: config)
    for ask in (database.upgrade, database.revision, lambda: is_known_revision("0001")):
        with pytest.raises(StoreUnavailableError, match=r"no migration can be read.*install the package again"):
            ask()


def test_entries_from_before_the_chain_are_chained_as_they_are_found(tmp_path: Path) -> None:
    old = Database(f"sqlite:///{tmp_path / 'old.db'}")
    with old.write() as connection:
        config = _alembic_config()
        config.attributes["connection"] = connection
        command.upgrade(config, "0011")
        entry = {"at": START, "actor": "ada", "action": "look", "subject": "clock"}
        known = [column for column in audit_log.columns if column.name not in ("number", "hash")]
        table = Table("audit_log", MetaData(), *(column._copy() for column in known))
        connection.execute(table.insert(), [entry | {"details": {"n": n, "x": [0.1, "ü"]}} for n in range(3)])
    old.upgrade()
    with old.write() as connection:
        audit_entries.append(connection, "ada", "look", "clock", START)
    report = verify_audit_log(old)
    assert (report.entries, report.faults) == (4, [])
    old.close()


def test_a_database_that_nobody_holds_gives_its_connections_back(tmp_path: Path) -> None:
    """Python 3.13 warns of a SQLite connection that is forgotten while it is open."""
    database, closed = Database(f"sqlite:///{tmp_path / 'platform.db'}"), list[object]()
    event.listen(database._engine, "close", lambda connection, _record: closed.append(connection))
    with database.write() as connection:
        connection.execute(text("CREATE TABLE t (x)"))
    assert closed == []
    del database
    gc.collect()
    assert len(closed) == 1
