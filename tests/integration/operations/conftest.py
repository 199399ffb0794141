"""Fixtures of a deployment to examine."""

from tests.support.diagnostics_world import clinic  # noqa: F401
