"""PostgreSQL's connections: read-only is away, pools recover by themselves, silence ends, a pooler in between works."""

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sqlalchemy import text

from mlplatform.errors import StoreUnavailableError
from mlplatform.host.processes import free_port
from mlplatform.store.database import Database
from mlplatform.store.timeouts import DatabaseTimeouts, long_statements, reserved_connections
from tests.support.own_database import Own, own_database
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.postgres
SHORT = DatabaseTimeouts(statement_seconds=0.4, lock_seconds=0.2, pool_seconds=0.2, connect_seconds=0.5)


@pytest.fixture
def own() -> Iterator[Own]:
    with own_database() as made:
        with psycopg.connect(make_conninfo(**made.connect)) as server:
            server.execute("CREATE TABLE notes (words text, number int)")
            server.execute("CREATE UNIQUE INDEX once ON notes (words)")
        yield made


@contextmanager
def store(
    url: str, patience: DatabaseTimeouts | None = None, behind: DatabaseTimeouts | None = None
) -> Iterator[Database]:
    made = Database(url, patience, behind)
    try:
        yield made
    finally:
        made.close()


def note(database: Database, words: str) -> None:
    with database.write() as connection:
        connection.execute(text("INSERT INTO notes VALUES (:words, 1)"), {"words": words})


def notes(database: Database) -> set[str]:
    with database.read() as connection:
        return set(connection.scalars(text("SELECT words FROM notes")))


def test_a_server_made_read_only_is_away_and_one_made_writable_again_is_written_to_at_once(own: Own) -> None:
    with store(own.url()) as database:
        note(database, "before")
        own.set_read_only(on=True)
        for _ in range(2):
            with pytest.raises(StoreUnavailableError, match="read-only"):
                note(database, "meanwhile")
        with ExitStack() as several:  # connections that were made while the server was read-only
            for _ in range(4):
                several.enter_context(database.read()).execute(text("SELECT 1"))
        own.set_read_only(on=False)
        with suppress(StoreUnavailableError):
            note(database, "one that may still meet a connection from before")
        for number in range(6):
            note(database, f"after {number}")
        assert {"before", *(f"after {number}" for number in range(6))} <= notes(database)


def test_sessions_cut_off_are_made_anew_without_a_failure(own: Own) -> None:
    with store(own.url()) as database:
        with ExitStack() as several:
            for _ in range(4):
                several.enter_context(database.read()).execute(text("SELECT 1"))
        own.end_sessions()
        for number in range(6):
            note(database, str(number))
        assert len(notes(database)) == 6


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT pg_sleep(30)", "took too long"),
        ("SELECT * FROM nowhere", "tables are not those"),
        ("SELECT nothing FROM notes", "tables are not those"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40001'; END $$", "undid the transaction"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '40P01'; END $$", "undid the transaction"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53100'; END $$", "disk"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '53300'; END $$", "no connections"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '57P03'; END $$", "started"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '58030'; END $$", "system failed"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = 'XX001'; END $$", "inside"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '42501'; END $$", "may not"),
        ("DO $$ BEGIN RAISE EXCEPTION 'x' USING ERRCODE = '26000'; END $$", "pooler"),
        ("SELECT pg_terminate_backend(pg_backend_pid())", "stopped"),
    ],
)
def test_what_is_the_servers_trouble_says_that_it_is_away_and_the_next_transaction_works(
    own: Own, statement: str, words: str
) -> None:
    with store(own.url(), SHORT) as database:
        with pytest.raises(StoreUnavailableError, match=words), database.write() as connection:
            connection.exec_driver_sql(statement)
        note(database, "next")
        assert notes(database) == {"next"}


@pytest.mark.parametrize("statement", ["SELECT 1/0", "INSERT INTO notes VALUES (repeat(md5(random()::text), 9000), 1)"])
def test_what_is_the_datas_fault_is_no_absence_of_the_server(own: Own, statement: str) -> None:
    with (
        store(own.url(), SHORT) as database,
        pytest.raises(Exception, match=r"division|(index|index row) .*(size|too)") as caught,
        database.write() as connection,
    ):
        connection.exec_driver_sql(statement)
    assert not isinstance(caught.value, StoreUnavailableError)


