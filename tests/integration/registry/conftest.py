"""Fixtures of an MLflow store."""

from tests.support.mlflow_store import _quiet, catalog, folder, logged, server, tracking  # noqa: F401
