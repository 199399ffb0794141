"""Fixtures of all tests: a clock, settings, a database of either kind, the context of a process."""

from hypothesis import settings as hypothesis_settings

from tests.support.artefacts import mlflow_template, sqlite_template  # noqa: F401
from tests.support.garbage_collection import pytest_collection_finish  # noqa: F401
from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.platform_world import (  # noqa: F401
    catalog,
    clock,
    context,
    database,
    postgres,
    pytest_generate_tests,
    settings,
)

hypothesis_settings.register_profile("no deadline", deadline=None)  # a busy machine is slow without a fault
hypothesis_settings.load_profile("no deadline")