def test_a_lock_is_waited_for_as_long_as_the_patience_says(own: Own) -> None:
    with store(own.url(), SHORT) as database, psycopg.connect(make_conninfo(**own.connect)) as other:
        other.execute("LOCK TABLE notes IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailableError, match="locked"):
            notes(database)
        other.rollback()
        assert notes(database) == set()


def test_work_that_is_long_by_nature_is_given_longer(own: Own) -> None:
    with store(own.url(), DatabaseTimeouts(statement_seconds=0.1, lock_seconds=0.1)) as database:
        with long_statements(), database.write() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(0.3)")
        with pytest.raises(StoreUnavailableError, match="took too long"), database.write() as connection:
            connection.exec_driver_sql("SELECT pg_sleep(30)")


def test_work_behind_requests_has_connections_where_requests_hold_all_of_theirs(own: Own) -> None:
    with store(own.url(), SHORT, DatabaseTimeouts()) as database, ExitStack() as held:

        def hold_all() -> None:
            for _ in range(100):
                held.enter_context(database.read()).execute(text("SELECT 1"))

        with pytest.raises(StoreUnavailableError, match="all connections are in use"):
            hold_all()
        with reserved_connections():
            note(database, "a sign of life")
            assert notes(database) == {"a sign of life"}


@pytest.fixture
def proxy(own: Own) -> Iterator[TcpProxy]:
    host, port = own.connect.get("host", "127.0.0.1"), int(own.connect.get("port", "5432"))
    if host.startswith("/"):
        pytest.skip("the test server is reached by a socket file: no door fits before it")
    made = TcpProxy(host, port)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("when", ["between transactions", "within one"])
def test_connections_that_fall_silent_are_given_up_and_made_anew(own: Own, proxy: TcpProxy, when: str) -> None:
    def meanwhile(database: Database) -> None:
        with database.write() as connection:
            connection.execute(text("SELECT 1"))
            proxy.fall_silent()
            connection.execute(text("SELECT 1"))

    with store(own.url(host="127.0.0.1", port=str(proxy.local_port), connect_timeout="2"), SHORT) as database:
        note(database, "before")
        if when == "within one":
            with pytest.raises(StoreUnavailableError, match="nothing came"):
                meanwhile(database)
        else:
            proxy.fall_silent()
            with pytest.raises(StoreUnavailableError):
                note(database, "meanwhile")
        proxy.speak()
        note(database, "after")
        assert {"before", "after"} <= notes(database)


@pytest.fixture
def pooler(own: Own) -> Iterator[str]:
    """The own database behind a real PgBouncer that gives each transaction any of two sessions."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed here (Debian: apt-get install pgbouncer)")
    port = free_port()
    through = {**own.connect, "host": "127.0.0.1", "port": str(port)}
    with TemporaryDirectory(prefix="pgbouncer-") as folder:
        config = configured(Path(folder), own, port)
        other = ["-u", "nobody"] if os.geteuid() == 0 else []  # it refuses to run as root
        if other:
            for path in (Path(folder), *Path(folder).iterdir()):
                shutil.chown(path, "nobody")
        process = subprocess.Popen([program, "-q", *other, str(config)], stderr=subprocess.PIPE)
        assert process.stderr is not None
        try:
            deadline = time.monotonic() + 20
            while not answers(through):
                if process.poll() is not None or time.monotonic() > deadline:
                    process.kill()
                    pytest.fail(f"PgBouncer did not start: {process.stderr.read()!r}")
                time.sleep(0.05)
            yield own.url(host="127.0.0.1", port=str(port))
        finally:
            process.terminate()
            process.wait(10)
            process.stderr.close()


def configured(folder: Path, own: Own, port: int) -> Path:
    """The files of a PgBouncer in transaction mode before the own database."""
    given, users, config = own.connect, folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{given["user"]}" "{given.get("password", "")}"\n', encoding="utf-8")
    target = make_conninfo(**{name: given[name] for name in ("host", "port", "dbname", "password") if name in given})
    lines = [
        "[databases]",
        f"{own.name} = {target}",
        "[pgbouncer]",
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =",
        f"auth_type = trust\nauth_file = {users}",
        "pool_mode = transaction\ndefault_pool_size = 2\nmax_client_conn = 100",
    ]
    config.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return config


def answers(connect: Mapping[str, str]) -> bool:
    """Whether a server takes a connection."""
    try:
        psycopg.connect(make_conninfo(**connect), prepare_threshold=None).close()
    except psycopg.OperationalError:
        return False
    return True


def test_threads_that_share_few_sessions_of_a_pooler_never_meet_each_others(pooler: str) -> None:
    faults: list[BaseException] = []
    with store(pooler) as database:

        def work(writer: int) -> None:
            try:
                for number in range(25):
                    note(database, f"{writer}/{number}")
                    with database.read() as connection:
                        first = connection.scalar(text("SELECT count(*) FROM notes"))
                        assert connection.scalar(text("SELECT count(*) FROM notes")) == first
            except BaseException as error:  # noqa: BLE001 - collected for the assertion
                faults.append(error)

        threads = [threading.Thread(target=work, args=(writer,)) for writer in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert faults == []
        assert len(notes(database)) == 200


def test_tables_are_made_through_a_pooler_and_nothing_set_stays_in_its_sessions(pooler: str, own: Own) -> None:
    with store(pooler, SHORT) as database:
        database.upgrade()
        current, newest = database.revision()
        assert current == newest
        note(database, "x")
    with psycopg.connect(make_conninfo(**own.connect)) as server, store(pooler, DatabaseTimeouts()) as database:
        usual = server.execute("SHOW statement_timeout").fetchone()
        with database.read() as connection:
            connection.exec_driver_sql("COMMIT")
            assert connection.exec_driver_sql("SHOW statement_timeout").one() == usual
