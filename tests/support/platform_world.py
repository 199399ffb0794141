"""Stand-ins for the tests of the shell: a clock, both databases, a registry in memory, a platform without processes."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from sqlalchemy import Connection, text

from mlplatform.context import AppContext
from mlplatform.errors import ModelUnavailableError
from mlplatform.ids import uuid7
from mlplatform.predictions.prediction_records import PredictionWithInput, insert_predictions
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from mlplatform.store.label_rules import LabelRules, label_rules
from mlplatform.store.prediction import PredictionRecord
from mlplatform.store.tables.feedback import outcomes
from mlplatform.store.timeouts import DatabaseTimeouts
from mlplatform.store.version_contracts import VersionContracts
from pipelines.data import content_hash, image_row
from registry.catalog import Catalog, RegisteredVersion
from registry.errors import UnknownVersionError
from registry.model_contract import ModelContract
from tests.support.version_folder import DIGITS

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
POSTGRES = os.environ.get("PLATFORM_TEST_POSTGRES_URL", "")
PATIENT = DatabaseTimeouts(statement_seconds=120.0, lock_seconds=120.0, pool_seconds=60.0, connect_seconds=60.0)
"""Limits no test runs into because the machine is busy; what happens at a limit is tested with limits of its own."""


class FakeClock:
    """A clock that moves only when told."""

    def __init__(self, now: datetime = START) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **amount: float) -> datetime:
        self.now += timedelta(**amount)
        return self.now


class FakeCatalog(Catalog):
    """A model registry in memory; versions are added by `add`."""

    def __init__(self) -> None:
        self.held: dict[tuple[str, int], RegisteredVersion] = {}
        self.pointers: dict[tuple[str, str], int] = {}
        self.away: Exception | None = None
        self.contracts: dict[tuple[str, int], ModelContract] = {}

    def add(self, name: str, version: int, tags: Mapping[str, str] | None = None) -> RegisteredVersion:
        made = RegisteredVersion(name, version, f"run-{version}", START, dict(tags or {}), f"card {version}", (), "")
        self.held[name, version] = made
        return made

    def version(self, name: str, version: int) -> RegisteredVersion:
        self._ask()
        if (name, version) not in self.held:
            raise UnknownVersionError(f"Model {name!r} has no version {version}")
        return self.held[name, version]

    def contract(self, name: str, version: int) -> ModelContract:
        self.version(name, version)
        return self.contracts.get((name, version), DIGITS)

    def versions(self, name: str) -> tuple[RegisteredVersion, ...]:
        self._ask()
        found = [item for (owner, _), item in self.held.items() if owner == name]
        return tuple(sorted(found, key=lambda item: -item.version))

    def alias(self, name: str, alias: str) -> int | None:
        self._ask()
        return self.pointers.get((name, alias))

    def set_alias(self, name: str, alias: str, version: int) -> None:
        self._ask()
        self.pointers[name, alias] = version

    def delete_alias(self, name: str, alias: str) -> None:
        self._ask()
        self.pointers.pop((name, alias), None)

    def set_tag(self, name: str, version: int, key: str, value: str) -> None:
        tags = {**self.version(name, version).tags, key: value}
        self.add(name, version, tags)

    def delete_tag(self, name: str, version: int, key: str) -> None:
        tags = {kept: value for kept, value in self.version(name, version).tags.items() if kept != key}
        self.add(name, version, tags)

    def _ask(self) -> None:
        if self.away is not None:
            raise self.away


class DigitContracts(VersionContracts):
    """The contracts of a registry in which what nobody added reads digits."""

    def of(self, connection: Connection, model: str, version: int) -> ModelContract:
        try:
            return super().of(connection, model, version)
        except UnknownVersionError:
            return DIGITS

    def label_rules(self, connection: Connection, model: str) -> LabelRules:
        try:
            return super().label_rules(connection, model)
        except ModelUnavailableError:
            return label_rules([DIGITS.task])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def no_postgres(reason: str) -> NoReturn:
    """Skip a test for which no server is there; where PLATFORM_TEST_REQUIRE_POSTGRES says 1, fail it."""
    if os.environ.get("PLATFORM_TEST_REQUIRE_POSTGRES", "0") == "1":
        pytest.fail(f"{reason}, and PLATFORM_TEST_REQUIRE_POSTGRES asks for one")
    pytest.skip(reason)


@contextmanager
def schema_of_its_own() -> Iterator[str]:
    """The URL of a new schema on the test server, dropped at the end; `no_postgres` where no server answers."""
    if not POSTGRES:
        no_postgres("PLATFORM_TEST_POSTGRES_URL is not set: no PostgreSQL to test on")
    schema, server = f"test_{uuid7()[-12:]}", Database(POSTGRES, PATIENT)
    try:
        with server.write() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
    except ConnectionError as error:
        no_postgres(f"no PostgreSQL answers at PLATFORM_TEST_POSTGRES_URL: {error}")
    try:
        yield f"{POSTGRES}{'&' if '?' in POSTGRES else '?'}options=-csearch_path%3D{schema}"
    finally:
        with server.write() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        server.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Database]:
    """A store on the test server."""
    with schema_of_its_own() as url:
        database = Database(url, PATIENT)
        database.upgrade()
        with pytest.MonkeyPatch.context() as patience:
            patience.setattr("mlplatform.store.postgres.IDLE_TRANSACTION_SECONDS", 120)
            yield database
        database.close()


BOTH_DATABASES = ("sqlite", pytest.param("postgres", marks=pytest.mark.postgres))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test marked `both_databases` once on SQLite and once on PostgreSQL."""
    if "database" in metafunc.fixturenames and metafunc.definition.get_closest_marker("both_databases"):
        metafunc.parametrize("database", BOTH_DATABASES, indirect=True)


