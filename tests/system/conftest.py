"""Fixtures of a platform in processes of its own."""

from tests.support.platform_processes import trained, world  # noqa: F401
