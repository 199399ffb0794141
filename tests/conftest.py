"""Fixtures of all tests: a clock, settings, a database of either kind, the context of a process."""

from tests.support.artefacts import mlflow_template, sqlite_template  # noqa: F401
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
