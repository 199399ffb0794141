"""Fixtures of a deployment to examine."""

from tests.support.diagnostics_world import deployment  # noqa: F401
