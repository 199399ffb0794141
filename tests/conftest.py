"""Fixtures of all tests: a clock, settings, a database of either kind, the context of a process."""

from tests.support.one_thread import one_thread  # noqa: F401
from tests.support.platform_world import catalog, clock, context, database, postgres, settings, sqlite_template  # noqa: F401