@pytest.fixture
def database(request: pytest.FixtureRequest, tmp_path: Path, sqlite_template: Path) -> Iterator[Database]:
    """An empty store on SQLite; for tests marked `both_databases` on PostgreSQL too."""
    if getattr(request, "param", "sqlite") == "postgres":
        shared: Database = request.getfixturevalue("postgres")
        with shared.write() as connection:
            for table in reversed(outcomes.metadata.sorted_tables):
                connection.execute(table.delete())  # much faster than TRUNCATE; sequences go on
        yield shared
        return
    path = tmp_path / "platform.db"
    shutil.copy(sqlite_template, path)
    made = Database(f"sqlite:///{path}", PATIENT)
    yield made
    made.close()


@pytest.fixture
def catalog() -> FakeCatalog:
    return FakeCatalog()


def settings_in(folder: Path) -> Settings:
    """Settings of a platform whose files lie in this folder, whatever the environment says."""
    loopback = ("127.0.0.1",)
    alerts_file = folder / "alerts.yaml"
    return Settings(_env_file=None, home=folder / "home", alerts_file=alerts_file, allowed_receivers=loopback)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_in(tmp_path)


@pytest.fixture
def context(settings: Settings, database: Database, catalog: FakeCatalog, clock: FakeClock) -> AppContext:
    """A platform whose database, registry and clock are the test's."""
    contracts = DigitContracts(lambda: catalog)
    return AppContext(settings, clock, database=database, catalog=catalog, contracts=contracts)


def picture(seed: int) -> np.ndarray:
    """A grey image of noise."""
    return np.random.default_rng(seed).integers(0, 256, (28, 28), dtype=np.uint8)


def prediction(
    at: datetime = START,
    *,
    seed: int = 0,
    label: str = "3",
    version: int = 1,
    confidence: float = 0.9,
    latency_ms: float = 2.0,
    prediction_id: str | None = None,
    probabilities: Mapping[str, float] | None = None,
) -> PredictionWithInput:
    """A prediction ready to be recorded."""
    image, fresh = picture(seed), prediction_id or uuid7()
    rest = (1 - confidence) / 9
    shares = {name: confidence if name == label else rest for name in "0123456789"} | dict(probabilities or {})
    row = PredictionRecord(
        id=fresh,
        at=at,
        model_name="digits",
        model_version=version,
        image_hash=content_hash(image),
        label=label,
        probabilities=list(shares.values()),
        confidence=confidence,
        latency_ms=latency_ms,
        request_id=f"request {fresh}",
        client_id="client",
    )
    return PredictionWithInput(row, image_row(image))


def recorded(database: Database, *rows: PredictionWithInput) -> list[str]:
    """Write predictions; returns their ids."""
    with database.write() as connection:
        insert_predictions(connection, rows)
    return [row.prediction.id for row in rows]
