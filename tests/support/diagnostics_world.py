"""A deployment to examine."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from mlplatform.context import AppContext
from mlplatform.operations.doctor.diagnostics import CHECKS
from mlplatform.settings import Settings
from mlplatform.store.database import Database
from tests.support.monitoring_world import promote, with_rules
from tests.support.platform_world import FakeCatalog, FakeClock


@pytest.fixture
def deployment(settings: Settings, sqlite_template: Path) -> Iterator[AppContext]:
    """A platform in order: rules, tables, a champion, a registry that agrees."""
    settings.home.mkdir()
    shutil.copy(sqlite_template, settings.home / "platform.db")
    database = Database(settings.store_url)
    context = AppContext(settings, FakeClock(), catalog=FakeCatalog(), database=database)
    promote(with_rules(context))
    yield context
    database.close()


def look(context: AppContext, subject: str) -> list[tuple[str, str]]:
    return list(CHECKS[subject](context))
