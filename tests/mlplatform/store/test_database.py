"""The database: both dialects, migrations, failures with a remedy."""

import threading

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from mlplatform.errors import SettingsError, StoreUnavailableError
from mlplatform.store.database import Database
from mlplatform.store.schema import metadata


def test_the_migrations_make_exactly_the_tables_of_the_schema(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
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


def test_a_url_that_is_none_names_the_setting_and_hides_the_password() -> None:
    with pytest.raises(SettingsError, match="PLATFORM_DATABASE_URL") as caught:
        Database("nosuch://me:secret@host/db")
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_a_typed_error_without_the_password() -> None:
    away = Database("postgresql+psycopg://me:secret@127.0.0.1:1/none")
    with pytest.raises(StoreUnavailableError, match="platform doctor") as caught, away.read() as connection:
        connection.execute(text("SELECT 1"))
    assert "secret" not in str(caught.value)
