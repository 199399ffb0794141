"""A database file that was removed or replaced under a running process is noticed before anything counts as written."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from mlplatform.errors import StoreUnavailableError
from mlplatform.store.database import Database, database_file
from mlplatform.store.file_identity import StoreReplacedError, journal_path, may_be_running, read_replacements

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path, sqlite_template: Path) -> Path:
    made = tmp_path / "home" / "platform.db"
    made.parent.mkdir()
    shutil.copy(sqlite_template, made)
    return made


@pytest.fixture
def opened(path: Path) -> Database:
    made = Database(f"sqlite:///{path}")
    with made.write() as connection:
        connection.execute(text("CREATE TABLE counted (n INTEGER)"))
    return made


def write(database: Database, number: int = 1) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO counted VALUES (:n)"), {"n": number})


def removed(path: Path) -> None:
    path.unlink()


def restored(path: Path) -> None:
    shutil.copy(path, path.with_name("backup"))
    path.with_name("backup").replace(path)


def wholly_restored(path: Path) -> None:
    restored(path)
    for ending in ("-wal", "-shm"):
        Path(f"{path}{ending}").unlink()


def without_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def without_shared_memory(path: Path) -> None:
    Path(f"{path}-shm").unlink()


def home_moved(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def home_replaced(path: Path) -> None:
    home_moved(path)
    shutil.copytree(path.parent.with_name("elsewhere"), path.parent)


def noticed(database: Database) -> bool:
    return database.is_file_replaced


WAYS = (removed, restored, wholly_restored, without_log, without_shared_memory, home_moved, home_replaced)


@pytest.mark.parametrize("happen", WAYS)
def test_neither_reads_nor_writes_go_on_and_it_is_written_down_once(
    opened: Database, path: Path, happen: Callable[[Path], None]
) -> None:
    write(opened)
    assert not noticed(opened)
    happen(path)
    for _ in range(3):
        with pytest.raises(StoreReplacedError, match="restart"):
            write(opened)
        with pytest.raises(StoreReplacedError), opened.read() as connection:
            connection.execute(text("SELECT 1"))
    assert noticed(opened)
    if happen is not home_moved:
        [found] = read_replacements(path, LONG_AGO)
        assert (found.pid, found.back) == (os.getpid(), False)
        assert may_be_running(found)
        assert not may_be_running(replace(found, pid=4194999))
        assert journal_path(path).stat().st_mode & 0o777 == 0o600
        assert len(journal_path(path).read_text().splitlines()) == 1
        assert read_replacements(path, datetime.now(UTC) + timedelta(seconds=5)) == []


@pytest.mark.parametrize("happen", [removed, restored, wholly_restored, home_moved])
def test_what_happens_amid_a_transaction_makes_it_count_as_not_written(
    opened: Database, path: Path, happen: Callable[[Path], None]
) -> None:
    def written() -> None:
        with opened.write() as connection:
            connection.execute(text("INSERT INTO counted VALUES (7)"))
            happen(path)

    with pytest.raises(StoreReplacedError):
        written()
    again = Database(f"sqlite:///{path.parent.with_name('elsewhere') / path.name if happen is home_moved else path}")
    again.upgrade()
    assert not again.is_file_replaced


def test_no_file_is_made_in_the_place_of_one_that_was_removed(opened: Database, path: Path) -> None:
    with opened._engine.connect() as busy:  # so that the pool must make another connection
        busy.execute(text("SELECT 1"))
        path.unlink()
        with pytest.raises(StoreReplacedError):
            write(opened)
        assert not path.exists()


def test_a_file_that_was_put_back_is_written_to_again(opened: Database, path: Path) -> None:
    path.rename(path.with_name("aside"))
    with pytest.raises(StoreReplacedError):
        write(opened)
    path.with_name("aside").rename(path)
    write(opened, 2)
    assert not opened.is_file_replaced
    assert [found.back for found in read_replacements(path, LONG_AGO)] == [True]
    with opened.read() as connection:
        assert connection.execute(text("SELECT n FROM counted")).scalars().all() == [2]


def test_the_log_of_a_database_that_all_others_closed_and_opened_again_is_no_other_file(path: Path) -> None:
    one = Database(f"sqlite:///{path}")
    for _ in range(3):
        with one.write() as connection:
            connection.execute(text("CREATE TABLE IF NOT EXISTS counted (n INTEGER)"))
        one.close()
        other = sqlite3.connect(path)
        other.execute("INSERT INTO counted VALUES (1)")
        other.commit()
        other.close()
        with one.read() as connection:
            connection.execute(text("SELECT n FROM counted")).all()
    assert not one.is_file_replaced
    assert not journal_path(path).exists()


def test_a_log_that_was_there_before_a_connection_was_used_is_not_its_own(path: Path) -> None:
    """While a new database is made by several processes, SQLite removes the log of one that closes first."""
    one = Database(f"sqlite:///{path}")
    with one.read():
        Path(f"{path}-wal").touch()
    Path(f"{path}-wal").unlink()
    with one.write() as connection:
        connection.execute(text("CREATE TABLE counted (n INTEGER)"))
    write(one)
    assert not one.is_file_replaced


def test_vacuum_checkpoints_and_large_writes_of_others_change_no_file(opened: Database, path: Path) -> None:
    for _ in range(3):
        other = sqlite3.connect(path, timeout=10)
        other.executemany("INSERT INTO counted VALUES (?)", [(number,) for number in range(20_000)])
        other.commit()
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        other.execute("VACUUM")
        other.close()
        write(opened)
    assert not opened.is_file_replaced


def test_a_file_that_cannot_be_asked_for_is_away_and_not_replaced(tmp_path: Path, sqlite_template: Path) -> None:
    loop = tmp_path / "loop"
    target = tmp_path / "real.db"
    shutil.copy(sqlite_template, target)
    loop.symlink_to(target)
    database = Database(f"sqlite:///{loop}")
    with database.read() as connection:
        connection.execute(text("SELECT 1"))
    loop.unlink()
    loop.symlink_to(loop)  # ELOOP, as transient as any other error
    with pytest.raises(StoreUnavailableError) as away:
        write(database)
    assert not isinstance(away.value, StoreReplacedError)
    assert not database.is_file_replaced


def test_only_a_database_in_a_file_has_a_file() -> None:
    assert database_file("sqlite:///a/b.db") == Path("a/b.db")
    assert database_file("sqlite://") is None
    assert database_file("sqlite:///:memory:") is None
    assert database_file("postgresql+psycopg://user@host/database") is None
