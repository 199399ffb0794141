"""Fixtures of the command line."""

from tests.support.command_line import environment, mlflow_store, platform, registry, store  # noqa: F401
