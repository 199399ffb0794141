"""Fixtures of a platform in processes of its own."""

from tests.support.churn_world import churn, trained_churn  # noqa: F401
from tests.support.platform_processes import trained, world  # noqa: F401
