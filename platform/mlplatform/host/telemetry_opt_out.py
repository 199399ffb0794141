"""Switches the telemetry of libraries off, by the environment variables and settings that they read."""

from collections.abc import MutableMapping

from pipelines.engines.onnxruntime_import import disable_telemetry as leave_runtime_untracked
from registry.mlflow_server import quiet_environment


def disable_telemetry(environ: MutableMapping[str, str]) -> None:
    """Set what keeps libraries silent, for this process and its children, before any is imported that reads it.

    A value that somebody gave stays; an empty one is none.
    """
    for name, value in quiet_environment().items():
        environ[name] = environ.get(name) or value
    leave_runtime_untracked(environ)
