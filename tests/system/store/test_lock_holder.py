"""Who waits for SQLite's write lock in vain is told which process holds it, and what frees it."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.errors import StoreUnavailableError
from mlplatform.store.database import Database
from mlplatform.store.lock_holder import PROC_LOCKS, LockHolder, write_lock_holder

pytestmark = pytest.mark.skipif(not PROC_LOCKS.is_file(), reason="the system lists no locks")
HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
connection.execute("SELECT * FROM sqlite_master").fetchall()
print("begun", flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    made = Database(f"sqlite:///{tmp_path}/platform.db")
    with made.read() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")  # of the one connection that the pool keeps
    yield made
    made.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "platform.db"


def begun(path: Path, statement: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path), statement], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    return child


def ended(child: subprocess.Popen[bytes]) -> None:
    child.kill()
    child.communicate()


def stopped(child: subprocess.Popen[bytes]) -> None:
    os.kill(child.pid, signal.SIGSTOP)
    while (holder := write_lock_holder(Path(child.args[3]))) is None or holder.state != "T":  # type: ignore[index, arg-type]
        time.sleep(0.01)


def test_a_process_stopped_inside_a_transaction_is_named_with_what_frees_the_lock(
    database: Database, path: Path
) -> None:
    child = begun(path, "BEGIN IMMEDIATE")
    try:
        stopped(child)
        remedy = f"process {child.pid} .* is stopped: `kill -CONT {child.pid}`"
        with pytest.raises(StoreUnavailableError, match=remedy), database.write():
            pass
    finally:
        ended(child)
    with database.write():
        assert write_lock_holder(path) == LockHolder(os.getpid(), "R")


def test_a_process_that_is_at_work_is_named_without_a_remedy(database: Database, path: Path) -> None:
    child = begun(path, "BEGIN IMMEDIATE")
    try:
        said = f"process {child.pid} holds its write lock\\)"
        with pytest.raises(StoreUnavailableError, match=said) as caught, database.write():
            pass
        assert "kill" not in str(caught.value)
    finally:
        ended(child)


def test_a_process_that_reads_holds_no_write_lock(database: Database, path: Path) -> None:
    child = begun(path, "BEGIN")
    try:
        assert write_lock_holder(path) is None
        with database.write():
            pass
    finally:
        ended(child)


def test_to_ask_frees_no_lock_of_this_process(database: Database, path: Path) -> None:
    with database.write():
        assert write_lock_holder(path) is not None
        other = sqlite3.connect(path, timeout=0.05)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
        other.close()


def test_a_system_that_lists_no_locks_and_a_file_that_is_not_there_name_nobody(tmp_path: Path, path: Path) -> None:
    assert write_lock_holder(path, tmp_path / "none") is None
    assert write_lock_holder(tmp_path / "other.db") is None


def test_lines_of_other_files_and_bytes_and_of_waiting_processes_are_passed_over(
    database: Database, path: Path, tmp_path: Path
) -> None:
    with database.write():
        line = next(
            each for each in PROC_LOCKS.read_text().splitlines() if f" {os.getpid()} " in each and " 120 120" in each
        )
    number, *words = line.split()
    file = words[4]
    locks = tmp_path / "locks"
    locks.write_text(
        f"1: -> POSIX ADVISORY WRITE 41 {file} 120 120\n1: FLOCK ADVISORY WRITE 42 {file} 0 EOF\n"
        f"1: POSIX ADVISORY READ 43 {file} 120 120\n1: POSIX ADVISORY WRITE 44 {file} 123 127\n"
        f"1: POSIX ADVISORY WRITE 45 fe:00:1 120 120\n1: POSIX ADVISORY WRITE 0 {file} 120 120\n"
    )
    assert write_lock_holder(path, locks) is None
    with locks.open("a") as more:
        more.write(f"{number} {' '.join(words).replace(f' {os.getpid()} ', ' 999999999 ')}\n")
    assert write_lock_holder(path, locks) == LockHolder(999999999, "")
